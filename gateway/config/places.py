"""Where things are, as the file spells it: networks, URLs, hosts and paths.

Every function takes what the TOML has and returns what the gateway uses, or raises ValueError with the words that
follow "must be" in the report of mistakes.
"""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import Annotated, Final
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, PlainValidator

from gateway.core.addresses import Network as AnyNetwork
from gateway.core.errors import BadRequest
from gateway.core.paths import merged, normalize

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?")
_HEALTH_PATHS: Final = ("/health", "/ready")
_DISCOVER: Final = "dns://host:port or srv://_http._tcp.service, dns+https:// or srv+https:// for TLS"


def network(value: object) -> AnyNetwork:
    """A network in CIDR notation; an address alone is the network of that address."""
    if isinstance(value, AnyNetwork):
        return value
    if not isinstance(value, str):
        raise ValueError('a network such as "10.0.0.0/8" or an address')
    try:
        return ip_network(value)
    except ValueError:
        pass
    try:
        meant = ip_network(value, strict=False)
    except ValueError:
        raise ValueError('a network such as "10.0.0.0/8", "2001:db8::/32" or an address') from None
    raise ValueError(f'a network without bits after its prefix, such as "{meant}"')


def _split(value: str, schemes: tuple[str, ...]) -> SplitResult | None:
    """The parts of an absolute URL with a host, no user and a sane port; None for anything else."""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    if parts.scheme not in schemes or port == 0 or not value.isascii() or not value.isprintable() or " " in value:
        return None
    if "[" in parts.netloc:
        try:
            ip_address(host)
        except ValueError:
            return None
    elif _HOST.fullmatch(host) is None:
        return None
    return parts if parts.netloc.rpartition("@")[1] == "" and not parts.netloc.endswith(":") else None


def instance(value: str) -> str:
    """``http://host:port`` or ``https://host:port`` and nothing more; the port may be left to the scheme."""
    parts = _split(value, ("http", "https"))
    if parts is None or parts.path or "?" in value or "#" in value:
        raise ValueError("http://host:port or https://host:port, without user, path or query")
    return value


def discover(value: str) -> str:
    """Where instances are found by DNS: a host with or without a port, or a service, which has its own; or ``""``."""
    parts = _split(value, ("dns", "dns+https", "srv", "srv+https"))
    if value and (parts is None or parts.path or "?" in value or "#" in value or "[" in value):
        raise ValueError(f"{_DISCOVER}, without path or query")
    if parts is not None:
        if parts.port is not None and parts.scheme.startswith("srv"):
            raise ValueError("without a port: the records of a service (SRV) have their own")
        if is_address(parts.hostname or ""):
            raise ValueError("a name: an address is an instance by itself")
    return value


def dns_server(value: str) -> str:
    """The address of a name server, with or without a port."""
    parts = _split(f"dns://{value}", ("dns",))
    if parts is None or parts.path or "?" in value or "#" in value or not is_address(parts.hostname or ""):
        raise ValueError('an address such as "192.0.2.53", "127.0.0.1:5353" or "[2001:db8::53]:53"')
    return value


def origin(value: str) -> str:
    """An origin as browsers send it (RFC 6454 section 6.2), or ``*``."""
    if value == "*":
        return value
    parts = _split(value, ("http", "https"))
    if parts is None or parts.path or "?" in value or "#" in value or value != value.lower():
        raise ValueError('an origin such as "https://app.example.com" (lower case, no path), or "*"')
    if parts.port == {"http": 80, "https": 443}[parts.scheme]:
        raise ValueError(f'without its port, "{value.rpartition(":")[0]}": browsers leave the usual one out')
    return value


def public_url(value: str) -> str:
    """An absolute http(s) URL, or ``""``; a slash at its end is dropped."""
    if value and ((parts := _split(value, ("http", "https"))) is None or parts.query or "#" in value or "?" in value):
        raise ValueError('an absolute URL such as "https://api.example.com", or ""')
    return value.rstrip("/")


def is_address(host: str) -> bool:
    """Whether ``host`` is an IP address, and no name."""
    try:
        return bool(ip_address(host))
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether ``host`` can only be this machine."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def jwks_url(value: str) -> str:
    """Where keys are fetched from: https, since whoever changes them on the way signs tokens; or ``""``."""
    parts = _split(value, ("http", "https"))
    if value and (parts is None or (parts.scheme == "http" and not is_loopback(parts.hostname or ""))):
        raise ValueError("an https:// URL (http:// only to this machine itself)")
    return value


