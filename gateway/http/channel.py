"""The server's side of HTTP/1.1: llhttp reads the messages, this channel holds them against the rules of the wire."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser
from twisted.internet.interfaces import ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from gateway.core.addresses import normal
from gateway.core.errors import (
    BadRequest,
    BodyTooLarge,
    GatewayError,
    HeadTooLarge,
    HTTPVersionNotSupported,
    MethodNotAllowed,
    NotImplementedHere,
    RequestTimeout,
    TargetTooLong,
)
from gateway.core.headers import FieldName, check_transfer_encoding, field_name
from gateway.core.paths import split_target, valid_authority
from gateway.http.request import Request

if TYPE_CHECKING:
    from gateway.http.site import Site

HELD_LIMIT = 65536
"""Bytes of a body, or after an upgrade, that are kept while nobody takes them; then reading stops."""

CHUNK_FRAMING = 16
"""Bytes that a chunk's own size line and line ends may take; what is above counts as extensions."""

_NONE: frozenset[bytes] = frozenset()
_VERSIONS = {"1.1": b"HTTP/1.1", "1.0": b"HTTP/1.0"}
_OTHER_PROTOCOLS = (
    *(b"SOURCE", b"ANNOUNCE", b"DESCRIBE", b"SETUP", b"PLAY", b"PAUSE", b"RECORD", b"REDIRECT", b"TEARDOWN", b"FLUSH"),
    *(b"GET_PARAMETER", b"SET_PARAMETER"),
)
"""Methods of Icecast and RTSP, whose request lines llhttp reads as if they were HTTP's."""

_REFUSED_METHODS = {
    b"TRACE": MethodNotAllowed,
    **dict.fromkeys((b"CONNECT", *_OTHER_PROTOCOLS), NotImplementedHere),
}


