"""The leaf that most routes end in: what a request looks like to its upstream, and an answer to its client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from gateway.core.errors import UpstreamFailed
from gateway.core.headers import HIDDEN, HOP_BY_HOP, for_plain_http, nominated
from gateway.core.paths import strip_prefix
from gateway.http.buffering import when_enough
from gateway.http.relay import Relay
from gateway.http.upstream import Framing

if TYPE_CHECKING:
    from gateway.http.request import Request
    from gateway.upstreams.cluster import Cluster
    from gateway.upstreams.instance import Instance

VIA: Final = {b"HTTP/1.1": b"1.1 smartgate", b"HTTP/1.0": b"1.0 smartgate", b"HTTP/2": b"2.0 smartgate"}
"""By the version that the client speaks."""
_OWN_FIELDS: Final = (
    b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\nX-Request-ID: %b\r\nVia: %b\r\n"
)
_REMEMBERED_NAMES: Final = 1024
_DROP, _PASS, _LENGTH, _CODING, _CONNECTION = range(5)
_FRAMING_FIELDS: Final = frozenset((b"content-length", b"transfer-encoding"))
_CORS_PREFIX: Final = b"access-control-"
_RATE_LIMIT_FIELDS: Final = frozenset(
    (b"ratelimit-policy", b"ratelimit-limit", b"ratelimit-remaining", b"ratelimit-reset", b"ratelimit")
)


def own_fields(request: Request) -> bytes:
    """The header lines that the gateway adds to a request, under names that no client can use.

    X-Forwarded-For and -Proto, -Host, X-Request-ID, Via (RFC 9110 section 7.6.3) and, once the token is verified,
    X-User-Id and X-User-Role.
    """
    channel = request.channel
    forwarded_for = channel.peer.encode()
    forwarded_host = request.authority
    if channel.trusted:
        inbound = request.field(b"x-forwarded-for")
        if inbound is not None:
            forwarded_for = inbound + b", " + forwarded_for
        forwarded_host = request.field(b"x-forwarded-host") or forwarded_host
    via, own_via = request.field(b"via"), VIA[request.clientproto]
    lines = _OWN_FIELDS % (
        forwarded_for,
        b"https" if request.secure else b"http",
        forwarded_host,
        request.id.encode(),
        own_via if via is None else via + b", " + own_via,
    )
    claims = request.claims
    if claims is not None:
        lines += _identity(claims.subject, claims.role)
    return lines


@lru_cache(_REMEMBERED_NAMES)
def _identity(subject: str, role: str) -> bytes:
    return f"X-User-Id: {_visible(subject)}\r\nX-User-Role: {_visible(role)}\r\n".encode()


def _visible(value: str) -> str:
    """A name as a field's value, percent-encoded where it must be; no two names look the same."""
    plain = value.isascii() and value.isprintable() and "%" not in value and value.strip(" ") == value
    return value if plain else quote(value, safe="@:/+")


def passed_fields(request: Request) -> list[bytes]:
    """The lines of the client's header fields that pass on to the upstream, as pieces to join."""
    pieces: list[bytes] = []
    connection = request.field(b"connection")
    stopped = nominated(connection) if connection is not None else None
    for known, value in request.raw_fields:
        if known.passes and not (stopped and known.lower in stopped):
            pieces += (known.line, value, b"\r\n")
    return pieces


@dataclass(frozen=True)
class ProxySettings:
    """What a route says about its proxying; times in seconds."""

    stripped_prefix: bytes
    preserve_host: bool
    connect_timeout: float
    first_byte_timeout: float
    idle_timeout: float
    security: Mapping[str, str]
    """Header fields that every answer gets, as far as http may carry them."""
    upstream_wins: frozenset[bytes] = frozenset()
    """Lower-case names among ``security`` where the upstream's own value stays."""
    own_cors: bool = False
    """Whether the gateway speaks CORS here, so that the upstream's own fields are dropped."""
    own_limits: bool = False
    """Whether the gateway counts requests here, so that the upstream's own RateLimit fields are dropped."""


