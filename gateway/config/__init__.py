"""The configuration: what the TOML file may say, and a loader that reports every mistake in it at once."""

from gateway.config.loading import PLACES, load, place
from gateway.config.mistakes import ConfigError
from gateway.config.quantities import Seconds
from gateway.config.schema import (
    ALGORITHMS,
    SECURITY_HEADERS,
    AccessLog,
    Addresses,
    ApiKeys,
    Bans,
    Cors,
    Dns,
    Health,
    Instance,
    Jwt,
    RateLimit,
    Redis,
    Route,
    Server,
    Settings,
    Tls,
    Upstream,
    Websocket,
)

__all__ = [
    "ALGORITHMS",
    "PLACES",
    "SECURITY_HEADERS",
    "AccessLog",
    "Addresses",
    "ApiKeys",
    "Bans",
    "ConfigError",
    "Cors",
    "Dns",
    "Health",
    "Instance",
    "Jwt",
    "RateLimit",
    "Redis",
    "Route",
    "Seconds",
    "Server",
    "Settings",
    "Tls",
    "Upstream",
    "Websocket",
    "load",
    "place",
]
