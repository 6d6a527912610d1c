"""The gateway as a service: a Debian 12 that boots a systemd of its own, under a load of which every answer counts."""
