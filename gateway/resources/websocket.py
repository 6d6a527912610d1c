"""The leaf of WebSocket routes: an Autobahn server for the client and an Autobahn client for the upstream, joined."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_from_bytes

from autobahn.twisted.websocket import (
    WebSocketClientFactory,
    WebSocketClientProtocol,
    WebSocketServerFactory,
    WebSocketServerProtocol,
)
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.ssl import optionsForClientTLS
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from gateway.core.errors import Forbidden, UpgradeRequired, UpstreamFailed, UpstreamTimeout
from gateway.core.headers import nominated
from gateway.resources.proxy import own_fields, target

if TYPE_CHECKING:
    from gateway.http.request import Request
    from gateway.upstreams.cluster import Cluster

POLICY_VIOLATION = 1008
INTERNAL_ERROR = 1011
SERVICE_RESTART = 1012
GOING_AWAY = 1001
NO_CODE = 1005
ABNORMAL = 1006
REFUSAL_BODY = 65536
CLOSE_SECONDS = 5


class WebSocketResource(Resource):
    """Bridges an upgrade that has passed the guards to an instance, which decides about it.

    :param origins: the pages that may connect; a client without Origin is no page.
    :param max_message: bytes of one message; a larger one closes the socket with 1009.
    :param idle_ping: seconds between pings; a peer that does not answer within as long is dropped.
    :param connect_timeout: seconds until the instance has agreed.
    """

    isLeaf = True

    def __init__(
        self,
        reactor: Any,
        cluster: Cluster,
        stripped_prefix: bytes,
        origins: Container[str],
        max_message: int,
        idle_ping: float,
        connect_timeout: float,
        report: Callable[[str, str], None],
    ) -> None:
        super().__init__()
        self.reactor = reactor
        self.cluster = cluster
        self.stripped_prefix = stripped_prefix
        self.connect_timeout = connect_timeout
        self.report = report
        self._origins = origins
        self.options: dict[str, Any] = {
            "maxMessagePayloadSize": max_message,
            "maxFramePayloadSize": max_message,
            "autoPingInterval": idle_ping,
            "autoPingTimeout": idle_ping,
            "openHandshakeTimeout": connect_timeout,
            "closeHandshakeTimeout": CLOSE_SECONDS,
            "echoCloseCodeReason": True,
            "tcpNoDelay": False,  # set by the channel; the transport may be a TLS one
        }

    def render(self, request: Any) -> int:
        """Ask an instance; answer 101 only when it does.

        :raises UpgradeRequired: for a request that is no WebSocket handshake.
        :raises Forbidden: for a page of an origin that may not connect.
        """
        if not request.upgrading or (request.field(b"upgrade") or b"").lower() != b"websocket":
            raise UpgradeRequired(fields=(b"Upgrade: websocket\r\n",))
        origin = request.field(b"origin")
        if origin is not None and "*" not in self._origins and origin.decode("latin-1") not in self._origins:
            raise Forbidden("Pages of this origin may not connect")
        Bridge(self, request).connect()
        return NOT_DONE_YET


class Bridge:
    """One socket's two halves: what comes in on one side goes out on the other, closes and their codes too."""

    def __init__(self, resource: WebSocketResource, request: Request) -> None:
        self._resource = resource
        self._request = request
        self._instance = resource.cluster.choose()
        self._connecting: Any = None
        self._expiry: IDelayedCall | None = None
        self.client: Any = None
        self.upstream: Any = None
        self._over = False

    # -- the handshakes -------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Send the upgrade on to the instance."""
        resource, request, instance = self._resource, self._request, self._instance
        request.relay = self
        request.upstream = instance.name
        instance.active += 1
        path = quote_from_bytes(target(request, resource.stripped_prefix), safe="/?#[]@!$&'()*+,;=:%-._~")
        factory = WebSocketClientFactory(
            f"{'wss' if instance.tls else 'ws'}://{instance.name}{path}",
            protocols=offered_subprotocols(request),
            headers=forwarded(request),
            useragent=None,
            reactor=resource.reactor,
        )
        factory.protocol = UpstreamSide
        factory.bridge = self
        factory.noisy = False
        factory.setProtocolOptions(**resource.options)
        endpoint: Any = HostnameEndpoint(
            resource.reactor, instance.host, instance.port, timeout=resource.connect_timeout
        )
        if instance.tls:
            endpoint = wrapClientTLS(optionsForClientTLS(instance.host), endpoint)
        self._connecting = endpoint.connect(factory)
        self._connecting.addCallbacks(self._connected, self._not_connected)

    def _connected(self, upstream: Any) -> None:
        self._connecting = None
        self.upstream = upstream

    def _not_connected(self, failure: Failure) -> None:
        self._connecting = None
        if self._over:
            return
        late = failure.check(ConnectTimeout)
        self._resource.report(self._resource.cluster.name, "connect_timeout" if late else "connect")
        self._end()
        self._request.refuse(UpstreamTimeout() if late else UpstreamFailed())
        if not failure.check(ConnectError):
            failure.trap(Exception)

    def refused(self, status: int, content_type: bytes, body: bytes) -> None:
        """The instance answered something else than 101: the client gets that."""
        if not self._over:
            self._end()
            line = b"Content-Type: %b\r\n" % content_type if content_type else b""
            self._request.respond(status, line, body)

    def opened(self, upstream: Any, subprotocol: str | None) -> None:
        """The instance agreed: agree with the client, in the same words."""
        request = self._request
        if self._over:
            upstream.sendCloseFrame(code=GOING_AWAY, isReply=False)
            return
        self.upstream = upstream
        request.status = 101
        channel = request.channel
        request.relay = None
        transport, held = channel.detach(self.restart)
        factory = WebSocketServerFactory(reactor=self._resource.reactor)
        factory.setProtocolOptions(**self._resource.options)
        client = self.client = ClientSide()
        client.factory = factory
        client.bridge = self
        client.agreed = (subprotocol, answer_headers(request))
        wrapper = getattr(transport, "wrappedProtocol", None)
        if wrapper is None:
            transport.protocol = client
        else:
            transport.wrappedProtocol = client
        client.makeConnection(transport)
        transport.registerProducer(upstream.transport, True)
        upstream.transport.registerProducer(transport, True)
        if request.claims is not None:
            left = max(0.0, request.claims.expires - self._resource.reactor.seconds())
            self._expiry = self._resource.reactor.callLater(left, self.close, POLICY_VIOLATION, "token expired")
        head = b"GET / HTTP/1.1\r\n" + b"".join(
            b"%b: %b\r\n" % (name, value)
            for name, value in request.fields
            if name.lower() != b"sec-websocket-extensions"
        )
        client.dataReceived(head + b"\r\n" + held)

    # -- once it is open ------------------------------------------------------------------------------------------

    def message(self, sender: Any, payload: bytes, binary: bool) -> None:
        """A message came in on one side."""
        receiver = self.upstream if sender is self.client else self.client
        self._request.sent += len(payload) if receiver is self.client else 0
        if receiver is not None:
            receiver.sendMessage(payload, binary)

    def closed(self, side: Any, code: int | None, reason: str | None) -> None:
        """One side has closed: close the other with the same code, where it may be sent (RFC 6455 section 7.4.1)."""
        other = self.upstream if side is self.client else self.client
        if code == ABNORMAL or (code is not None and code >= 1015 and code < 3000):
            code, reason = (INTERNAL_ERROR if side is self.upstream else GOING_AWAY), ""
        close(other, None if code == NO_CODE else code, reason or "")
        if side is self.client or self.client is None:
            if self.client is None and not self._over:
                self._end()
                self._request.refuse(UpstreamFailed())
                return
            self._end()

    def close(self, code: int, reason: str) -> None:
        """Close both sides from here."""
        for side in (self.client, self.upstream):
            close(side, code, reason)

    def restart(self) -> None:
        """The gateway stops."""
        self.close(SERVICE_RESTART, "restarting")

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        self._instance.active -= 1
        self._request.relay = None
        if self._expiry is not None and self._expiry.active():
            self._expiry.cancel()
        if self.client is not None:
            self._request.channel.detached_closed(self._request)

    # -- the client, while the instance is still asked ------------------------------------------------------------

    def pause(self) -> None:
        """Nothing is written yet."""

    def resume(self) -> None:
        """Nothing is written yet."""

    def client_gone(self) -> None:
        """Nobody waits any more."""
        connecting, self._connecting = self._connecting, None
        self._end()
        if connecting is not None:
            connecting.cancel()
        if self.upstream is not None:
            self.upstream.transport.abortConnection()


