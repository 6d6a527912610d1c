"""The opening handshakes of a bridge (RFC 6455 section 4), made by Autobahn: with the client and with the upstream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from autobahn.twisted.websocket import (
    WebSocketClientFactory,
    WebSocketClientProtocol,
    WebSocketServerFactory,
    WebSocketServerProtocol,
)
from autobahn.websocket.types import ConnectingRequest, ConnectionRequest, ConnectionResponse
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from gateway.core.errors import BadRequest, GatewayError, UpgradeRequired, UpstreamFailed
from gateway.core.headers import TOKEN
from gateway.http.request import Request
from gateway.http.upstream import HEAD_LIMIT

_READ_BY_AUTOBAHN: Final = frozenset(
    (b"upgrade", b"connection", b"sec-websocket-version", b"sec-websocket-key", b"sec-websocket-protocol")
)
"""The fields of a client's handshake that are left to check; no extension is ever agreed on."""

UPGRADE_FIELDS: Final = (b"Upgrade: websocket\r\n", b"Connection: Upgrade\r\n")
"""What every 426 says (RFC 9110 section 15.5.22)."""

_SWITCHING: Final = b"HTTP/1.1 101"

Answer = tuple[str | None, Mapping[str, Sequence[str]]]
"""A subprotocol, and header fields."""


class Upgrading(Protocol):
    """Who carries a client's wish for WebSocket to an upstream."""

    def offered(self, subprotocols: list[str]) -> Deferred[Answer]:
        """The client's handshake is right; returns what fires when the upstream has accepted. It must not raise."""

    def accepted(self, answer: bytes) -> None:
        """The 101 for the client."""

    def wishes(self) -> ConnectingRequest:
        """What the upstream is asked."""

    def upstream_accepted(self, subprotocol: str | None, rest: bytes) -> None:
        """The upstream has answered 101; ``rest`` came after it."""

    def upstream_refused(self, answer: bytes) -> None:
        """The upstream has answered, or begun to answer, something else."""

    def upstream_heard(self) -> None:
        """The upstream has begun to answer."""

    def answer_failed(self, error: GatewayError) -> None:
        """The upstream's connection was lost, or cut because its 101 was not right."""


class _Paper:
    """The transport of a handshake whose answer is only written down: it may still become another one."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data


class Accepting(WebSocketServerProtocol):
    """The handshake with the client: read from a request that was parsed before, and answered on paper."""

    transport: Any

    def __init__(self, upgrade: Upgrading) -> None:
        super().__init__()
        self._upgrade = upgrade

    def onConnect(self, request: ConnectionRequest) -> Deferred[Answer]:  # type: ignore[override]
        return self._upgrade.offered(request.protocols)

    def onOpen(self) -> None:
        self._upgrade.accepted(self.transport.written)

    def failHandshake(self, reason: str, code: int = 400, responseHeaders: Any = None) -> None:
        """Autobahn's refusals, raised out of :func:`accept`."""
        fields = tuple(f"{name}: {value}\r\n".encode() for name, value in responseHeaders or ())
        raise UpgradeRequired(reason, (*UPGRADE_FIELDS, *fields)) if fields else BadRequest(reason)


class Asking(WebSocketClientProtocol):
    """The handshake with the upstream, on a connection that is already there."""

    def __init__(self, upgrade: Upgrading) -> None:
        super().__init__()
        self._upgrade: Upgrading | None = upgrade

    def onConnecting(self, transport_details: Any) -> ConnectingRequest:
        return self._upgrade.wishes()  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        """Autobahn reads nothing but a 101 of a sane size."""
        if self._upgrade is None:
            return  # it was cut
        self._upgrade.upstream_heard()
        start = self.data + data
        if not (_SWITCHING.startswith(start) or start.startswith(_SWITCHING)):
            upgrade, self._upgrade = self._upgrade, None
            upgrade.upstream_refused(start)
            return
        if len(start) > HEAD_LIMIT and b"\r\n\r\n" not in start[:HEAD_LIMIT]:
            self.failHandshake("too large a head")
            return
        try:
            super().dataReceived(data)
        except UnicodeDecodeError:
            self.failHandshake("a head that is not UTF-8")

    def onConnect(self, response: ConnectionResponse) -> None:
        self._subprotocol = response.protocol

    def onOpen(self) -> None:
        upgrade, self._upgrade = self._upgrade, None
        rest, self.data = self.data, b""
        upgrade.upstream_accepted(self._subprotocol, rest)  # type: ignore[union-attr]

    def forget(self) -> None:
        """The connection is cut, and nobody wants to hear how it ends."""
        self._upgrade = None

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        upgrade, self._upgrade = self._upgrade, None
        if upgrade is not None:
            upgrade.answer_failed(UpstreamFailed("The service behind this path did not accept the WebSocket"))


def accepting_factory(clock: IReactorTime) -> WebSocketServerFactory:
    """The Autobahn factory that all handshakes with clients share: version 13, no extensions, no status page."""
    factory = WebSocketServerFactory(reactor=clock, server="")
    factory.setProtocolOptions(versions=[13], webStatus=False, openHandshakeTimeout=0)
    return factory


def accept(factory: WebSocketServerFactory, request: Request, upgrade: Upgrading) -> None:
    """Let Autobahn read the handshake of ``request``, whose target, version and Host have been checked before.

    :raises UpgradeRequired: when the client speaks another version of the protocol.
    :raises BadRequest: when its handshake is not right.
    """
    offered = request.field(b"sec-websocket-protocol")
    if offered is not None and not all(TOKEN.fullmatch(name.strip(b" \t")) for name in offered.split(b",")):
        raise BadRequest("A subprotocol that is offered is not a token")
    protocol = Accepting(upgrade)
    protocol.factory = factory
    protocol.makeConnection(_Paper())
    fields = b"".join(
        known.line + value + b"\r\n" for known, value in request.raw_fields if known.lower in _READ_BY_AUTOBAHN
    )
    protocol.dataReceived(b"%b / HTTP/1.1\r\nHost: gateway\r\n%b\r\n" % (request.method, fields))


def ask(clock: IReactorTime, subprotocols: list[str], upgrade: Upgrading) -> Asking:
    """A protocol that asks an upstream for WebSocket as soon as it is connected; its timeouts are the caller's."""
    factory = WebSocketClientFactory(reactor=clock, protocols=subprotocols, useragent=None)
    factory.setProtocolOptions(openHandshakeTimeout=0)
    protocol = Asking(upgrade)
    protocol.factory = factory
    return protocol
