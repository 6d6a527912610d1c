"""Mistakes that only show when parts of the file are held against each other.

They look at the raw tables, so that they are found together with the mistakes of the schema: what is wrong by itself is
left out, and the rest is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, Final, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import BaseModel

from gateway.config.endpoints import take_apart
from gateway.config.files import read_file
from gateway.config.mistakes import ABSENT, Mistake, Path, did_you_mean
from gateway.config.schema import SECRET_BYTES, SECURITY_HEADERS, Bans, Cors, Jwt, Redis, Server, Tls

Raw = dict[str, Any]
TableT = TypeVar("TableT", bound=BaseModel)

_UNIX: Final = ("unix:", "systemd:domain=UNIX:")
_RSA_BITS: Final = 2048  # RFC 7518 sections 3.3 and 3.5
_CURVES: Final = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}


def cross_check(raw: Raw, wrong: Collection[Path]) -> Iterator[Mistake]:
    """Every mistake between the tables of ``raw``, a file that was filled in.

    :param wrong: the paths that the schema has found mistakes at.
    """
    yield from _twice(raw, "upstreams", "name")
    yield from _twice(raw, "routes", "prefix")
    yield from _upstreams(raw)
    yield from _routes(raw, wrong)
    cors = _table(Cors, raw, "cors", wrong)
    if cors.credentials and "*" in cors.origins:
        right = 'the origins must be named one by one where cors.credentials is true, without "*" (Fetch section 3.2.5)'
        yield Mistake(("cors", "origins"), right, list(cors.origins))
    bans = _table(Bans, raw, "bans", wrong)
    if bans.max_time < bans.time:
        yield Mistake(("bans", "max_time"), f"must be bans.time or more: {bans.time:g} s", bans.max_time)
    server = _table(Server, raw, "server", wrong)
    yield from _listeners(server, _table(Tls, raw, "tls", wrong), wrong)
    if server.admin in server.listen:
        yield Mistake(("server", "admin"), "must be another endpoint than those of server.listen", server.admin)
    many = isinstance(server.workers, int) and server.workers > 1
    if many and _table(Redis, raw, "redis", wrong).url == "memory:":
        right = 'must be 0 or 1 where redis.url is "memory:", which each process would have for itself'
        yield Mistake(("server", "workers"), right, server.workers)
    if not any(path[:2] == ("jwt", "algorithms") for path in wrong):
        jwt = _table(Jwt, raw, "jwt", wrong)
        needed = any(route.get("auth", "required") != "none" for _, route in _entries(raw, "routes"))
        yield from (mistake for mistake in _key(jwt, needed) if mistake.path not in wrong)


def _table(model: type[TableT], raw: Raw, key: str, wrong: Collection[Path]) -> TableT:
    """A table without the keys that are wrong."""
    bad = {path[1] for path in wrong if path[:1] == (key,) and len(path) > 1}
    return model.model_validate({name: value for name, value in _dict(raw.get(key)).items() if name not in bad})


def _dict(value: Any) -> Raw:
    """A table as it is; nothing for what is no table."""
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    """A list as it is; nothing for what is no list."""
    return value if isinstance(value, list) else []


def _entries(raw: Raw, key: str) -> list[tuple[int, Raw]]:
    """The tables in a list of tables, with their indexes."""
    return [(index, entry) for index, entry in enumerate(_list(raw.get(key))) if isinstance(entry, dict)]


def _twice(raw: Raw, table: str, key: str) -> Iterator[Mistake]:
    first: dict[str, int] = {}
    for index, entry in _entries(raw, table):
        value = entry.get(key)
        if isinstance(value, str) and first.setdefault(value, index) != index:
            yield Mistake((table, index, key), f"must differ from {table}[{first[value]}].{key}", value)


def _upstreams(raw: Raw) -> Iterator[Mistake]:
    for index, upstream in _entries(raw, "upstreams"):
        instances, discover = upstream.get("instances", []), upstream.get("discover")
        if instances == [] and not discover:
            right = "must name an instance, unless discover says where they are"
            yield Mistake(("upstreams", index, "instances"), right, upstream.get("instances", ABSENT))
        elif instances and discover:
            yield Mistake(("upstreams", index, "discover"), "must be left out where instances are named", discover)
        hash_on, hashed = upstream.get("hash_on"), upstream.get("balance") == "hash"
        if hashed and not hash_on:
            right = 'is missing: balance = "hash" needs "client", "user", "header:NAME" or "cookie:NAME"'
            yield Mistake(("upstreams", index, "hash_on"), right)
        elif hash_on and not hashed:
            yield Mistake(("upstreams", index, "hash_on"), 'must be left out without balance = "hash"', hash_on)


def _routes(raw: Raw, wrong: Collection[Path]) -> Iterator[Mistake]:
    upstreams = {entry["name"] for _, entry in _entries(raw, "upstreams") if isinstance(entry.get("name"), str)}
    limited = _dict(_dict(raw.get("rate_limit")).get("roles"))
    fields = {name.lower() for name in (*SECURITY_HEADERS, *_dict(raw.get("security_headers")))}
    for index, route in _entries(raw, "routes"):
        upstream = route.get("upstream")
        if isinstance(upstream, str) and upstream not in upstreams:
            right = f"must be the name of an upstream; {did_you_mean(upstream, upstreams)}"
            yield Mistake(("routes", index, "upstream"), right, upstream)
        for path, role in _roles(route.get("roles"), ("routes", index, "roles")):
            if limited and role not in limited and path not in wrong:
                right = f"must be a role of rate_limit.roles; {did_you_mean(role, limited)}"
                yield Mistake(path, right, role)
        if route.get("roles") is not None and route.get("auth") == "none":
            right = 'must be "required" or "optional" where roles are named: without a token nobody has one'
            yield Mistake(("routes", index, "auth"), right, "none")
        for place, name in enumerate(_list(route.get("upstream_headers"))):
            path = ("routes", index, "upstream_headers", place)
            if isinstance(name, str) and path not in wrong and name.lower() not in fields:
                yield Mistake(path, f"must be one of the security headers; {did_you_mean(name.lower(), fields)}", name)


def _listeners(server: Server, tls: Tls, wrong: Collection[Path]) -> Iterator[Mistake]:
    """What listeners need of other keys: clients that cannot be asked for certificates would get in without them."""
    endpoints = [take_apart(text) for text in server.listen]
    proxied = any(each.proxied and not each.twisted.startswith(_UNIX) for each in endpoints)
    if proxied and not server.trusted_proxies and ("server", "trusted_proxies") not in wrong:
        right = 'must name the proxies that a "haproxy:" endpoint is for: connections from others are closed'
        yield Mistake(("server", "trusted_proxies"), right, [])
    if tls.client_auth != "none":
        if not tls.ca_file and ("tls", "ca_file") not in wrong:
            yield Mistake(("tls", "ca_file"), "is missing: whose certificates are accepted from clients")
        if not any(each.certificates for each in endpoints) and not any(
            path[:2] == ("server", "listen") for path in wrong
        ):
            right = 'must be "none" where no endpoint of server.listen begins with "tls:"'
            yield Mistake(("tls", "client_auth"), right, tls.client_auth)


def _roles(roles: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """The role names in a list, or in a table of lists by method."""
    for method, names in _dict(roles).items():
        yield from _roles(_list(names), (*path, method))
    for index, role in enumerate(_list(roles)):
        if isinstance(role, str):
            yield (*path, index), role


def _key(jwt: Jwt, needed: bool) -> Iterator[Mistake]:
    """What is wrong with the key that tokens are verified with; when no route asks for tokens, it may be missing."""
    names = ", ".join(jwt.algorithms)
    fitting = ("secret", "secret_file") if jwt.symmetric else ("public_key_file", "jwks_url")
    given = [key for key in ("secret", "secret_file", "public_key_file", "jwks_url") if getattr(jwt, key)]
    for key in given:
        if key not in fitting:
            yield Mistake(("jwt", key), f"must be left out: {names} needs {' or '.join(fitting)}")
    sources = [key for key in given if key in fitting]
    if len(sources) > 1:
        yield Mistake(("jwt", sources[1]), f"must be left out where {sources[0]} is given: one key is enough")
    elif not sources and needed:
        yield Mistake(("jwt", fitting[0]), f"is missing: {names} needs {' or '.join(fitting)}")
    elif sources and sources[0] != "jwks_url":
        yield from _check_key(jwt, sources[0], _secret if jwt.symmetric else _public_key)


def _check_key(jwt: Jwt, source: str, check: Callable[[Jwt, bytes], None]) -> Iterator[Mistake]:
    try:
        if source != "secret":
            read_file(getattr(jwt, source))
        check(jwt, jwt.key())
    except ValueError as error:
        yield Mistake(("jwt", source), f"must be {error}", getattr(jwt, source))


def _secret(jwt: Jwt, key: bytes) -> None:
    needed, algorithm = max((SECRET_BYTES[name], name) for name in jwt.algorithms)
    if len(key) < needed:
        raise ValueError(f"a secret of {needed} bytes or more for {algorithm} (RFC 7518 section 3.2), not {len(key)}")


def _public_key(jwt: Jwt, pem: bytes) -> None:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError('a PEM file of a public key ("-----BEGIN PUBLIC KEY-----")') from None
    for name in jwt.algorithms:
        if name[:2] in ("RS", "PS"):
            fits, kind = isinstance(key, RSAPublicKey) and key.key_size >= _RSA_BITS, f"RSA of {_RSA_BITS} bits or more"
        elif name in _CURVES:
            fits, kind = isinstance(key, EllipticCurvePublicKey) and key.curve.name == _CURVES[name], _CURVES[name]
        else:
            fits, kind = isinstance(key, Ed25519PublicKey | Ed448PublicKey), "Ed25519 or Ed448"
        if not fits:
            raise ValueError(f"a key for {name}: {kind}")
