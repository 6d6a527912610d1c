"""The client's side of HTTP/1.1: one connection to an instance, on which one exchange after the other is made."""

from __future__ import annotations

import re
from enum import Enum
from typing import Any
from typing import Protocol as Shape

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpResponseParser
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from gateway.core.circuit import Slots
from gateway.core.errors import UpstreamFailed

HEAD_LIMIT = 64 * 1024
_TOO_LARGE = "The service behind this path sent too large a head or trailer"
FIELDS_LIMIT = 256
INTERIM_LIMIT = 100
"""Interim answers to one request: more than any service sends, too few to keep the gateway or a client busy with."""
_BODILESS = (204, 304)
_FRAMING_FIELDS = (b"content-length", b"transfer-encoding")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""What a reason phrase must not have (RFC 9112 section 4), and llhttp lets pass."""
_VERSIONS = ("1.1", "1.0")


class Framing(Enum):
    """How the end of an answer's body is told (RFC 9112 section 6.3)."""

    NONE = "no body"
    LENGTH = "Content-Length"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "the connection closes"


class AnswerReader(Shape):
    """Who made the request on a connection, and reads its answer."""

    def answer_head(self, status: int, reason: bytes, fields: list[tuple[bytes, bytes]], http_1_1: bool) -> Framing:
        """A head has come, of an interim answer or the final one; returns how its body ends."""

    def answer_body(self, data: bytes) -> None:
        """The next piece of the body, without its chunk framing."""

    def answer_end(self) -> None:
        """The answer is complete, and the connection can be released."""

    def answer_flush(self) -> None:
        """All that came with one read has been told, and more is to come."""

    def answer_failed(self, error: UpstreamFailed) -> None:
        """The answer will not be completed: the connection was lost, or what came was not HTTP."""

    def pause_sending(self) -> None:
        """The instance reads too slowly: no more of the request for now."""

    def resume_sending(self) -> None:
        """The instance takes more again."""


class Pool(Shape):
    """Where a connection belongs."""

    def idle_lost(self, connection: UpstreamConnection) -> None:
        """A connection that was waiting for work has closed, or is not to be used any more."""


