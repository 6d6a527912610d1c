"""The schema of the TOML file: each table, its keys and their defaults. Times are in seconds, sizes in bytes."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, SecretStr, Tag

from gateway.config.endpoints import Endpoint, OptionalEndpoint
from gateway.config.files import CaFile, CrlFile, KeyPairFile
from gateway.config.places import (
    Discover,
    DnsServer,
    HealthPath,
    InstanceUrl,
    JwksUrl,
    Network,
    Origin,
    Prefix,
    PublicUrl,
    RedisUrls,
    ServerName,
    instance,
)
from gateway.config.quantities import (
    Bytes,
    Count,
    CountOrZero,
    Limit,
    Part,
    Seconds,
    SecondsOrZero,
    SubscriberPrefix,
    Weight,
    Workers,
)
from gateway.config.words import (
    Claim,
    Distinct,
    FieldValue,
    HashOn,
    KeyHeader,
    Method,
    MethodOrAny,
    Name,
    NonEmpty,
    Printable,
    SecurityName,
    Several,
    Subject,
    Token,
    UpstreamName,
    distinct,
)
from gateway.core.bans import WEIGHTS, Refusal
from gateway.core.certificates import SubjectKind

SECRET_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
"""What RFC 7518 section 3.2 asks of a shared secret."""

ALGORITHMS: Final = frozenset(
    [*SECRET_BYTES, "EdDSA", *(kind + size for kind in ("RS", "PS", "ES") for size in ("256", "384", "512"))]
)

SECURITY_HEADERS: Final = {
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
"""The fields helmet 8 sets by default, with its values."""


def _algorithm(value: str) -> str:
    if value not in ALGORITHMS:
        raise ValueError(f"one of {', '.join(sorted(ALGORITHMS))}")
    return value


def _one_kind(value: tuple[str, ...]) -> tuple[str, ...]:
    """RFC 8725 section 3.1: what verifies a signature is never also what makes one."""
    if len({algorithm.startswith("HS") for algorithm in value}) > 1:
        raise ValueError("HMAC algorithms or public-key algorithms; they must not be mixed (RFC 8725 section 3.1)")
    return value


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Server(_Table):
    """Where the gateway listens, and what it takes from a client."""

    listen: Annotated[tuple[Endpoint, ...], Several] = ("tcp:3000",)
    admin: OptionalEndpoint = "tcp:9901:interface=127.0.0.1"
    workers: Workers = "auto"
    trusted_proxies: tuple[Network, ...] = ()
    max_body: Bytes = 10 * 1024**2
    drain: SecondsOrZero = 30.0
    shutdown_delay: SecondsOrZero = 0.0
    public_url: PublicUrl = ""
    max_head: Bytes = 32 * 1024
    max_fields: Count = 100
    max_target: Bytes = 8 * 1024
    head_timeout: Seconds = 10.0
    body_timeout: Seconds = 30.0
    idle_timeout: Seconds = 75.0
    send_timeout: Seconds = 30.0
    min_rate: Bytes = 240
    max_connections: Count = 20_000
    max_connections_per_client: Count = 1_000
    max_requests: Count = 10_000
    max_lag: Seconds = 0.5
    http2: bool = True


class Tls(_Table):
    """Certificates of clients, on ``tls:`` listeners."""

    client_auth: Literal["none", "optional", "required"] = "none"
    ca_file: CaFile = ""
    crl_file: CrlFile = ""
    subject: SubjectKind = "cn"
    roles: dict[Subject, Name] = {}
    unit_roles: bool = False


class Addresses(_Table):
    """Who may reach the gateway at all; deny wins."""

    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()


OWN_NETWORKS: Final = tuple(
    ip_network(text)
    for text in (
        *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"),
        *("::1/128", "fc00::/7", "fe80::/10"),
    )
)
"""Addresses that nobody on the Internet has (RFC 6890)."""


def _weights(value: dict[Refusal, int]) -> dict[Refusal, int]:
    """All weights: the defaults, with the configured ones over them."""
    return {**WEIGHTS, **value}


class Bans(_Table):
    """When a client whose requests are refused is kept out."""

    enabled: bool = True
    threshold: CountOrZero = 300
    window: Seconds = 60.0
    weights: Annotated[dict[Refusal, CountOrZero], AfterValidator(_weights)] = _weights({})
    time: Seconds = 300.0
    max_time: Seconds = 86_400.0
    allow: tuple[Network, ...] = OWN_NETWORKS
    answer: Literal["close", "403"] = "close"
    ipv6_prefix: SubscriberPrefix = 56


class Redis(_Table):
    """What gateways share. The URL may hold a password, so it is not in the repr."""

    url: RedisUrls = Field(default="redis://127.0.0.1:6379/0", repr=False)
    timeout: Seconds = 0.05
    on_failure: Literal["local", "open", "closed"] = "local"
    revocation_on_failure: Literal["known", "closed", "open"] = "known"
    sentinel_user: Printable = ""
    sentinel_password: SecretStr = SecretStr("")


class Jwt(_Table):
    """What makes a token valid."""

    algorithms: Annotated[
        tuple[Annotated[str, AfterValidator(_algorithm)], ...], Several, AfterValidator(_one_kind)
    ] = ("HS256",)
    secret: SecretStr = SecretStr("")
    secret_file: str = ""
    public_key_file: str = ""
    jwks_url: JwksUrl = ""
    issuer: Printable = ""
    audience: Printable = ""
    role_claim: Claim = "role"
    leeway: SecondsOrZero = 60.0

    @property
    def symmetric(self) -> bool:
        """Whether tokens are signed with a shared secret."""
        return self.algorithms[0].startswith("HS")

    def key(self) -> bytes:
        """The shared secret, or the public key in PEM; empty when none is configured.

        Line breaks at the end of ``secret_file`` are not part of the secret.

        :raises OSError: when its file cannot be read.
        """
        if not self.symmetric:
            return Path(self.public_key_file).read_bytes() if self.public_key_file else b""
        if self.secret_file:
            return Path(self.secret_file).read_bytes().rstrip(b"\r\n")
        return self.secret.get_secret_value().encode()


class ApiKeys(_Table):
    """Keys that machines may send instead of a token."""

    enabled: bool = False
    header: KeyHeader = "X-API-Key"


class RateLimit(_Table):
    """How many requests a client may make in a window; None is unlimited."""

    window: Seconds = 60.0
    prefix: Printable = "rl:"
    default: Limit = 10
    roles: dict[Name, Limit] = {}


class Cors(_Table):
    """Which pages may call the gateway from a browser."""

    origins: Annotated[tuple[Origin, ...], Distinct] = ()
    methods: Annotated[tuple[Method, ...], Several] = ("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE")
    allow_headers: tuple[Token, ...] = ("Authorization", "Content-Type", "X-Request-ID")
    expose_headers: tuple[Token, ...] = ()
    credentials: bool = False
    max_age: SecondsOrZero = 600.0


class Websocket(_Table):
    """What a bridged WebSocket may do."""

    max_message: Bytes = 1024**2
    idle_ping: SecondsOrZero = 30.0
    max_messages: Count = 5_000


class AccessLog(_Table):
    """Where a line a request goes."""

    path: Printable = "-"


class Health(_Table):
    """How an instance is probed."""

    path: HealthPath = "/health"
    interval: Seconds = 5.0
    timeout: Seconds = 2.0
    rise: Count = 2
    fall: Count = 3


class Dns(_Table):
    """Who is asked for the instances of upstreams; nobody named is whom the system asks."""

    servers: Annotated[tuple[DnsServer, ...], Distinct] = ()


class Instance(_Table):
    """Where an instance is, and its share of the requests; in the file also its URL alone."""

    url: InstanceUrl
    weight: Weight = 1


def _named(value: object) -> object:
    """A URL alone is a table that says no more."""
    if not isinstance(value, str | dict | Instance):
        raise ValueError('a URL such as "http://core:3002", or a table of url and weight')
    return Instance(url=instance(value)) if isinstance(value, str) else value


def _one_each(value: tuple[Instance, ...]) -> tuple[Instance, ...]:
    distinct(tuple(named.url for named in value))
    return value


class Ejection(_Table):
    """When an instance is used no more because of what requests to it were answered; a count of 0 is never."""

    failures: CountOrZero = 5
    errors: CountOrZero = 3
    time: Seconds = 30.0
    max_time: Seconds = 300.0


class Retries(_Table):
    """How many requests may be sent once more at a time."""

    budget: Part = 0.2
    minimum: CountOrZero = 3


class UpstreamLimits(_Table):
    """What an upstream may have at a time, in each process."""

    connections: Count = 8192
    pending: CountOrZero = 1024
    requests: Count = 4096


class Upstream(_Table):
    """A service and its instances; either they are named, or found by DNS."""

    name: UpstreamName
    instances: Annotated[tuple[Annotated[Instance, BeforeValidator(_named)], ...], AfterValidator(_one_each)] = ()
    discover: Discover = ""
    balance: Literal["round-robin", "least-requests", "power-of-two", "hash"] = "round-robin"
    hash_on: HashOn = ""
    health: Health | None = None
    connect_timeout: Seconds = 3.0
    first_byte_timeout: Seconds = 60.0
    idle_timeout: Seconds = 300.0
    keep_alive: Seconds = 60.0
    max_idle: CountOrZero = 64
    ca_file: CaFile = ""
    certificate_file: KeyPairFile = ""
    server_name: ServerName = ""
    slow_start: SecondsOrZero = 10.0
    ejection: Ejection = Ejection()
    retries: Retries = Retries()
    limits: UpstreamLimits = UpstreamLimits()


_Roles = Annotated[tuple[Name, ...], Several]


def _roles_form(value: Any) -> str:
    return "<by method>" if isinstance(value, dict) else "<roles>"


class Route(_Table):
    """A path prefix, and what happens to requests below it; None stands for what the server or the upstream says."""

    prefix: Prefix
    upstream: str
    strip_prefix: bool = False
    auth: Literal["none", "optional", "required"] = "required"
    websocket: bool = False
    roles: (
        Annotated[
            Annotated[_Roles, Tag("<roles>")] | Annotated[dict[MethodOrAny, _Roles], Tag("<by method>")],
            Discriminator(_roles_form),
        ]
        | None
    ) = None
    methods: Annotated[tuple[Method, ...], Distinct] = ()
    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()
    max_body: Bytes | None = None
    preserve_host: bool = False
    rate_limit: bool = True
    upstream_headers: tuple[Token, ...] = ()
    connect_timeout: Seconds | None = None
    first_byte_timeout: Seconds | None = None
    idle_timeout: Seconds | None = None


class Settings(_Table):
    """The whole configuration."""

    server: Server = Server()
    tls: Tls = Tls()
    addresses: Addresses = Addresses()
    bans: Bans = Bans()
    redis: Redis = Redis()
    jwt: Jwt = Jwt()
    api_keys: ApiKeys = ApiKeys()
    rate_limit: RateLimit = RateLimit()
    cors: Cors = Cors()
    access_log: AccessLog = AccessLog()
    websocket: Websocket = Websocket()
    dns: Dns = Dns()
    security_headers: dict[SecurityName, FieldValue] = {}
    upstreams: Annotated[tuple[Upstream, ...], NonEmpty]
    routes: Annotated[tuple[Route, ...], NonEmpty]

    def security_lines(self) -> dict[str, str]:
        """The security fields of every answer: the defaults, with the configured ones over them; "" drops one."""
        merged = {name.lower(): (name, value) for name, value in SECURITY_HEADERS.items()}
        merged |= {name.lower(): (name, value) for name, value in self.security_headers.items()}
        return {name: value for name, value in merged.values() if value}
