"""The TOML contract: its schema, and a loader that reports every mistake at once."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, field_validator

Network = IPv4Network | IPv6Network
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::-([^}]*))?\})")
_SECRET_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
"""What RFC 7518 section 3.2 asks of a key."""

ALGORITHMS = frozenset(
    [*_SECRET_BYTES, "EdDSA", *(kind + size for kind in ("RS", "PS", "ES") for size in ("256", "384", "512"))]
)

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self';base-uri 'self';font-src 'self' https: data:;form-action 'self';"
    "frame-ancestors 'self';img-src 'self' data:;object-src 'none';script-src 'self';script-src-attr 'none';"
    "style-src 'self' https: 'unsafe-inline';upgrade-insecure-requests",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Origin-Agent-Cluster": "?1",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-DNS-Prefetch-Control": "off",
    "X-Download-Options": "noopen",
    "X-Frame-Options": "SAMEORIGIN",
    "X-Permitted-Cross-Domain-Policies": "none",
    "X-XSS-Protection": "0",
}
"""The fields helmet sets by default, with its values."""


class ConfigError(Exception):
    """The configuration cannot be used; its text lists every mistake."""


def _quantity(units: Mapping[str, float], example: str) -> Any:
    pattern = re.compile(rf"(\d+(?:\.\d+)?)\s*({'|'.join(units)})")

    def parse(value: Any) -> Any:
        if isinstance(value, str):
            match = pattern.fullmatch(value.strip())
            if match is None:
                raise ValueError(f'write it like "{example}"')
            value = float(match[1]) * units[match[2]]
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise ValueError(f'must be above zero, like "{example}"')
        return value

    return parse


Seconds = Annotated[float, BeforeValidator(_quantity(_SECONDS, "5s"))]
Bytes = Annotated[int, BeforeValidator(lambda value: int(_quantity(_BYTES, "10 MiB")(value)))]


def _limit(value: Any) -> Any:
    if value == "unlimited":
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError('must be a number above zero, or "unlimited"')
    return value


Limit = Annotated[int | None, BeforeValidator(_limit)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Server(_Table):
    """Where the gateway listens, and what it takes from a client."""

    listen: tuple[str, ...] = ("tcp:3000",)
    admin: str = "tcp:9901:interface=127.0.0.1"
    workers: int | Literal["auto"] = "auto"
    trusted_proxies: tuple[Network, ...] = ()
    max_body: Bytes = 10 * 1024**2
    drain: Seconds = 30.0
    public_url: str = ""
    max_head: Bytes = 32 * 1024
    max_fields: int = Field(100, ge=1)
    max_target: Bytes = 8 * 1024
    head_timeout: Seconds = 10.0
    body_timeout: Seconds = 30.0
    idle_timeout: Seconds = 75.0

    @field_validator("listen", "admin")
    @classmethod
    def _endpoints(cls, value: Any) -> Any:
        for text in (value,) if isinstance(value, str) else value:
            kind = text.partition(":")[0]
            if text and kind not in ("tcp", "tcp6", "unix", "tls", "ssl", "systemd", "haproxy"):
                raise ValueError('must be a Twisted endpoint, like "tcp:3000"')
        return value


class Addresses(_Table):
    """Who may reach the gateway at all; deny wins."""

    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()


class Redis(_Table):
    """What gateways share."""

    url: str = "redis://127.0.0.1:6379/0"
    timeout: Seconds = 0.05
    on_failure: Literal["local", "open", "closed"] = "local"
    revocation_on_failure: Literal["known", "closed", "open"] = "known"

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, value: str) -> str:
        if value != "memory:" and not value.startswith("redis://"):
            raise ValueError('must be "redis://host:port/db" or "memory:"')
        return value


class Jwt(_Table):
    """What makes a token valid."""

    algorithms: tuple[str, ...] = ("HS256",)
    secret: SecretStr = SecretStr("")
    secret_file: str = ""
    public_key_file: str = ""
    jwks_url: str = ""
    issuer: str = ""
    audience: str = ""
    role_claim: str = "role"
    leeway: Seconds = 60.0

    @field_validator("algorithms")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(value) - ALGORITHMS)
        if unknown or not value:
            raise ValueError(f"{', '.join(unknown) or 'nothing'}: must be some of {', '.join(sorted(ALGORITHMS))}")
        if len({name.startswith("HS") for name in value}) > 1:
            raise ValueError("HMAC and public-key algorithms must not be mixed (RFC 8725 section 3.1)")
        return value

    @property
    def symmetric(self) -> bool:
        """Whether tokens are signed with a shared secret."""
        return self.algorithms[0].startswith("HS")

    def key(self) -> bytes:
        """The shared secret, or the public key in PEM.

        :raises OSError: when its file cannot be read.
        """
        if not self.symmetric:
            return Path(self.public_key_file).read_bytes() if self.public_key_file else b""
        if self.secret_file:
            return Path(self.secret_file).read_bytes().rstrip(b"\r\n")
        return self.secret.get_secret_value().encode()


class RateLimit(_Table):
    """How many requests a client may make in a window."""

    window: Seconds = 60.0
    prefix: str = "rl:"
    default: Limit = 10
    roles: dict[str, Limit] = {}


class Cors(_Table):
    """Which pages may call the gateway from a browser."""

    origins: tuple[str, ...] = ()
    methods: tuple[str, ...] = ("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE")
    allow_headers: tuple[str, ...] = ("Authorization", "Content-Type", "X-Request-ID")
    expose_headers: tuple[str, ...] = ()
    credentials: bool = False
    max_age: Seconds = 600.0


class Websocket(_Table):
    """What a bridged WebSocket may do."""

    max_message: Bytes = 1024**2
    idle_ping: Seconds = 30.0


class AccessLog(_Table):
    """Where a line a request goes."""

    path: str = "-"


class Health(_Table):
    """How an instance is probed."""

    path: str = "/health"
    interval: Seconds = 5.0
    timeout: Seconds = 2.0
    rise: int = Field(2, ge=1)
    fall: int = Field(3, ge=1)


class Upstream(_Table):
    """A service and its instances."""

    name: str = Field(min_length=1)
    instances: tuple[str, ...] = Field(min_length=1)
    balance: Literal["round-robin", "least-requests"] = "round-robin"
    health: Health | None = None
    connect_timeout: Seconds = 3.0
    first_byte_timeout: Seconds = 60.0
    idle_timeout: Seconds = 300.0
    keep_alive: Seconds = 60.0
    max_idle: int = Field(64, ge=0)
    ca_file: str = ""

    @field_validator("instances")
    @classmethod
    def _urls(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            parts = urlsplit(text)
            try:
                valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            except ValueError:
                valid = False
            if not valid or parts.path or parts.query or parts.username:
                raise ValueError(f'{text}: must be a URL without a path, like "http://core-service:3002"')
        return value


class Route(_Table):
    """A path prefix, and what happens to requests below it."""

    prefix: str
    upstream: str
    strip_prefix: bool = False
    auth: Literal["none", "optional", "required"] = "required"
    websocket: bool = False
    roles: tuple[str, ...] | dict[str, tuple[str, ...]] | None = None
    methods: tuple[str, ...] = ()
    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()
    max_body: Bytes | None = None
    preserve_host: bool = False
    rate_limit: bool = True
    upstream_headers: tuple[str, ...] = ()
    connect_timeout: Seconds | None = None
    first_byte_timeout: Seconds | None = None
    idle_timeout: Seconds | None = None

    @field_validator("prefix")
    @classmethod
    def _normal(cls, value: str) -> str:
        if value != "/" and not re.fullmatch(r"(?:/[\w~-][\w.~-]*)+", value, re.ASCII):
            raise ValueError('must be a path without a trailing slash, like "/api/users"')
        return value


class Settings(_Table):
    """The whole configuration."""

    server: Server = Server()
    addresses: Addresses = Addresses()
    redis: Redis = Redis()
    jwt: Jwt = Jwt()
    rate_limit: RateLimit = RateLimit()
    cors: Cors = Cors()
    access_log: AccessLog = AccessLog()
    websocket: Websocket = Websocket()
    security_headers: dict[str, str] = {}
    upstreams: tuple[Upstream, ...] = Field(min_length=1)
    routes: tuple[Route, ...] = Field(min_length=1)

    def security_lines(self) -> dict[str, str]:
        """The security fields of every answer: the defaults, with the configured ones over them; "" drops one."""
        merged = {name.lower(): (name, value) for name, value in SECURITY_HEADERS.items()}
        merged |= {name.lower(): (name, value) for name, value in self.security_headers.items()}
        return {name: value for name, value in merged.values() if value}


def load(path: str, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read a configuration file.

    :raises ConfigError: naming every mistake: file, key, what is there, what would be right.
    """
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}") from None
    mistakes: list[str] = []
    table = _substitute(table, environ, "", mistakes)
    settings = None
    try:
        settings = Settings.model_validate(table)
    except ValidationError as error:
        mistakes += [_sentence(detail) for detail in error.errors()]
    mistakes += _cross_check(table if settings is None else settings, settings)
    if mistakes or settings is None:
        raise ConfigError("\n".join(f"{path}: {mistake}" for mistake in dict.fromkeys(mistakes)))
    return settings


