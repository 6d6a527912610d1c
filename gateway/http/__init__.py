"""The wire: llhttp on both sides, the server channel, the request, the upstream connection and the relay."""
