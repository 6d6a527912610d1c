"""One wish for WebSocket on its way to an instance: only the upstream's 101 makes the client's."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING, Any, Final

from autobahn.websocket.types import ConnectingRequest
from twisted.internet.defer import Deferred

from gateway.core.errors import BadRequest, GatewayError
from gateway.core.frames import Ending
from gateway.core.headers import nominated
from gateway.http.relay import Relay
from gateway.http.upstream import UpstreamConnection
from gateway.resources.bridge import Bridge, attach
from gateway.resources.handshake import Answer, Asking, ask
from gateway.resources.proxy import own_fields

if TYPE_CHECKING:
    from gateway.core.headers import FieldName
    from gateway.http.request import Request
    from gateway.resources.websocket import WebSocketResource

BEARER: Final = "bearer."
"""What a subprotocol begins with that is none, but a browser's access token: it stops at the gateway."""

_WRITTEN_BY_AUTOBAHN: Final = frozenset((b"pragma", b"cache-control"))


class Upgrade(Relay):
    """A relay whose request Autobahn writes, and whose 101 Autobahn reads and a bridge follows.

    Everything else is as with a plain request: instances are tried, timed and given up alike, and any other answer is
    relayed as it is.

    :param target: path and query as the upstream gets them.
    :param fields: the header fields that it gets.
    """

    def __init__(self, leaf: WebSocketResource, request: Request, target: str, fields: dict[str, str]) -> None:
        super().__init__(leaf, request)
        self._leaf = leaf
        self._target = target
        self._fields = fields
        self._offer: list[str] = []
        self._answered: Deferred[Answer] = Deferred()
        self._rest = b""
        self._bridge: Bridge | None = None
        self._asking: Asking | None = None
        self._bridged: UpstreamConnection | None = None

    # -- the client's handshake -----------------------------------------------------------------------------------

    def offered(self, subprotocols: list[str]) -> Deferred[Answer]:
        self._offer = [name for name in subprotocols if not name.startswith(BEARER)]
        return self._answered

    # -- the upstream's -------------------------------------------------------------------------------------------

    def _send(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        self._sent_all = True
        self._started = self._since = self._leaf.clock.seconds()
        transport: Any = connection.transport
        transport.unregisterProducer()
        self._asking = ask(self._leaf.clock, self._offer, self)
        connection.heard = False
        attach(transport, self._asking)

    def wishes(self) -> ConnectingRequest:
        host, port = self._leaf.host_and_port(self._request, self.instance)
        return ConnectingRequest(host, port, self._target, self._fields, protocols=self._offer)

    def upstream_heard(self) -> None:
        if self._connection is not None:
            self._connection.heard = True

    def upstream_refused(self, answer: bytes) -> None:
        connection, self._asking = self._connection, None
        if connection is not None:
            connection.reader = self
            attach(connection.transport, connection)
            connection.dataReceived(answer)

    def upstream_accepted(self, subprotocol: str | None, rest: bytes) -> None:
        if self._connection is None:
            return  # cut in the meantime
        request = self._request
        request.upstream_time = self._leaf.clock.seconds() - self._started
        if self.instance.health.doubtful:
            self._judge(101)
            self.instance.health.completed()
        self._rest = rest
        self._answered.callback((subprotocol, answer_fields(request)))

    def answer_failed(self, error: GatewayError) -> None:
        connection, self._asking = self._connection, None
        if connection is not None:
            connection.ended()
            super().answer_failed(error)

    def _cut(self) -> None:
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.forget()
        super()._cut()

    # -- both -----------------------------------------------------------------------------------------------------

    def accepted(self, answer: bytes) -> None:
        request, leaf, connection = self._request, self._leaf, self._connection
        self._connection = None
        self._bridged = connection
        self._finish()  # an open socket is no request, and has its connection for itself
        request.startedWriting = 1
        request.status = 101
        client, held = request.channel.detach()
        client.write(answer)
        self._bridge = bridge = leaf.bridges.join(client, connection.transport, self._over, leaf.idle_timeout)  # type: ignore[union-attr]
        bridge.request = request
        request.log_more = ',"event":"open"'
        leaf.opened(request)
        if request.claims is not None and request.claims.expires < inf:
            left = request.claims.expires - leaf.clock.seconds()
            bridge.expire_in(left if left > 0 else max(left + leaf.leeway, 0))
        if self._rest:
            bridge.upstream.dataReceived(self._rest)
        if held:
            bridge.client.dataReceived(held)

    def end(self, error: GatewayError) -> None:
        if self._bridge is None:
            super().end(error)
        else:
            self._bridge.close(Ending(error.close_code, error.message[:1].lower() + error.message[1:]))

    def _over(self, bridge: Bridge) -> None:
        request = self._request
        self._leave()
        self._bridged.ended()  # type: ignore[union-attr]
        request.sent = bridge.upstream.received
        code = bridge.ending.code  # type: ignore[union-attr]
        request.log_more = f',"event":"close","received":{bridge.client.received},"closeCode":{code}'
        request.channel.detached_closed(request)


def forwarded(request: Request) -> dict[str, str]:
    """The header fields that pass on to the upstream, the client's and the gateway's; repeated ones joined.

    :raises BadRequest: when one is not UTF-8, as Autobahn writes them.
    """
    stopped = _WRITTEN_BY_AUTOBAHN | nominated(request.field(b"connection") or b"")
    passing: dict[bytes, FieldName] = {}
    for known, _ in request.raw_fields:
        if known.passes and known.lower not in stopped and not known.lower.startswith(b"sec-websocket-"):
            passing.setdefault(known.lower, known)
    try:
        fields = {known.name.decode(): (request.field(lower) or b"").decode() for lower, known in passing.items()}
        own = own_fields(request).decode()
    except UnicodeDecodeError:
        raise BadRequest("A header field is not UTF-8") from None
    return fields | dict(_split(line) for line in own.split("\r\n") if line)


def answer_fields(request: Request) -> Mapping[str, list[str]]:
    """The header fields of the 101 that are the gateway's: the request's id, and what the guards added."""
    fields: dict[str, list[str]] = {"X-Request-ID": [request.id]}
    for line in b"".join(request.answer_fields).decode("latin-1").split("\r\n"):
        if line:
            name, value = _split(line)
            fields.setdefault(name, []).append(value)
    return fields


def _split(line: str) -> tuple[str, str]:
    name, _, value = line.partition(": ")
    return name, value