class ReverseProxyResource(Resource):
    """Sends requests to the instances of a cluster.

    :param report: called with the upstream's name and a short reason when an instance failed.
    """

    isLeaf = True

    def __init__(self, cluster: Cluster, settings: ProxySettings, report: Callable[[str, str], None]) -> None:
        super().__init__()
        self.connect_timeout = settings.connect_timeout
        self.first_byte_timeout = settings.first_byte_timeout
        self.idle_timeout = settings.idle_timeout
        self.upstream = cluster
        self.settings = settings
        self._report = report
        self._rules: dict[bytes, tuple[int, bytes]] = {}
        self._own = tuple(
            self._own_lines(fields) for fields in (for_plain_http(settings.security), settings.security)
        )  # over http, over https
        self._dropped = HOP_BY_HOP | HIDDEN | {b"x-request-id"}
        if settings.own_limits:
            self._dropped |= _RATE_LIMIT_FIELDS
        self._dropped |= {name.lower().encode("ascii") for name in settings.security} - settings.upstream_wins

    def _own_lines(self, fields: Mapping[str, str]) -> tuple[bytes, dict[bytes, bytes]]:
        """The lines that always stand in an answer, and those by name that an upstream's own replace."""
        constant, yielding = b"", {}
        for name, value in fields.items():
            line, lower = f"{name}: {value}\r\n".encode("latin-1"), name.lower().encode("ascii")
            if lower in self.settings.upstream_wins:
                yielding[lower] = line
            else:
                constant += line
        return constant, yielding

    def render(self, request: Any) -> int:
        """Begin the exchange; its relay writes the answer."""
        if request.upgrading:
            request.channel.ignore_upgrade()
        if self.settings.stripped_prefix:
            self.target(request)  # one that cannot be passed on is refused before an instance is bothered
        when_enough(request, self.upstream.circuit, Relay(self, request).start)
        return NOT_DONE_YET

    def target(self, request: Request) -> bytes:
        """Path and query as the upstream gets them: what was matched, less the prefix where the route strips it.

        :raises BadRequest: when the rest of the path could be read as another one.
        """
        stripped = self.settings.stripped_prefix
        path = strip_prefix(request.path, stripped) if stripped else request.path
        return path + b"?" + request.query if request.query else path

    def request_head(self, request: Request, instance: Instance) -> bytes:
        """The head of ``request`` as ``instance`` gets it."""
        host = request.authority if self.settings.preserve_host else instance.authority
        pieces = passed_fields(request)
        if request.content_length is not None:
            pieces.append(b"Content-Length: %d\r\n" % request.content_length)
        elif request.chunked_body:
            pieces.append(b"Transfer-Encoding: chunked\r\n")
        return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b%b\r\n" % (
            request.method,
            self.target(request),
            host,
            b"".join(pieces),
            own_fields(request),
        )

    def answer_lines(self, request: Request, fields: list[tuple[bytes, bytes]]) -> tuple[bytes, Framing]:
        """The lines of an instance's answer that pass on, with the gateway's own, and how its body is framed.

        :raises UpstreamFailed: when its framing cannot be told (RFC 9112 section 6.3).
        """
        rules = self._rules
        pieces: list[bytes] = []
        framing = Framing.UNTIL_CLOSE
        stopped: frozenset[bytes] = frozenset()
        constant, yielding = self._own[request.secure]
        if yielding:
            yielding = yielding.copy()
        for name, value in fields:
            known = rules.get(name)
            if known is None:
                known = self._learn(name)
            rule, line = known
            if rule == _PASS:
                pieces += (line, value, b"\r\n")
                if yielding:
                    yielding.pop(name.lower(), None)
            elif rule == _LENGTH:
                if framing is not Framing.UNTIL_CLOSE:
                    raise UpstreamFailed("The service behind this path sent an answer whose length cannot be told")
                framing = Framing.LENGTH
                pieces += (line, value, b"\r\n")
            elif rule == _CODING:
                if value.lower() != b"chunked" or framing is not Framing.UNTIL_CLOSE:
                    raise UpstreamFailed("The service behind this path sent an answer whose length cannot be told")
                framing = Framing.CHUNKED
            elif rule == _CONNECTION:
                stopped |= nominated(value)
        if stopped:  # a rare answer: once more without what was nominated, but with what tells its end
            stopped = stopped - _FRAMING_FIELDS | {b"connection"}
            return self.answer_lines(request, [field for field in fields if field[0].lower() not in stopped])
        pieces.append(constant)
        if yielding:
            pieces += yielding.values()
        return b"".join(pieces), framing

    def _learn(self, name: bytes) -> tuple[int, bytes]:
        lower = name.lower()
        if lower == b"connection":
            rule = _CONNECTION
        elif lower == b"transfer-encoding":
            rule = _CODING
        elif lower == b"content-length":
            rule = _LENGTH
        elif lower in self._dropped or (self.settings.own_cors and lower.startswith(_CORS_PREFIX)):
            rule = _DROP
        else:
            rule = _PASS
        known = (rule, name + b": ")
        if len(name) <= 64:
            if len(self._rules) >= _REMEMBERED_NAMES:
                self._rules.clear()
            self._rules[name] = known
        return known

    def failed(self, reason: str) -> None:
        """An instance failed."""
        self._report(self.upstream.name, reason)
