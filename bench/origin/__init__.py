"""The service behind every gateway measured: it answers 51 bytes of JSON and must not be the bottleneck."""

BODY = '{"status":"ok","service":"core","users":[1,2,3,45]}'
