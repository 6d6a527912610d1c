"""One exchange: a request on its way to an instance, and the answer on its way back to the client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from gateway.core.errors import GatewayError, UpstreamFailed, UpstreamTimeout
from gateway.http.upstream import Framing, UpstreamConnection

if TYPE_CHECKING:
    from gateway.http.request import Request

IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))
"""Methods whose request may be sent once more (RFC 9110 section 9.2.2)."""

TRIES = 2


class Instance(Protocol):
    """What a relay asks of an instance of an upstream."""

    name: str
    active: int

    def take(self) -> UpstreamConnection | None:
        """An idle connection, if there is one."""

    def connect(self, timeout: float) -> Deferred[UpstreamConnection]:
        """A new connection.

        :raises UpstreamFailed: (the Deferred fails with it, or with UpstreamTimeout) when there is none to be had.
        """

    def give_back(self, connection: UpstreamConnection) -> None:
        """A connection whose exchange is over."""


class Way(Protocol):
    """What a route decides about its relays."""

    connect_timeout: float
    first_byte_timeout: float
    idle_timeout: float

    def choose(self, request: Request, tried: Any) -> Instance:
        """An instance for the request; not ``tried``, where there is another.

        :raises GatewayError: when there is none.
        """

    def request_head(self, request: Request, instance: Any) -> bytes:
        """The head as the instance gets it."""

    def answer_lines(self, request: Request, fields: list[tuple[bytes, bytes]]) -> tuple[bytes, Framing]:
        """The header lines that go on to the client, and how the answer's body is framed by the instance.

        :raises UpstreamFailed: when that cannot be told.
        """

    def failed(self, relay: Relay, reason: str) -> None:
        """Something went wrong with the instance: a short label for the metrics."""


class Relay:
    """Carries one request to an instance and its answer back, with back-pressure both ways.

    A connection attempt that failed is made again on another instance, whatever the method: nothing was sent. A
    pooled connection that turns out to be dead before it answered is replaced by a new one when the method is
    idempotent and the request has no body. Everything else ends in an error, or, once the answer has begun, in a cut
    connection.
    """

    __slots__ = (
        "_chunked",
        "_connecting",
        "_connection",
        "_framing",
        "_head_seen",
        "_out",
        "_request",
        "_reused",
        "_sent_all",
        "_since",
        "_started",
        "_tries",
        "_way",
        "instance",
    )

    def __init__(self, way: Way, request: Request) -> None:
        self._way = way
        self._request = request
        self._connection: UpstreamConnection | None = None
        self._connecting: Deferred[UpstreamConnection] | None = None
        self._tries = 0
        self._reused = False
        self._sent_all = False
        self._head_seen = False
        self._chunked = False
        self._out: list[bytes] = []
        self.instance: Any = None

    # -- the way there --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Find a connection and send the request on it."""
        self._tries += 1
        self._request.relay = self
        try:
            instance = self.instance = self._way.choose(self._request, self.instance)
        except GatewayError as error:
            self.instance = None
            self._refuse(error)
            return
        instance.active += 1
        self._request.upstream = instance.name
        connection = instance.take()
        if connection is not None:
            self._reused = True
            self._send(connection)
        else:
            self._connect()

    def _connect(self) -> None:
        self._reused = False
        self._connecting = connecting = self.instance.connect(self._way.connect_timeout)
        connecting.addCallbacks(self._connected, self._not_connected)

    def _connected(self, connection: UpstreamConnection) -> None:
        self._connecting = None
        self._send(connection)

    def _not_connected(self, failure: Failure) -> None:
        self._connecting = None
        if self.instance is None:
            return  # the client left meanwhile
        error = failure.value if isinstance(failure.value, GatewayError) else UpstreamFailed()
        self._way.failed(self, "connect_timeout" if isinstance(error, UpstreamTimeout) else "connect")
        self.instance.active -= 1
        if self._tries < TRIES:
            self.start()
        else:
            self.instance = None
            self._refuse(error)

    def _send(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        request = self._request
        self._started = self._since = request.channel.site.clock.seconds()
        head = self._way.request_head(request, self.instance)
        if request.body_complete and not request.body and not request.chunked_body:
            self._sent_all = True
            connection.request(self, head)
            return
        self._chunked = request.chunked_body
        connection.request(self, head)
        if request.expects_continue and not request.body_received:
            request.channel.interim(100, b"Continue", b"")
        request.stream_to(self)

    def body_data(self, data: bytes) -> None:
        connection = self._connection
        if connection is not None:
            self._since = self._request.channel.site.clock.seconds()
            connection.transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)  # type: ignore[union-attr]

    def body_end(self) -> None:
        self._sent_all = True
        if self._chunked and self._connection is not None:
            self._connection.transport.write(b"0\r\n\r\n")  # type: ignore[union-attr]

    def pause_sending(self) -> None:
        self._request.pause_body()

    def resume_sending(self) -> None:
        self._request.resume_body()

    # -- the way back ---------------------------------------------------------------------------------------------

    def answer_head(self, status: int, reason: bytes, fields: list[tuple[bytes, bytes]], http_1_1: bool) -> Framing:
        request = self._request
        if status < 100:
            raise UpstreamFailed("The service behind this path gave an answer that is not HTTP")
        if status < 200 or status == 204:
            # RFC 9110 section 8.6: these have no length.
            fields = [field for field in fields if field[0].lower() != b"content-length"]
        if status < 200:
            # Who expected 100 has had the gateway's own.
            wanted = request.clientproto != b"HTTP/1.0" and not (status == 100 and request.expects_continue)
            if wanted and status != 101 and not request.gone:
                lines, _ = self._way.answer_lines(request, fields)
                request.channel.interim(status, reason, lines)
            return Framing.NONE
        self._head_seen = True
        way = self._way
        request.upstream_time = request.channel.site.clock.seconds() - self._started
        lines, framing = way.answer_lines(request, fields)
        if framing is Framing.CHUNKED and not http_1_1:
            raise UpstreamFailed("The service behind this path sent an answer whose length cannot be told")
        self._framing = Framing.LENGTH
        if request.method == b"HEAD" or status in (204, 304):
            framing = Framing.NONE
        elif framing is not Framing.LENGTH:
            if request.clientproto == b"HTTP/1.1":
                self._framing = Framing.CHUNKED
                lines += b"Transfer-Encoding: chunked\r\n"
            else:
                request.keep_alive = False
        request.startedWriting = 1
        request.status = status
        self._out.append(request.channel.head(request, status, reason, lines))
        return framing

    def answer_body(self, data: bytes) -> None:
        self._request.sent += len(data)
        self._out.append(b"%x\r\n%b\r\n" % (len(data), data) if self._framing is Framing.CHUNKED else data)

    def answer_flush(self) -> None:
        if self._out:
            out, self._out = self._out, []
            self._request.channel.write(b"".join(out))
        if self._head_seen:
            self._since = self._request.channel.site.clock.seconds()

    def answer_end(self) -> None:
        out = self._out
        if self._framing is Framing.CHUNKED:
            out.append(b"0\r\n\r\n")
        request = self._request
        if out:
            request.channel.write(out[0] if len(out) == 1 else b"".join(out))
        self._release()
        request.done()

    def answer_failed(self, error: GatewayError) -> None:
        request = self._request
        connection, self._connection = self._connection, None
        again = (
            self._reused
            and connection is not None
            and not connection.heard
            and self._sent_all
            and request.method in IDEMPOTENT
            and not request.body_received
        )
        if again:
            self._connect()
            return
        self._way.failed(self, "body" if self._head_seen else "no_answer")
        self.instance.active -= 1
        self.instance = None
        self._refuse(error)

    def check(self, now: float) -> None:
        """Give up an instance that does not answer in time, and an answer that stopped coming or being read."""
        if self._connection is None:
            return  # attempts to connect have a timer of their own
        waited = now - self._since
        if not self._head_seen:
            if waited >= self._way.first_byte_timeout:
                self._way.failed(self, "timeout")
                self._release(abort=True)
                self._refuse(UpstreamTimeout())
        elif waited >= self._way.idle_timeout:
            self._way.failed(self, "idle")
            self._release(abort=True)
            self._request.abort()

    def _refuse(self, error: GatewayError) -> None:
        request = self._request
        request.relay = request.sink = None
        request.decided_by = request.decided_by or "proxy"
        request.refuse(error)

    def _release(self, abort: bool = False) -> None:
        """Let go of the connection and of everything that waits for it."""
        self._request.relay = self._request.sink = None
        connection, self._connection = self._connection, None
        instance, self.instance = self.instance, None
        if instance is not None:
            instance.active -= 1
        if connection is None:
            return
        if abort or not self._sent_all:
            connection.abort()
        elif connection.release():
            if self._request.channel.output_full:
                # It was paused for this client, not for the next one.
                connection.transport.resumeProducing()  # type: ignore[union-attr]
            instance.give_back(connection)

    # -- the client -----------------------------------------------------------------------------------------------

    def pause(self) -> None:
        if self._connection is not None:
            self._connection.transport.pauseProducing()  # type: ignore[union-attr]

    def resume(self) -> None:
        if self._connection is not None:
            self._since = self._request.channel.site.clock.seconds()  # it was not the instance that was slow
            self._connection.transport.resumeProducing()  # type: ignore[union-attr]

    def client_gone(self) -> None:
        connecting, self._connecting = self._connecting, None
        self._release(abort=True)
        if connecting is not None:
            connecting.cancel()

    def end(self, error: GatewayError) -> None:
        self.client_gone()
        self._refuse(error)