class HTTPChannel(Protocol):
    """One client connection: requests are read one after the other, and answered in the order they came.

    Reading stops while a request waits behind another, and while nobody takes the body that has come, so a connection
    holds two reads' worth of bytes at most.
    """

    _log = Logger()

    def __init__(self, site: Site) -> None:
        self.site = site
        self._limits = site.limits
        self._parser = HttpRequestParser(self)
        self._current: Request | None = None
        self._waiting: deque[Request] = deque()
        self._receiving: Request | None = None  # the request whose body is being read
        self._in_head = False
        self._head_bytes = 0
        self._extra_bytes = 0  # of chunk framing, beyond what chunks need
        self._deaf = False  # nothing that still comes is a request
        self._held: bytes | None = None  # what came after an upgrade
        self._hold = False  # the sink of the body is full
        self._paused = False
        self._closing = False
        self._lingering = False  # closing, while the client may still send
        self._served = False  # a request was answered
        self._detached = False  # another protocol has the transport
        self._since = 0.0  # when what is waited for began
        self._advancing = False
        self._replaying = False  # a head that was read before
        self._stock_producer: Any = None
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
        receiving = self._receiving
        if receiving is not None:
            self._since = self.site.clock.seconds()
            if receiving.chunked_body:
                self._extra_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._held = data[upgrade.args[0] :]
        except HttpParserCallbackError as error:
            self._broken(error.__context__)
        except HttpParserError as error:
            self._broken(BadRequest(f"The request is malformed: {error}"))
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.head * 2 + HELD_LIMIT:
                self._broken(HeadTooLarge())
        elif self._extra_bytes > HELD_LIMIT:
            self._broken(BadRequest("The chunks of the body carry too many extensions"))
        if self._current is None and self._waiting:
            self._advance()
        self._settle()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._deaf = True
        requests = [self._current] if self._current is not None else []
        requests.extend(self._waiting)
        self._current = None
        self._waiting.clear()
        producer, self._stock_producer = self._stock_producer, None
        if producer is not None:
            producer.stopProducing()
        for request in requests:
            request.connection_lost(reason)
            self.site.finished(request)
        self.site.closed(self)

    # The transport's producer: it calls these when the client reads slowly.

    def pauseProducing(self) -> None:
        self.output_full = True
        producer = self._stock_producer
        if producer is not None:
            producer.pauseProducing()
        elif self._current is not None and self._current.relay is not None:
            self._current.relay.pause()

    def resumeProducing(self) -> None:
        self.output_full = False
        producer = self._stock_producer
        if producer is not None:
            producer.resumeProducing()
        elif self._current is None:
            self._advance()
            self._settle()
        elif self._current.relay is not None:
            self._current.relay.resume()

    def stopProducing(self) -> None:
        """The transport is gone; connectionLost says so too."""

    # -- llhttp's callbacks ---------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._replaying:
            return
        self._target = b""
        self._fields: list[tuple[FieldName, bytes]] = []
        self._index: dict[bytes, bytes] = {}
        self._repeated: set[bytes] | frozenset[bytes] = _NONE
        self._size = 0
        self._head_bytes = 0
        self._in_head = True
        self._since = self.site.clock.seconds()

    def on_url(self, url: bytes) -> None:
        self._target += url
        if len(self._target) > self._limits.target:
            raise TargetTooLong

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer: discarded (RFC 9110 section 6.5.1)
        known = field_name(name)
        fields = self._fields
        fields.append((known, value))
        lower = known.lower
        index = self._index
        if lower not in index:
            index[lower] = value
        else:
            if not self._repeated:
                self._repeated = set()
            self._repeated.add(lower)  # type: ignore[union-attr]
            index[lower] += (b"; " if lower == b"cookie" else b", ") + value
        self._size += len(name) + len(value) + 4
        if self._size > self._limits.head or len(fields) > self._limits.fields:
            raise HeadTooLarge

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._replaying:
            return
        parser = self._parser
        method = parser.get_method()
        index = self._index
        version = _VERSIONS.get(parser.get_http_version(), b"")
        request = Request(self, method, self._target, version, self._fields, index, self._repeated)
        self._receiving = request  # a refusal from here on answers this request
        if not version:
            raise HTTPVersionNotSupported
        if method in _REFUSED_METHODS:
            raise _REFUSED_METHODS[method]
        request.path, request.query, request.authority = split_target(self._target)
        host = index.get(b"host")
        if host is None:
            if version == b"HTTP/1.1":
                raise BadRequest("The request has no Host")
        elif b"host" in self._repeated or not valid_authority(host):
            raise BadRequest("The request's Host is not valid")
        request.authority = request.authority or host or b""
        if b"transfer-encoding" in index:
            check_transfer_encoding(index[b"transfer-encoding"], version == b"HTTP/1.1")
            request.chunked_body = True
            request.body_complete = False
        elif b"content-length" in index:
            request.content_length = length = int(index[b"content-length"])
            request.body_complete = length == 0
        if b"expect" in index and version == b"HTTP/1.1" and not request.body_complete:
            request.expects_continue = index[b"expect"].lower() == b"100-continue"
        if version == b"HTTP/1.0" or not parser.should_keep_alive():
            request.keep_alive = False
        request.upgrading = parser.should_upgrade()
        self._enqueue(request)

    def on_body(self, data: bytes) -> None:
        request = self._receiving
        if request is None or request.finished:
            return
        self._extra_bytes -= len(data)
        request.body_received += len(data)
        if request.body_received > request.max_body:
            raise BodyTooLarge
        if request.sink is None:
            request.body.append(data)
        else:
            request.sink.body_data(data)

    def on_chunk_header(self) -> None:
        self._extra_bytes -= CHUNK_FRAMING

    def on_message_complete(self) -> None:
        request = self._receiving
        if request is None or (request.upgrading and not request.body_complete):
            return  # llhttp does not read the body of a request that wants an upgrade
        self._receiving = None
        self._extra_bytes = 0
        if not request.keep_alive:
            self._deaf = True
        if not request.body_complete:
            request.body_complete = True
            if request.sink is not None:
                request.sink.body_end()

    # -- one request after the other ------------------------------------------------------------------------------

    def _enqueue(self, request: Request) -> None:
        request.received = self._since = self.site.clock.seconds()
        self._waiting.append(request)

    def _advance(self) -> None:
        """Begin the next request, unless one is still being answered, or the client takes no answers."""
        self._advancing = True
        while self._current is None and self._waiting and not self.output_full and not self._closing:
            request = self._current = self._waiting.popleft()
            if request.upgrading and request.clientproto == b"HTTP/1.0":
                self.ignore_upgrade()
            self.site.begin(request, self)
        self._advancing = False

    def request_done(self, request: Request) -> None:
        """The answer to the current request is complete: log it, and begin the next or close."""
        self.site.finished(request)
        self._current = None
        self._hold = False
        self._stock_producer = None
        self._served = True
        self._since = self.site.clock.seconds()
        if not request.keep_alive or not request.body_complete:
            # A client that ended the conversation itself sends no more, and need not be listened to.
            self._close(lingering=not self._deaf or request.failure is not None)
        elif not self._advancing:
            if self._waiting:
                self._advance()
            self._settle()

    def _broken(self, error: BaseException | None) -> None:
        """What came is not a request that can be served, and nothing after it can be told from its rest."""
        if self._deaf:
            return
        self._deaf = True
        if not isinstance(error, GatewayError):
            self._log.error("The channel failed: {error!r}", error=error)
            error = GatewayError()
        request, self._receiving = self._receiving, None
        if request is None:
            request = Request(self, b"", getattr(self, "_target", b""), b"HTTP/1.1", [], {}, _NONE)
        if request is self._current:
            self._fail_current(request, error)
            return
        request.failure = error
        request.keep_alive = False
        if request not in self._waiting:
            self._enqueue(request)
        self._advance()

    def _fail_current(self, request: Request, error: GatewayError) -> None:
        """The body of a request that is being served broke a rule: its upstream must not take it for complete."""
        request.failure = error
        request.keep_alive = False
        if request.relay is not None:
            request.relay.client_gone()
        request.refuse(error)

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
            or bool(self._waiting)
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
                transport.resumeProducing()

    def _settle(self) -> None:
        """After each step: read on, or not."""
        if (
            self._receiving is not None
            or self._waiting
            or self._paused
            or self._hold
            or self._held is not None
            or self.output_full
        ) and (self.connected and not self._closing):
            self.update_reading()

    def check(self, now: float) -> None:
        """Give up what has been waited for too long; the site asks from time to time."""
        waited = now - self._since
        limits = self._limits
        if self._closing:  # a client that does not take its last answer is cut, too
            if waited >= (limits.linger_timeout if self._lingering else limits.idle_timeout):
                self.abort()
        elif self._current is None and self.output_full:  # it is the client who has to take something
            if waited >= limits.idle_timeout:
                self.abort()
        elif self._paused:
            pass  # what is not read cannot be late
        elif self._receiving is not None or self._in_head:
            if waited >= (limits.head_timeout if self._in_head else limits.body_timeout):
                self._broken(RequestTimeout())
        elif self._current is None and not self._waiting:  # noqa: SIM102
            if waited >= (limits.idle_timeout if self._served else limits.head_timeout):
                self._close(lingering=False)
        if self._current is not None and self._current.relay is not None:
            self._current.relay.check(now)

    def _close(self, lingering: bool) -> None:
        """Close after what is written; ``lingering`` while the client may still send, so that no reset eats the answer
        (RFC 9112 section 9.6). Requests that were read behind the last one are not served.
        """
        self._deaf = self._closing = True
        self._waiting.clear()
        self._since = self.site.clock.seconds()
        transport: Any = self.transport
        if lingering and hasattr(transport, "loseWriteConnection") and not self.secure:
            self._lingering = True
            self.update_reading()
            transport.loseWriteConnection()
        else:
            transport.unregisterProducer()
            transport.loseConnection()

    def close_when_idle(self) -> None:
        """Take no more requests: the gateway is stopping."""
        if self._detached:
            return
        if self._current is None and not self._waiting:
            if not self._closing:
                self._close(lingering=False)
        else:
            for request in (self._current, *self._waiting):
                if request is not None:
                    request.keep_alive = False

    # -- what requests use ----------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Bytes of the answer, at once."""
        self.transport.write(data)  # type: ignore[union-attr]

    def own_lines(self) -> bytes:
        """The header lines that every answer of the gateway itself has."""
        return self.site.own_lines()

    def stock_producer(self, producer: Any, streaming: bool) -> None:
        """A twisted.web resource produces the answer of the current request."""
        self._stock_producer = producer if streaming else _Pull(self, producer)
        if self._stock_producer is not None and not streaming:
            self._stock_producer.resumeProducing()

    def abort(self) -> None:
        """Cut the connection: what was sent must not look complete."""
        self._deaf = True
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()

    def ignore_upgrade(self) -> None:
        """The current request's upgrade is not wanted here: read on as if it had not asked (RFC 9110 section 7.8).

        llhttp has stopped at the end of the head, so the body is read by a new parser, told its framing first.
        """
        request = self._current
        if request is None or not request.upgrading:
            return
        request.upgrading = False
        self._parser = HttpRequestParser(self)
        if not request.body_complete:
            length = request.content_length
            framing = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
            self._replaying = True
            self._parser.feed_data(b"POST / HTTP/1.1\r\nHost: replayed\r\n" + framing + b"\r\n\r\n")
            self._replaying = False
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
        transport: Any = self.transport
        transport.unregisterProducer()
        self._deaf = True
        self._detached = True
        held, self._held = self._held or b"", None
        if self._paused:
            self._paused = False
            transport.resumeProducing()
        return transport, held

    def detached_closed(self, request: Request) -> None:
        """The protocol that got the transport is done."""
        self._current = None
        self.site.finished(request)
        self.site.closed(self)


class _Pull:
    """A pull producer of twisted.web, asked for more once a turn of the reactor while there is room."""

    def __init__(self, channel: HTTPChannel, producer: Any) -> None:
        self._channel = channel
        self._producer = producer
        self._asks = False

    def resumeProducing(self) -> None:
        if not self._asks:
            self._asks = True
            self._channel.site.clock.callLater(0, self._ask)

    def _ask(self) -> None:
        self._asks = False
        if self._channel._stock_producer is self and not self._channel.output_full:
            self.resumeProducing()
            self._producer.resumeProducing()

    def pauseProducing(self) -> None:
        """It is not asked while the output is full."""

    def stopProducing(self) -> None:
        self._producer.stopProducing()