class ClientSide(WebSocketServerProtocol):
    """The gateway as the client's server; the handshake is already agreed on."""

    bridge: Bridge
    agreed: tuple[str | None, dict[str, str]]

    def onConnect(self, request: Any) -> Any:
        return self.agreed

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.bridge.message(self, payload, isBinary)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.bridge.closed(self, code, reason)


class UpstreamSide(WebSocketClientProtocol):
    """The gateway as the instance's client."""

    _subprotocol: str | None = None

    def processHandshake(self) -> None:
        head, end, body = self.data.partition(b"\r\n\r\n")
        first = head.split(b"\r\n", 1)[0].split(b" ")
        if not end or len(first) < 2 or first[1] == b"101" or not first[1].isdigit():
            super().processHandshake()
            return
        content_type = b""
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-type":
                content_type = value.strip()
        status = int(first[1])
        self.factory.bridge.refused(status if 300 <= status < 600 else 502, content_type, body[:REFUSAL_BODY])
        self.transport.abortConnection()

    def onConnect(self, response: Any) -> None:
        self._subprotocol = response.protocol

    def onOpen(self) -> None:
        self.factory.bridge.opened(self, self._subprotocol)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.factory.bridge.message(self, payload, isBinary)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.factory.bridge.closed(self, code, reason)


def close(side: Any, code: int | None, reason: str) -> None:
    """Begin the closing handshake on one side, if it is open."""
    if side is not None and side.state == side.STATE_OPEN:
        side.sendCloseFrame(code=code, reasonUtf8=reason.encode()[:123] if code else None, isReply=False)


def offered_subprotocols(request: Request) -> list[str]:
    """What the client offers, without the one that carries its token."""
    value = (request.field(b"sec-websocket-protocol") or b"").decode("latin-1")
    offers = [offer.strip() for offer in value.split(",")]
    return [offer for offer in offers if offer and not offer.startswith("bearer.")]


def forwarded(request: Request) -> dict[str, str]:
    """The header fields of the handshake with the instance: those of any proxied request, less the handshake's own."""
    stopped = nominated(request.field(b"connection") or b"")
    fields = {
        known.name.decode("latin-1"): value.decode("latin-1")
        for known, value in request.raw_fields
        if known.passes and known.lower not in stopped and not known.lower.startswith(b"sec-websocket-")
    }
    for line in own_fields(request).decode("latin-1").split("\r\n"):
        name, colon, value = line.partition(": ")
        if colon:
            fields[name] = value
    return fields


def answer_headers(request: Request) -> dict[str, str]:
    """What the guards added, for the 101."""
    fields = {"X-Request-ID": request.id}
    for line in b"".join(request.answer_fields).decode("latin-1").split("\r\n"):
        name, colon, value = line.partition(": ")
        if colon:
            fields[name] = value
    return fields