def _substitute(value: Any, environ: Mapping[str, str], key: str, mistakes: list[str]) -> Any:
    if isinstance(value, dict):
        return {name: _substitute(item, environ, f"{key}.{name}".strip("."), mistakes) for name, item in value.items()}
    if isinstance(value, list):
        return [_substitute(item, environ, f"{key}[{index}]", mistakes) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        if name is None:
            return "$"
        found = environ.get(name) or default
        if found is None:
            mistakes.append(f"{key}: ${{{name}}} is not set in the environment, and has no default")
        return found or ""

    return _VARIABLE.sub(replace, value)


def _sentence(detail: Any) -> str:
    key = ""
    for part in detail["loc"]:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else str(part)
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        return f"{key}: is not a key of this table; see docs/configuration.md for those that are"
    if detail["type"] == "missing":
        return f"{key}: is missing"
    shown = "" if "secret" in key else f"{detail['input']!r}: "
    return f"{key}: {shown}{message}"


def _cross_check(raw: Any, settings: Settings | None) -> list[str]:
    """Mistakes that only show when parts are held against each other; secrets are never shown."""
    if settings is None:
        return []
    mistakes = []
    names = [upstream.name for upstream in settings.upstreams]
    prefixes = [route.prefix for route in settings.routes]
    mistakes += [f"upstreams: {name!r} stands there twice" for name in sorted({n for n in names if names.count(n) > 1})]
    mistakes += [f"routes: {p!r} stands there twice" for p in sorted({p for p in prefixes if prefixes.count(p) > 1})]
    for index, route in enumerate(settings.routes):
        if route.upstream not in names:
            mistakes.append(f"routes[{index}].upstream: {route.upstream!r}: must be one of {', '.join(names)}")
    if settings.cors.credentials and "*" in settings.cors.origins:
        mistakes.append('cors.origins: "*" cannot be used with credentials: name the origins')
    if any(route.auth != "none" for route in settings.routes):
        mistakes += _check_keys(settings.jwt)
    return mistakes


def _check_keys(jwt: Jwt) -> list[str]:
    try:
        key = jwt.key()
    except OSError as error:
        return [f"jwt: the key's file {error.filename} cannot be read: {error.strerror}"]
    if jwt.symmetric:
        needed = max(_SECRET_BYTES[name] for name in jwt.algorithms)
        if len(key) < needed:
            there = f"has {len(key)} bytes" if key else "is missing"
            return [f"jwt.secret: {there}; {jwt.algorithms[0]} needs {needed} or more (RFC 7518 section 3.2)"]
    elif jwt.jwks_url:
        return ["jwt.jwks_url: this version does not fetch keys yet: put the public key into public_key_file"]
    elif not key:
        return ["jwt.public_key_file: is missing; public-key algorithms need one"]
    return []
