"""The processes of a gateway: a supervisor, its workers, and how they stop, reload and tell systemd."""
