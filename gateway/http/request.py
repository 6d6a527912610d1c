"""One request and its answer: what guards ask, what leaves write, and twisted.web's IRequest for any other resource."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http import NO_BODY_CODES, RESPONSES, datetimeToString
from twisted.web.http_headers import Headers

from gateway.core.errors import BodyTooLarge, GatewayError
from gateway.core.headers import FieldName
from gateway.http.producing import Pull

if TYPE_CHECKING:
    from gateway.core.pace import Pace
    from gateway.core.tokens import Claims

UNLIMITED = float("inf")
SMALL_PIECE = 1024
"""Bytes below which a piece of a body that waits is joined to the next: a piece of two bytes takes 50 to keep."""

_REASONS = {**RESPONSES, 426: b"Upgrade Required", 431: b"Request Header Fields Too Large"}
"""Those twisted.web knows, and those it lacks (RFC 6585, RFC 9110 section 15.5.22)."""


def keep(pieces: list[bytes], data: bytes) -> None:
    """Add a piece of a body, never an empty one, to those that wait."""
    if pieces and len(pieces[-1]) < SMALL_PIECE:
        pieces[-1] += data
    else:
        pieces.append(data)


class BodySink(Protocol):
    """Where a request's body goes while it arrives."""

    def body_data(self, data: bytes) -> None:
        """The next piece of the body."""

    def body_end(self) -> None:
        """The body is complete."""


class Exchange(Protocol):
    """Who produces a request's answer somewhere else, and must hear how the client does."""

    def pause(self) -> None:
        """The client reads too slowly: no more for now."""

    def resume(self) -> None:
        """The client takes more again."""

    def check(self, now: float) -> None:
        """Give up what has been waited for too long."""

    def client_gone(self) -> None:
        """The client left, or its body broke a rule: nothing more will come, and nobody reads the answer."""

    def end(self, error: GatewayError) -> None:
        """The client may have nothing more: refuse the request, or end the answer that has begun."""


