"""What a client sends, read by llhttp and held against the rules of the wire: bytes in, requests out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser
from twisted.internet.protocol import Protocol
from twisted.logger import Logger

from gateway.core.errors import (
    BadRequest,
    BodyTooLarge,
    GatewayError,
    HeadTooLarge,
    HTTPVersionNotSupported,
    TargetTooLong,
)
from gateway.core.headers import FieldName, check_transfer_encoding, field_name
from gateway.core.methods import REFUSED
from gateway.core.paths import split_target, valid_authority
from gateway.http.request import Request, keep

if TYPE_CHECKING:
    from gateway.http.site import Site

HELD_LIMIT = 65536
"""Bytes of a body, or after an upgrade, that are kept while nobody takes them; then reading stops."""

CHUNK_FRAMING = 16
"""Bytes that a chunk's own size line and line ends may take; what is above counts as extensions."""

_NONE: frozenset[bytes] = frozenset()
_VERSIONS = {"1.1": b"HTTP/1.1", "1.0": b"HTTP/1.0"}


class RequestReader(Protocol):
    """The reading half of a connection: it knows messages, and leaves to its subclass when each is answered."""

    _log = Logger()

    def __init__(self, site: Site) -> None:
        self.site = site
        self._limits = site.limits
        self._parser = HttpRequestParser(self)
        self._receiving: Request | None = None  # the request whose body is being read
        self._in_head = False
        self._head_bytes = 0
        self._piece = b""  # what is being read, with all of the request line that came before
        self._extra_bytes = 0  # of chunk framing, beyond what chunks need
        self._deaf = False  # nothing that still comes is a request
        self._held: bytes | None = None  # what came after an upgrade
        self._replaying = False  # a head that was read before
        self._since = 0.0  # when what is waited for began

    def _enqueue(self, request: Request) -> None:
        """A request's head is complete, or broken: it is to be answered in its turn."""
        raise NotImplementedError

    def _refuse(self, request: Request, error: GatewayError) -> None:
        """What came is not a request that can be served: ``request`` is its beginning, nothing is read after it."""
        raise NotImplementedError

    def _feed(self, data: bytes) -> None:
        """Read what came."""
        receiving = self._receiving
        if receiving is not None:
            self._since = self.site.clock.seconds()
            if receiving.chunked_body:
                self._extra_bytes += len(data)
        self._piece = self._piece + data if self._in_head and not self._fields else data
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
        elif self._extra_bytes < 0:
            self._extra_bytes = 0  # what small chunks did not take is not saved up for a trailer

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
        self._refuse(request, error)

    def _read_on(self, request: Request) -> None:
        """Read the body of a request whose upgrade is not wanted: llhttp has stopped at the end of its head.

        The body is read by a new parser, told its framing first.
        """
        self._parser = HttpRequestParser(self)
        if not request.body_complete:
            length = request.content_length
            framing = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
            self._replaying = True
            self._parser.feed_data(b"POST / HTTP/1.1\r\nHost: replayed\r\n" + framing + b"\r\n\r\n")
            self._replaying = False

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
        if not fields:
            self._check_protocol()
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

    def _check_protocol(self) -> None:
        """The request line has been read.

        :raises BadRequest: when it is RTSP's, which llhttp takes for HTTP's of the same version.
        """
        piece = self._piece
        if b" RTSP/" in piece and self._parser.get_method() + b" " + self._target + b" RTSP/" in piece:
            raise BadRequest("The request is not HTTP")

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._replaying:
            return
        parser = self._parser
        method = parser.get_method()
        index = self._index
        if not index:
            self._check_protocol()
        version = _VERSIONS.get(parser.get_http_version(), b"")
        request = Request(self, method, self._target, version, self._fields, index, self._repeated)
        self._receiving = request  # a refusal from here on answers this request
        if not version:
            raise HTTPVersionNotSupported
        if method in REFUSED:
            raise REFUSED[method]
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
            keep(request.body, data)
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