class UpstreamConnection(Protocol):
    """A connection to an instance.

    What an instance says is not trusted either: heads are bounded, bytes that nobody asked for end the connection, and
    only a message whose end is certain leaves it fit for another.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.reader: AnswerReader | None = None
        self.reusable = True
        self.idle_since = 0.0
        self.heard = False
        """Whether anything that may be the current exchange's answer has come."""
        self.slots: Slots | None = None
        """Where it counts as long as it lives."""
        self._fresh = True
        self._answered = False
        self._interim = 0
        self._parser = HttpResponseParser(self)
        self._bytes = 0
        """How many came since the last piece of a body: all that could be of one header section."""
        self._in_body = False
        self._ended = False
        self._until_close = False

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.setTcpNoDelay(True)
        transport.registerProducer(self, True)

    def request(self, reader: AnswerReader, data: bytes) -> None:
        """Send the head, or more, of a request whose answer ``reader`` gets."""
        self.reader = reader
        self.heard = self._answered = False
        self._interim = 0
        self.transport.write(data)  # type: ignore[union-attr]

    def release(self) -> bool:
        """The exchange is over; returns whether the connection can serve another. If not, it is cut."""
        self.reader = None
        self._fresh = False
        if self.reusable:
            return True
        self.abort()
        return False

    def abort(self) -> None:
        """Cut the connection: nobody waits for its answer any more."""
        self.reader = None
        self.reusable = False
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()
        self.ended()

    def ended(self) -> None:
        """It counts no more; harmless when it did not."""
        slots, self.slots = self.slots, None
        if slots is not None:
            slots.free()

    # -- the transport --------------------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        reader = self.reader
        if reader is None:
            self._pool.idle_lost(self)  # the transport says so only later, and until then somebody could take it
            self.abort()
            return
        self.heard = True
        self._bytes += len(data)
        failure = ""
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            failure = "The service behind this path switched protocols unasked"
        except HttpParserCallbackError as error:
            if not isinstance(error.__context__, UpstreamFailed):
                raise
            failure = error.__context__.message
        except HttpParserError:
            failure = "The service behind this path gave an answer that is not HTTP"
        if self._bytes > HEAD_LIMIT and not self._ended:
            failure = _TOO_LARGE
        # Only now, with the parser at rest, may the connection be handed to the next exchange.
        if self._ended:
            self._ended = False
            if failure:
                self.reusable = False
            reader.answer_end()
        elif failure:
            self._fail(failure)
        else:
            reader.answer_flush()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reusable = False
        reader, self.reader = self.reader, None
        if reader is None:
            self._pool.idle_lost(self)
        elif self._until_close and reason.check(ConnectionDone):
            reader.answer_end()
        else:
            reader.answer_failed(UpstreamFailed("The service behind this path closed the connection"))
        self.ended()
        del self._parser  # the two know each other, and would stay until garbage is collected

    def _fail(self, message: str) -> None:
        reader = self.reader
        if not self._fresh and not self._answered:
            self.heard = False  # what is no answer at all is the rest of the exchange before
        self.abort()
        if reader is not None:
            reader.answer_failed(UpstreamFailed(message))

    def pauseProducing(self) -> None:
        if self.reader is not None:
            self.reader.pause_sending()

    def resumeProducing(self) -> None:
        if self.reader is not None:
            self.reader.resume_sending()

    def stopProducing(self) -> None:
        """The transport is gone; connectionLost says so too."""

    # -- llhttp's callbacks ---------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._ended:
            raise UpstreamFailed("The service behind this path sent an answer that nobody asked for")
        self._in_body = False
        self._reason = b""
        self._size = 0
        self._fields: list[tuple[bytes, bytes]] = []

    def on_status(self, reason: bytes) -> None:
        if _CONTROL.search(reason):
            raise UpstreamFailed("The service behind this path gave an answer that is not HTTP")
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:
            return  # a trailer: discarded
        self._fields.append((name, value))
        self._size += len(name) + len(value) + 4
        if self._size > HEAD_LIMIT:
            raise UpstreamFailed(_TOO_LARGE)
        if len(self._fields) > FIELDS_LIMIT:
            raise UpstreamFailed("The service behind this path sent too many header fields")

    def on_headers_complete(self) -> None:
        parser = self._parser
        status = parser.get_status_code()
        version = parser.get_http_version()
        if version not in _VERSIONS:
            raise UpstreamFailed("The service behind this path gave an answer that is not HTTP/1")
        if status < 200:
            self._interim += 1
            if self._interim > INTERIM_LIMIT:
                raise UpstreamFailed("The service behind this path sent too many interim answers")
            if any(name.lower() in _FRAMING_FIELDS for name, _ in self._fields):
                raise UpstreamFailed("The service behind this path sent an interim answer with a body")
        self._in_body = self._answered = True
        self._bytes = 0
        framing = self.reader.answer_head(  # type: ignore[union-attr]
            status, self._reason, self._fields, version == "1.1"
        )
        if framing is Framing.NONE and status >= 200 and status not in _BODILESS:
            # The answer to HEAD: llhttp would wait for its body, so another parser reads what comes next.
            self.reusable = self.reusable and parser.should_keep_alive()
            self._parser = HttpResponseParser(self)
            self._ended = True
        self._until_close = framing is Framing.UNTIL_CLOSE

    def on_body(self, data: bytes) -> None:
        self._bytes = 0
        if self._ended:
            self.reusable = False  # bytes after an answer that has no body
        else:
            self.reader.answer_body(data)  # type: ignore[union-attr]

    def on_message_complete(self) -> None:
        self._in_body = False
        self._bytes = 0
        if self._ended or self._parser.get_status_code() < 200:
            return
        if not self._parser.should_keep_alive():
            self.reusable = False
        self._ended = True
