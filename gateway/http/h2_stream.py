"""One request of an HTTP/2 connection: to it and to its relay, what the channel is in HTTP/1.1."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from h2.errors import ErrorCodes
from hpack import NeverIndexedHeaderTuple
from twisted.internet.error import ConnectionAborted
from twisted.python.failure import Failure

from gateway.core.errors import BadRequest, BodyTooLarge, GatewayError, RequestTimeout
from gateway.core.h2_head import CONNECTION_FIELDS, read_head
from gateway.core.paths import split_target
from gateway.http.patience import keeps_up, sends
from gateway.http.reading import HELD_LIMIT
from gateway.http.request import Request, keep

if TYPE_CHECKING:
    from gateway.core.pace import Pace
    from gateway.http.h2 import H2Channel

VERSION: Final = b"HTTP/2"
_TOLD: Final = 32  # bytes of a method that is refused


class H2Stream:
    """A stream: one request, and its answer.

    A body is acknowledged when somebody took it, so of a body that nobody takes, no more than a stream's window comes.
    An answer waits here for the client's window; once 64 KiB wait, whoever produces it is paused.
    """

    def __init__(self, connection: H2Channel, number: int) -> None:
        self.number = number
        self.site = connection.site
        self.peer = connection.peer
        self.trusted = connection.trusted
        self.secure = connection.secure
        self.transport = connection.transport
        self.output_full = False
        self._connection = connection
        self.request: Any = None
        self.stock_producer: Any = None  # of a twisted.web resource that answers
        self._hold = False  # the sink of the body is full
        self._taken = 0  # bytes that came and were not acknowledged
        self._head: list[tuple[bytes, bytes]] | None = None
        self._out: deque[bytes | memoryview] = deque()
        self._queued = 0
        self.pace: Pace | None = None  # of the client that has something to take
        self._ending = False  # after what is queued
        self._answered = False  # and it has gone
        self._since = self._moved = self.site.clock.seconds()  # when the body last went on, and the answer had gone

    # -- what comes -----------------------------------------------------------------------------------------------

    def begin(self, headers: list[tuple[bytes, bytes]], complete: bool) -> None:
        """The head has come; ``complete`` when the request has no body."""
        limits = self.site.limits
        try:
            head = read_head(headers, limits.head, limits.fields, limits.target)
            if complete and head.content_length:
                raise BadRequest("The request has a Content-Length and no body")
            request = Request(self, head.method, head.target, VERSION, head.fields, head.by_name, head.repeated)
            request.path, request.query, _ = split_target(head.target)
            request.authority = head.authority
            request.content_length = head.content_length
            request.chunked_body = not complete and head.content_length is None
            request.expects_continue = not complete and head.by_name.get(b"expect", b"").lower() == b"100-continue"
        except GatewayError as error:
            said = dict(headers)
            method, target = said.get(b":method", b"")[:_TOLD], said.get(b":path", b"")[: limits.target]
            request = Request(self, method, target, VERSION, [], {}, frozenset())
            request.failed(error)
        request.body_complete = complete
        request.received = self._since
        self.request = request
        self.site.begin(request, self)

    def receive(self, data: bytes, length: int) -> None:
        """A piece of the body, which took ``length`` bytes of the window with its padding."""
        request = self.request
        self._since = self.site.clock.seconds()
        self._taken += length
        if request.finished:
            return  # what nobody wants is acknowledged when the stream ends
        request.body_received += len(data)
        if request.body_received > request.max_body:
            request.fail(BodyTooLarge())
            return
        sink = request.sink
        if sink is None:
            if data:
                keep(request.body, data)
            return
        if data:  # an empty chunk would be the last
            sink.body_data(data)
        if not self._hold:
            self._acknowledge()

    def receive_end(self) -> None:
        """The body is complete."""
        request = self.request
        if not request.body_complete:
            request.body_complete = True
            # Where trailers end the body, the library does not compare.
            if not request.finished and request.content_length not in (None, request.body_received):
                request.fail(BadRequest("The request's body is not as long as its Content-Length says"))
            elif request.sink is not None:
                request.sink.body_end()
            if self._answered:
                self._leave()

    def lost(self, reason: Failure) -> None:
        """The stream is no more."""
        request = self.request
        self._out.clear()
        producer, self.stock_producer = self.stock_producer, None
        if producer is not None:
            producer.stopProducing()
        if not (request.finished or request.gone):
            request.connection_lost(reason)
            self.site.finished(request)
        self._acknowledge()

    def check(self, now: float) -> None:
        """Give up what has been waited for too long."""
        request, limits = self.request, self.site.limits
        if self._answered:
            # Of a body that nobody waits for no more is to come (RFC 9113 section 8.1). It is not said at once: curl
            # 7.88 and others forget an answer that the reset comes with.
            if now - self._moved >= limits.linger_timeout:
                self._connection.reset(self, ErrorCodes.NO_ERROR)
                self._acknowledge()
        elif self._connection.output_full:
            self.pace = None  # it is the connection that is judged
        elif self._queued and not keeps_up(
            self, lambda: request.sent - self._queued, limits.send_timeout, limits.min_rate, now
        ):
            self.abort()  # the client opens its window no more, or by too little
        elif not request.finished:
            reading = not (request.body_complete or self._hold or self._taken)  # what is not read cannot be late
            if reading and (now - self._since >= limits.body_timeout or not sends(request, limits, now)):
                request.fail(RequestTimeout())
            elif request.relay is not None:
                request.relay.check(now)

    def _acknowledge(self) -> None:
        taken, self._taken = self._taken, 0
        if taken:
            self._connection.acknowledge(self, taken)

    # -- what requests use ----------------------------------------------------------------------------------------

    def head(self, request: Request, status: int, reason: bytes, lines: bytes) -> bytes:
        """Begin an answer with these header lines and those that every answer has; there is nothing to write first."""
        self._head = _header_list(status, lines + b"".join(request.answer_fields))
        self._head.append(NeverIndexedHeaderTuple(b"x-request-id", request.id.encode()))
        self._connection.wake(self)
        return b""

    def interim(self, status: int, reason: bytes, lines: bytes) -> None:
        """Send an interim answer with these header lines."""
        self._connection.send_interim(self, _header_list(status, lines))

    def write(self, data: bytes) -> None:
        """Bytes of the answer's body, which go when the client takes them."""
        if not data:
            return  # the head is on its way
        self._out.append(data)
        self._queued += len(data)
        self._connection.wake(self)
        if self._queued > HELD_LIMIT and not self.output_full:
            self._fill(True)

    def request_done(self, request: Request) -> None:
        """The answer is complete."""
        self.site.finished(request)
        self.stock_producer = None
        self._ending = True
        self._connection.wake(self)

    def hold_reading(self, hold: bool) -> None:
        """Whoever takes the body is full, or can take more again."""
        self._hold = hold
        self.update_reading()

    def update_reading(self) -> None:
        """Let more of the body come, when what came was taken."""
        if not self._hold:
            self._since = self.site.clock.seconds()
            self._acknowledge()

    def abort(self) -> None:
        """Reset the stream: what was sent must not look complete."""
        self._connection.reset(self, ErrorCodes.INTERNAL_ERROR)
        self.lost(Failure(ConnectionAborted()))

    # -- what goes ------------------------------------------------------------------------------------------------

    def send(self, wire: Any) -> bool:
        """Send one frame's worth; whether there may be more to send at once.

        :param wire: the connection as the h2 library has it.
        :raises h2.exceptions.ProtocolError: when the stream has closed already.
        """
        number = self.number
        if self._head is not None:
            head, self._head = self._head, None
            whole = self._ending and not self._out
            wire.send_headers(number, head, whole)
            if whole:
                self._sent()
            return not whole
        if not self._out:
            if self._ending:
                wire.end_stream(number)
                self._sent()
            return False
        room = min(wire.local_flow_control_window(number), wire.max_outbound_frame_size)
        if room <= 0:
            return False
        data = self._out.popleft()
        if len(data) > room:
            view = memoryview(data)
            data = view[:room]
            self._out.appendleft(view[room:])
        whole = self._ending and not self._out
        wire.send_data(number, data, whole)
        self._queued -= len(data)
        if not self._queued:
            self.pace = None
        if whole:
            self._sent()
        elif self.output_full and self._queued <= HELD_LIMIT // 2:
            self._fill(False)
        return not whole

    def _sent(self) -> None:
        """The answer has gone."""
        self._answered = True
        self._moved = self.site.clock.seconds()
        if self.request.body_complete:
            self._leave()

    def _leave(self) -> None:
        """Both sides are done."""
        self._connection.forget(self)
        self._acknowledge()

    def _fill(self, full: bool) -> None:
        """Whether the answer has to wait for the client."""
        self.output_full = full
        producer = self.stock_producer or self.request.relay
        if producer is None:
            return
        if producer is self.stock_producer:
            (producer.pauseProducing if full else producer.resumeProducing)()
        else:
            (producer.pause if full else producer.resume)()


def _header_list(status: int, lines: bytes) -> list[tuple[bytes, bytes]]:
    """Header lines as HTTP/2 has them: names in lower case, none that are the connection's.

    A cookie's value stays out of the compression's table (RFC 7541 section 7.1.3).
    """
    fields = [(b":status", b"%d" % status)]
    for line in lines.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        if name == b"set-cookie":
            fields.append(NeverIndexedHeaderTuple(name, value))
        elif name not in CONNECTION_FIELDS:
            fields.append((name, value))
    return fields