class Request(server.Request):
    """A request as the guards and leaves see it.

    The head is kept as it came. What only stock twisted.web resources use (``Headers``, ``args``, cookies, ``content``)
    is built when somebody asks for it.
    """

    # What is known of the request.
    field: Callable[[bytes], bytes | None]
    """The value of a header field, by its lower-case name, or None; values of a repeated one are joined with ``, ``."""
    id: str = ""
    remote: str = ""
    secure: bool = False
    query: bytes = b""
    authority: bytes = b""
    route: Any = None
    route_name: str = ""
    claims: Claims | None = None
    role: str = ""
    decided_by: str = ""
    # Its body.
    content_length: int | None = None
    chunked_body: bool = False
    body_complete: bool = True
    body_received: int = 0
    expects_continue: bool = False
    upgrading: bool = False
    max_body: float = UNLIMITED
    sink: BodySink | None = None
    relay: Exchange | None = None
    pace: Pace | None = None
    # Its answer.
    failure: GatewayError | None = None
    status: int = 0
    sent: int = 0
    keep_alive: bool = True
    upstream: str = ""
    upstream_time: float | None = None
    incomplete: bool = False
    log_more: str = ""
    """Members of JSON that its log line gets besides the usual ones."""
    finished: bool = False
    gone: bool = False
    chunked: bool = False
    _omit_body: bool = False

    def __init__(
        self,
        channel: Any,
        method: bytes,
        uri: bytes,
        version: bytes,
        raw_fields: list[tuple[FieldName, bytes]],
        index: dict[bytes, bytes],
        repeated: frozenset[bytes] | set[bytes],
    ) -> None:
        self.channel: Any = channel
        self.method = method
        self.uri = uri
        self.path = uri
        self.clientproto = version
        self.raw_fields = raw_fields
        self.field = index.get
        self.repeated = repeated
        self.answer_fields: list[bytes] = []
        self.body: list[bytes] = []
        self.received: float = 0.0

    # -- what guards ask ------------------------------------------------------------------------------------------

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """All header fields as they came: names in their spelling, in their order."""
        return [(known.name, value) for known, value in self.raw_fields]

    def limit_body(self, limit: int) -> None:
        """From now on the body may have no more than ``limit`` bytes.

        :raises BodyTooLarge: when its Content-Length says so, or what came of it already has more.
        """
        self.max_body = limit
        if self.body_received > limit or (self.content_length is not None and self.content_length > limit):
            raise BodyTooLarge

    # -- the body -------------------------------------------------------------------------------------------------

    def invite_body(self) -> None:
        """Tell a client that waits for that to go on with the body (RFC 9110 section 10.1.1); nothing once it has."""
        if self.expects_continue and not self.body_received:
            self.channel.interim(100, b"Continue", b"")

    def stream_to(self, sink: BodySink) -> None:
        """Hand over what came of the body, and from now on every piece as it comes."""
        self.sink = sink
        pieces, self.body = self.body, []
        for piece in pieces:
            sink.body_data(piece)
        if self.body_complete:
            sink.body_end()
        else:
            self.channel.update_reading()

    def pause_body(self) -> None:
        """Stop reading the body until :meth:`resume_body`: the sink is full."""
        self.channel.hold_reading(True)

    def resume_body(self) -> None:
        """Go on reading the body."""
        self.channel.hold_reading(False)

    # -- the answer -----------------------------------------------------------------------------------------------

    def respond(self, status: int, lines: bytes, body: bytes = b"") -> None:
        """Write a whole answer: its own header ``lines``, those every answer gets, and ``body``."""
        framing = b"" if status in NO_BODY_CODES else b"Content-Length: %d\r\n" % len(body)
        head = self.answer_head(status, _REASONS.get(status, b"Unknown"), lines + framing)
        if body and self.method != b"HEAD" and status not in NO_BODY_CODES:
            self.sent = len(body)
            head += body
        self.channel.write(head)
        self.done()

    def refuse(self, error: GatewayError) -> None:
        """Answer with an error in the standard format; when an answer has begun, cut it off instead."""
        if self.finished or self.gone:
            return
        if self.startedWriting:
            self.abort()
            return
        if error.closes:
            self.keep_alive = False
        body = error.body(self.id)
        self.respond(error.status, b"Content-Type: application/json\r\n" + b"".join(error.fields), body)

    def failed(self, error: GatewayError) -> None:
        """It broke a rule, and is to be refused with ``error``; nothing after it can be trusted."""
        self.failure = error.with_traceback(None)  # whose frames know the request
        self.keep_alive = False

    def fail(self, error: GatewayError) -> None:
        """Its body broke a rule: refuse it, and let no upstream take for complete what came."""
        self.failed(error)
        if self.relay is not None:
            self.relay.client_gone()
        self.refuse(error)

    def end(self, error: GatewayError) -> None:
        """The client may have nothing more, however far its answer is: see :meth:`Exchange.end`."""
        self.decided_by = self.decided_by or "revocation"
        if self.relay is not None:
            self.relay.end(error)
        else:
            self.refuse(error)

    def answer_head(self, status: int, reason: bytes, lines: bytes) -> bytes:
        """Begin an answer of the gateway's own; what is to be written before its body."""
        self.startedWriting = 1
        self.status = status
        channel = self.channel
        return channel.head(self, status, reason, lines + channel.site.own_lines(self.secure))  # type: ignore[no-any-return]

    def connection_line(self) -> bytes:
        """``Connection: close`` where the connection cannot serve another request; to be asked once, with the head."""
        if self.keep_alive and self.body_complete and not self.upgrading:
            return b""
        self.keep_alive = False
        return b"Connection: close\r\n"

    def done(self) -> None:
        """The answer is complete."""
        self.finished = True
        self.channel.request_done(self)
        notifications = self.__dict__.pop("notifications", None)
        for deferred in notifications or ():
            deferred.callback(None)

    def abort(self) -> None:
        """The answer cannot be completed: cut the connection, so that nobody takes what was sent for the whole."""
        self.incomplete = True
        self.channel.abort()

    def connection_lost(self, reason: Failure) -> None:
        """The client left before its answer was complete."""
        self.gone = self._disconnected = True
        if self.relay is not None:
            self.relay.client_gone()
        notifications = self.__dict__.pop("notifications", None)
        for deferred in notifications or ():
            deferred.errback(reason)

    # -- twisted.web's side: built on demand ----------------------------------------------------------------------

    @cached_property
    def notifications(self) -> list[Deferred[None]]:  # type: ignore[override]
        return []

    @cached_property
    def requestHeaders(self) -> Headers:  # type: ignore[override]
        headers = Headers()
        for known, value in self.raw_fields:
            headers.addRawHeader(known.name, value)
        return headers

    @cached_property
    def responseHeaders(self) -> Headers:  # type: ignore[override]
        return Headers()

    @cached_property
    def cookies(self) -> list[bytes]:  # type: ignore[override]
        return []

    @cached_property
    def received_cookies(self) -> dict[bytes, bytes]:  # type: ignore[override]
        pairs = (pair.strip().partition(b"=") for pair in (self.field(b"cookie") or b"").split(b";"))
        return {name: value for name, equals, value in pairs if equals}

    @cached_property
    def args(self) -> dict[bytes, list[bytes]]:  # type: ignore[override]
        return parse_qs(self.query, keep_blank_values=True)

    @cached_property
    def content(self) -> io.BytesIO:  # type: ignore[override]
        return io.BytesIO(b"".join(self.body))

    @cached_property
    def client(self) -> IAddress:
        return self.channel.transport.getPeer()  # type: ignore[no-any-return]

    @cached_property
    def host(self) -> IAddress:
        return self.channel.transport.getHost()  # type: ignore[no-any-return]

    @property
    def transport(self) -> Any:  # type: ignore[override]
        return self.channel.transport

    def isSecure(self) -> bool:
        return self.secure

    def write(self, data: bytes) -> None:
        """Write a piece of the answer of a twisted.web resource; the head goes out with the first."""
        if self.finished:
            raise RuntimeError("Request.write called on a request after Request.finish was called.")
        if self.gone:
            return
        out = b"" if self.startedWriting else self._stock_head()
        if data and not self._omit_body:
            self.sent += len(data)
            out += b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data
        if out:
            self.channel.write(out)

    def finish(self) -> None:
        """The answer of a twisted.web resource is complete."""
        if self.gone:
            raise RuntimeError("Request.finish called on a request after its connection was lost.")
        if self.finished:
            return
        self.write(b"")
        if self.chunked:
            self.channel.write(b"0\r\n\r\n")
        self.done()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer
        self.channel.stock_producer = stock = producer if streaming else Pull(self.channel, producer)
        if not streaming:
            stock.resumeProducing()

    def unregisterProducer(self) -> None:
        self.producer = None
        self.channel.stock_producer = None

    def _stock_head(self) -> bytes:
        headers = self.responseHeaders
        self._omit_body = self.method == b"HEAD" or self.code in NO_BODY_CODES
        if self.lastModified is not None and not headers.hasHeader(b"last-modified"):
            headers.setRawHeaders(b"Last-Modified", [datetimeToString(self.lastModified)])
        if self.etag is not None:
            headers.setRawHeaders(b"ETag", [self.etag])
        if self.cookies:
            headers.setRawHeaders(b"Set-Cookie", self.cookies)
        if not headers.hasHeader(b"content-length") and not self._omit_body:
            if self.clientproto == b"HTTP/1.1":
                headers.setRawHeaders(b"Transfer-Encoding", [b"chunked"])
                self.chunked = True
            else:
                self.keep_alive = False
        lines = b"".join(
            b"%b: %b\r\n" % (name, value) for name, values in headers.getAllRawHeaders() for value in values
        )
        return self.answer_head(self.code, self.code_message, lines)
