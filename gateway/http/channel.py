"""The server's side of HTTP/1.1: one connection, its requests answered one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IHandshakeListener, ITransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway.core.addresses import normal
from gateway.core.errors import GatewayError
from gateway.http.patience import FRESH, check
from gateway.http.reading import HELD_LIMIT, RequestReader
from gateway.http.request import Request
from gateway.http.transport import LONG, quiet

if TYPE_CHECKING:
    from gateway.core.pace import Pace
    from gateway.http.site import Site


SLICE: Final = 2048
"""Bytes that are parsed at once, unless they are of one body: a read of small requests could hold thousands."""


@implementer(IHandshakeListener)
class HTTPChannel(RequestReader):
    """One client connection: requests are read one after the other, and answered in the order they came.

    Reading stops while a request waits behind another, and while nobody takes the body that has come, so a connection
    holds two reads' worth of bytes at most.
    """

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._current: Request | None = None
        self._waiting: deque[Request] = deque()
        self._hold = False  # the sink of the body is full
        self._paused = False
        self._closing = False
        self._lingering = False  # closing, while the client may still send
        self._served = False  # a request was answered
        self._last = False  # the next request is the last
        self.detached = False  # another protocol has the transport
        self._advancing = False
        self.stock_producer: Any = None  # of a twisted.web resource that answers the current request
        self._ahead = b""  # what came behind requests that wait, or has to wait itself
        self.pace: Pace | None = None  # of a client that has to take something
        self.output_full = False
        self.peer = ""

    # -- the transport --------------------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.setTcpNoDelay(True)
        transport.registerProducer(self, True)
        self.peer = normal(getattr(transport.getPeer(), "host", ""))
        self.trusted = self.peer in self.site.trusted
        self.secure = getattr(transport, "getPeerCertificate", None) is not None
        self._since = self.site.clock.seconds()
        self.site.opened(self)

    def dataReceived(self, data: bytes) -> None:
        if self._deaf:
            return
        if self._held is not None:
            self._held += data
            self.update_reading()
            return
        if self._ahead:  # TLS hands over all that it has read, paused or not
            self._ahead += data
            return
        if len(data) > SLICE:
            self._feed_slices(data)
        else:
            self._feed(data)
        if self._current is None and self._waiting:
            self._advance()
        self._settle()

    def _feed_slices(self, data: bytes) -> None:
        """Read what came as long as no request waits, and it does not take long; else go on when others had a turn."""
        at, clock = 0, self.site.clock
        until = clock.seconds() + LONG
        while at < len(data) and not self._deaf:
            if self._held is not None:
                self._held += data[at:]
                return
            if self._waiting:
                self._ahead = data[at:]
                return
            if at and clock.seconds() > until:
                self._ahead = data[at:]
                clock.callLater(0, self._feed_ahead)
                return
            end = at + SLICE
            receiving = self._receiving
            if receiving is not None and receiving.content_length is not None:
                end = max(end, at + receiving.content_length - receiving.body_received)
            self._feed(data[at:end])
            at = end
            if self._current is None and self._waiting:
                self._advance()

    def _feed_ahead(self) -> None:
        """Read what was put off, unless a request waits: then it is read behind that."""
        if self._ahead and not self._waiting:
            ahead, self._ahead = self._ahead, b""
            self.dataReceived(ahead)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._deaf = True
        self._ahead = b""
        current, self._current = self._current, None
        waiting = tuple(self._waiting)
        self._waiting.clear()
        producer, self.stock_producer = self.stock_producer, None
        if producer is not None:
            producer.stopProducing()
        if current is not None:
            current.connection_lost(reason)
            self.site.finished(current)
        for request in waiting:
            request.connection_lost(reason)
            self.site.record(request)
        self.site.closed(self)
        del self._parser  # the two know each other, and would stay, with all that they hold, until garbage is collected

    def handshakeCompleted(self) -> None:
        """TLS is agreed upon, and with it what is spoken (RFC 7301)."""
        transport: Any = self.transport
        if transport.negotiatedProtocol == b"h2":
            self._let_go()
            self.site.speak_h2(transport)
            self.site.closed(self)

    # The transport's producer: it calls these when the client reads slowly.

    def pauseProducing(self) -> None:
        self.output_full = True
        producer = self.stock_producer
        if producer is not None:
            producer.pauseProducing()
        elif self._current is not None and self._current.relay is not None:
            self._current.relay.pause()

    def resumeProducing(self) -> None:
        self.output_full = False
        self.pace = None
        producer = self.stock_producer
        if producer is not None:
            producer.resumeProducing()
        elif self._current is None:
            self._advance()
            self._settle()
        elif self._current.relay is not None:
            self._current.relay.resume()

    def stopProducing(self) -> None:
        """The transport is gone; connectionLost says so too."""

    # -- one request after the other ------------------------------------------------------------------------------

    def _enqueue(self, request: Request) -> None:
        request.received = self._since = self.site.clock.seconds()
        self._waiting.append(request)

    def _advance(self) -> None:
        """Begin the next request, unless one is still being answered, or the client takes no answers."""
        self._advancing = True
        while self._current is None and self._waiting and not self.output_full and not self._closing:
            request = self._current = self._waiting.popleft()
            if self._last:
                request.keep_alive = False
            if request.upgrading and request.clientproto == b"HTTP/1.0":
                self.ignore_upgrade()
            self.site.begin(request, self)
        self._advancing = False
        self._feed_ahead()

    def request_done(self, request: Request) -> None:
        """The answer to the current request is complete: log it, and begin the next or close."""
        self.site.finished(request)
        self._current = None
        self._hold = False
        self.stock_producer = None
        self._served = True
        self._since = self.site.clock.seconds()
        if not request.keep_alive or not request.body_complete:
            # A client that ended the conversation itself sends no more, and need not be listened to.
            self._close(lingering=not self._deaf or request.failure is not None)
        elif not self._advancing:
            if self._waiting:
                self._advance()
            self._settle()

    def _refuse(self, request: Request, error: GatewayError) -> None:
        if request is self._current:
            request.fail(error)
            return
        request.failed(error)
        if request not in self._waiting:
            self._enqueue(request)
        self._advance()

    # -- reading and closing --------------------------------------------------------------------------------------

    def hold_reading(self, hold: bool) -> None:
        """Whoever takes the body is full, or can take more again."""
        self._hold = hold
        self.update_reading()
        self._settle()

    def update_reading(self) -> None:
        """Read from the client only while there is room for what may come."""
        receiving = self._receiving
        pause = not self._lingering and (
            self._hold
            or bool(self._waiting or self._ahead)
            or (self.output_full and receiving is None)
            or (receiving is not None and receiving.sink is None and receiving.body_received >= HELD_LIMIT)
            or (self._held is not None and len(self._held) >= HELD_LIMIT)
        )
        if pause is not self._paused:
            self._paused = pause
            transport: Any = self.transport
            if pause:
                transport.pauseProducing()
            else:
                self._since = self.site.clock.seconds()
                if receiving is not None:
                    receiving.pace = None  # what was not read did not come too slowly
                transport.resumeProducing()

    def _settle(self) -> None:
        """After each step: read on, or not."""
        if (
            self._receiving is not None
            or self._waiting
            or self._ahead
            or self._paused
            or self._hold
            or self._held is not None
            or self.output_full
        ) and (self.connected and not self._closing):
            self.update_reading()

    def check(self, now: float) -> None:
        """Give up what has been waited for too long; the site asks from time to time."""
        check(self, now)

    def idle_since(self) -> float | None:
        """Since when the client has asked for nothing more; None while it does, and before its first request."""
        busy = self._current is not None or self._waiting or self._ahead or self._receiving is not None or self._in_head
        return None if busy or self._closing or self.output_full or not self._served else self._since

    def _close(self, lingering: bool) -> None:
        """Close after what is written; ``lingering`` while the client may still send, so that no reset eats the answer
        (RFC 9112 section 9.6). Requests that were read behind the last one are not served.
        """
        self._deaf = self._closing = True
        self._waiting.clear()
        self._ahead = b""
        self._since = self.site.clock.seconds()
        transport: Any = self.transport
        if lingering and (self.secure or hasattr(transport, "loseWriteConnection")):
            self._lingering = True
            self.update_reading()
        if self._lingering and not self.secure:  # in TLS both ways end together, but what comes until then is taken
            transport.loseWriteConnection()
        else:
            transport.unregisterProducer()
            transport.loseConnection()

    @property
    def client(self) -> str:
        """The address of the client that is served, behind a proxy, or of the peer."""
        return self.peer if self._current is None else self._current.remote

    def announce_end(self) -> None:
        """The site says it with the answer to each request that begins from now on."""

    def close_when_idle(self) -> None:
        """Take no more requests than have come already: the gateway is stopping, or does not want this client."""
        if self.detached or self._closing:
            return
        waits = self._waiting or self._ahead or self._in_head
        idle = self._current is None and not waits and quiet(self.transport)
        new = self.site.draining and not self._served and self.site.clock.seconds() - self._since < FRESH
        if idle and not new:
            self._close(lingering=False)
            return
        self._last = True
        if self._current is not None:
            self._current.keep_alive = False

    @property
    def answering(self) -> Sequence[Request]:
        """The request that is being answered, also when another protocol does that now."""
        return () if self._current is None else (self._current,)

    # -- what requests use ----------------------------------------------------------------------------------------

    def head(self, request: Request, status: int, reason: bytes, lines: bytes) -> bytes:
        """Begin an answer with these header lines and those that every answer has; what to write before its body."""
        return b"HTTP/1.1 %d %b\r\n%b%bX-Request-ID: %b\r\n%b\r\n" % (
            status,
            reason,
            lines,
            b"".join(request.answer_fields),
            request.id.encode(),
            request.connection_line(),
        )

    def interim(self, status: int, reason: bytes, lines: bytes) -> None:
        """Send an interim answer with these header lines."""
        self.write(b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, lines))

    def write(self, data: bytes) -> None:
        """Bytes of the answer, at once."""
        self.transport.write(data)  # type: ignore[union-attr]

    def abort(self) -> None:
        """Cut the connection: what was sent must not look complete."""
        self._deaf = True
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()

    def ignore_upgrade(self) -> None:
        """The current request's upgrade is not wanted here: read on as if it had not asked (RFC 9110 section 7.8)."""
        request = self._current
        if request is None or not request.upgrading:
            return
        request.upgrading = False
        self._read_on(request)
        if self._held:
            self.site.clock.callLater(0, self._replay)  # what comes until then is held, too
        else:
            self._held = None

    def _replay(self) -> None:
        held, self._held = self._held, None
        if held and self.connected and not self._lingering:
            self.dataReceived(held)

    def detach(self) -> tuple[ITransport, bytes]:
        """Give the transport away, with what came after the head: another protocol has been agreed on.

        Whoever takes it ends it when the gateway stops, and says so with :meth:`detached_closed`.
        """
        self.site.detached()
        held, self._held = self._held or b"", None
        transport = self._let_go()
        if self._paused:
            self._paused = False
            transport.resumeProducing()
        return transport, held

    def _let_go(self) -> Any:
        """Have nothing more to do with the transport, which is returned."""
        transport: Any = self.transport
        transport.unregisterProducer()
        self._deaf = self.detached = True
        del self._parser
        return transport

    def detached_closed(self, request: Request) -> None:
        """The protocol that got the transport is done."""
        self._current = None
        self.site.record(request)
        self.site.closed(self)