def redis_urls(value: object) -> str:
    """The URL of a Redis, or of several: in a list, or in one text with commas between, which is what is returned."""
    if isinstance(value, str):
        urls = split_redis_urls(value)
    elif isinstance(value, list | tuple) and value and all(isinstance(url, str) for url in value):
        urls = list(value)
    else:
        raise ValueError('a URL such as "redis://127.0.0.1:6379/0", or a list of them')
    for url in urls:
        redis_url(url)
    if len(urls) > 1 and "memory:" in urls:
        raise ValueError('URLs of Redis servers, without "memory:" among them')
    if len({url.rpartition("@")[2].rpartition("://")[2] for url in urls}) < len(urls):
        raise ValueError("URLs of different servers")
    return ",".join(urls)


def split_redis_urls(text: str) -> list[str]:
    """The URLs in a text that separates them by commas; the commas between the Sentinels of one stay."""
    return re.split(r",\s*(?=[a-z]+:)", text.strip())


def redis_url(value: str) -> str:
    """``redis://[[user]:password@]host[:port][/database]``, the same with ``rediss`` for TLS, or ``memory:``.

    ``sentinel://[[user]:password@]host[:port],host[:port]/master[/database]`` is the master that Sentinel knows.
    """
    if value == "memory:":
        return value
    scheme, _, rest = value.partition("://")
    credentials, _, host = rest.rpartition("@")
    if scheme == "sentinel":
        places, _, path = host.partition("/")
        parts = None
        if re.fullmatch(r"[A-Za-z0-9._-]+(?:/\d{0,5})?", path, re.ASCII):
            split = [_split(f"redis://{place}", ("redis",)) for place in places.split(",")]
            parts = split[0] if all(part is not None and not part.path for part in split) else None
    else:
        parts = _split(f"{scheme}://{host}", ("redis", "rediss"))
    if parts is None or re.search(r"[?#]", host) or not re.fullmatch(r"(?:/\d{0,5})?", parts.path, re.ASCII):
        raise ValueError(
            "redis://host:port/database, rediss://... for TLS, sentinel://host:port,host:port/master/database, "
            'or "memory:"'
        )
    if re.search(r"[/?#@\s]", credentials):
        raise ValueError("redis://:password@host:port/database, with %2F %3F %23 %40 for / ? # @ in the password")
    return value


def prefix(value: str) -> str:
    """A path that requests are matched against: absolute, normal (RFC 3986 section 6.2.2), no slash at its end."""
    expected = 'a path such as "/api/users", from the root, without a slash at its end, "//", dot segments or a query'
    if value == "/":
        return value
    if not value.startswith("/") or "?" in value or "//" in value or value.endswith("/"):
        raise ValueError(expected)
    try:
        normal = normalize(value.encode())
    except (BadRequest, UnicodeEncodeError):
        raise ValueError(expected) from None
    if normal != value.encode():
        raise ValueError(f'in its normal form, "{normal.decode()}"')
    if merged(value.encode()) != value.encode():
        raise ValueError("a path without %2F and %5C, which upstreams may read as separators")
    if value in _HEALTH_PATHS:
        raise ValueError("another path: the gateway itself answers here")
    return value


def health_path(value: str) -> str:
    """The target of a health check."""
    if re.fullmatch(r"/[\x21-\x7e]*", value) is None or "#" in value:
        raise ValueError('a path such as "/health"')
    return value


def server_name(value: str) -> str:
    """A host's name as it stands in a certificate, or ``""``."""
    if value and _HOST.fullmatch(value) is None:
        raise ValueError('the name of a host such as "core.internal"')
    return value


Network = Annotated[AnyNetwork, PlainValidator(network)]
InstanceUrl = Annotated[str, AfterValidator(instance)]
Discover = Annotated[str, AfterValidator(discover)]
DnsServer = Annotated[str, AfterValidator(dns_server)]
Origin = Annotated[str, AfterValidator(origin)]
PublicUrl = Annotated[str, AfterValidator(public_url)]
JwksUrl = Annotated[str, AfterValidator(jwks_url)]
RedisUrls = Annotated[str, PlainValidator(redis_urls)]
Prefix = Annotated[str, AfterValidator(prefix)]
HealthPath = Annotated[str, AfterValidator(health_path)]
ServerName = Annotated[str, AfterValidator(server_name)]
