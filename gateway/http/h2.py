"""The server's side of HTTP/2 (RFC 9113): the h2 library reads the frames, this channel holds the limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingAckReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from gateway.core.addresses import normal
from gateway.core.errors import BadRequest
from gateway.core.h2_frames import Allowance, FrameMeter
from gateway.http.h2_stream import VERSION, H2Stream
from gateway.http.h2_wire import FIELD_OVERHEAD, LAST_REQUESTS, STREAMS, TABLE, WINDOW, make_wire, release
from gateway.http.patience import keeps_up
from gateway.http.request import Request
from gateway.http.transport import LONG, unsent

if TYPE_CHECKING:
    from gateway.core.pace import Pace
    from gateway.http.site import Site

REQUESTS: Final = 10_000
"""Requests on one connection, which is then ended as when the gateway stops: what is kept of each is let go."""

CONTROL_BURST: Final = 1000
CONTROL_RATE: Final = 100
"""Frames that carry nothing, at once and a second; a client that sends more is no browser."""

EARNED: Final = 4
"""Frames that each DATA frame to the client allows it besides: it opens two windows again."""

FRAMES: Final = 64
"""Frames in one read that are more than usual: it is worked off in slices, for :data:`LONG` at most."""
SLICE: Final = 1024
"""Bytes of a slice."""

HEARD_TIMEOUT: Final = 1.0
"""Seconds in which a client hears that it is to open no more streams; those it has opened until then are served."""

_HEARD: Final = b"last one"
"""What it is pinged with, to see that it has (RFC 9113 section 6.8)."""

RESETS_BURST: Final = 200
RESETS_RATE: Final = 20
"""Streams that end by a reset, at once and a second: two pages that are left, but no rapid reset (CVE-2023-44487)."""


class H2Channel(Protocol):
    """One client connection with many requests at once, each a stream.

    Nothing that is wrong with one request ends the others, as far as the library lets it: their heads are judged by
    the gateway's own rules, and answered. What is wrong with the frames ends the connection.
    """

    detached = False

    def __init__(self, site: Site) -> None:
        self.site = site
        self.output_full = False
        self.pace: Pace | None = None  # of a client that has to take something
        self.peer = ""
        limits, now = site.limits, site.clock.seconds()
        announced = limits.head + limits.fields * FIELD_OVERHEAD
        self._wire = make_wire(announced)
        self._streams: dict[int, H2Stream] = {}
        self._meter = FrameMeter(announced * 2, Allowance(CONTROL_BURST, CONTROL_RATE, now), self._streams)
        self._resets = Allowance(RESETS_BURST, RESETS_RATE, now)
        self._ready: dict[H2Stream, None] = {}  # those that may have something to send
        self._awake = False  # they will be looked at in this turn of the reactor
        self._requests = 0
        self._ahead = b""  # what has to wait until others had a turn
        self._block_since: float | None = None  # when the header block that is not complete began
        self._last = False  # no more requests, as the client was told
        self._told = 0.0  # when it was
        self._heard = False  # it knows
        self._closing = False
        self._since = now  # when the last request was over

    # -- the transport --------------------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.registerProducer(self, True)
        self.peer = normal(getattr(transport.getPeer(), "host", ""))
        self.trusted = self.peer in self.site.trusted
        self.secure = getattr(transport, "getPeerCertificate", None) is not None
        self.site.opened(self)
        self._wire.initiate_connection()
        self._wire.increment_flow_control_window(WINDOW * (STREAMS - 1))
        self._flush()

    def dataReceived(self, data: bytes) -> None:
        if self._closing:
            return
        now = self.site.clock.seconds()
        refused = self._meter.read(data, now)
        if refused:
            self._end(refused)
            return
        self._awake = True
        if self._ahead:  # TLS hands over all that it has read, paused or not
            self._ahead += data
        elif self._meter.frames > FRAMES:
            self._feed_slices(data)
            if self._ahead:
                transport: Any = self.transport
                transport.pauseProducing()
        else:
            self._feed(data, now)
        if not self._meter.in_block:
            self._block_since = None
        elif self._block_since is None:
            self._block_since = now
        self._pump()

    def _feed(self, data: bytes, now: float) -> None:
        try:
            for event in self._wire.receive_data(data):
                self._happened(event, now)
        except ProtocolError:
            self._end(None)

    def _feed_slices(self, data: bytes) -> None:
        """Read many small frames as long as it does not take long, and go on when others had a turn."""
        clock, at = self.site.clock, 0
        now = clock.seconds()
        until = now + LONG
        while at < len(data) and not self._closing:
            self._feed(data[at : at + SLICE], now)
            at += SLICE
            now = clock.seconds()
            if now > until:
                break
        if at < len(data) and not self._closing:
            self._ahead = data[at:]
            clock.callLater(0, self._feed_ahead)

    def _feed_ahead(self) -> None:
        """Read what was put off."""
        ahead, self._ahead = self._ahead, b""
        if self._closing:
            return
        self._awake = True
        self._feed_slices(ahead)
        if not self._ahead:
            transport: Any = self.transport
            transport.resumeProducing()
        self._pump()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closing = True
        self._ahead = b""
        self._lose_streams(reason)
        self.site.closed(self)
        release(self._wire)

    # The transport's producer: it calls these when the client reads slowly.

    def pauseProducing(self) -> None:
        if not self.output_full:
            self.output_full = True
            self.pace = None

    def resumeProducing(self) -> None:
        self.output_full = False
        self._pump()

    def stopProducing(self) -> None:
        """The transport is gone; connectionLost says so too."""

    # -- what has come --------------------------------------------------------------------------------------------

    def _happened(self, event: Event, now: float) -> None:
        if self._closing:
            return
        stream = self._streams.get(getattr(event, "stream_id", None) or 0)
        if isinstance(event, RequestReceived):
            self._begin(event, now)
        elif isinstance(event, DataReceived):
            if stream is not None:
                stream.receive(event.data, event.flow_controlled_length)
            else:  # the gateway has reset it
                self._wire.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            if stream is not None:
                stream.receive_end()
        elif isinstance(event, StreamReset):
            if stream is not None:
                self.forget(stream)
                stream.lost(Failure(ConnectionLost()))
                if not self._resets.take(1, now):
                    self._end(ErrorCodes.ENHANCE_YOUR_CALM)
        elif isinstance(event, (WindowUpdated, RemoteSettingsChanged)):
            self._ready.update(dict.fromkeys(self._streams.values()))
            self._wire.encoder.header_table_size = min(self._wire.encoder.header_table_size, TABLE)
        elif isinstance(event, PingAckReceived):
            self._heard = self._last
        elif isinstance(event, ConnectionTerminated):
            self._end(ErrorCodes.NO_ERROR)

    def _begin(self, event: RequestReceived, now: float) -> None:
        if self._knows(now):  # it may send this again elsewhere (RFC 9113 section 8.7)
            self._attempt(self._wire.reset_stream, event.stream_id, ErrorCodes.REFUSED_STREAM)
            if not self._resets.take(1, now):
                self._end(ErrorCodes.ENHANCE_YOUR_CALM)
            return
        stream = self._streams[event.stream_id] = H2Stream(self, event.stream_id)
        self._requests += 1
        if self._requests >= REQUESTS:
            self.close_when_idle()
        stream.begin(event.headers, event.stream_ended is not None)

    @property
    def client(self) -> str:
        """The address of the peer; of one that is a proxy each request may come from another client."""
        return self.peer

    @property
    def answering(self) -> list[Request]:
        """The requests that are being answered."""
        return [stream.request for stream in self._streams.values() if not stream.request.finished]

    # -- its end --------------------------------------------------------------------------------------------------

    def check(self, now: float) -> None:
        """Give up what has been waited for too long; the site asks from time to time."""
        limits = self.site.limits
        if self.output_full or self._closing:
            if not keeps_up(self, lambda: -unsent(self.transport), limits.send_timeout, limits.min_rate, now):
                self.abort()
        elif self._block_since is not None and now - self._block_since >= limits.head_timeout:
            self._end(ErrorCodes.ENHANCE_YOUR_CALM)
        elif not self._streams:
            patience = limits.idle_timeout if self._requests else limits.head_timeout
            if self._knows(now) or now - self._since >= patience:
                self._end(ErrorCodes.NO_ERROR)
        for stream in tuple(self._streams.values()):
            stream.check(now)

    def idle_since(self) -> float | None:
        """Since when the client has asked for nothing more; None while it does, and before its first request."""
        return None if self._streams or self._closing or not self._requests else self._since

    def announce_end(self) -> None:
        """GOAWAY says at once which requests are the last: others may be sent again (RFC 9113 section 6.8)."""
        self.close_when_idle()

    def close_when_idle(self) -> None:
        """Take no more requests once the client has heard so: the gateway is stopping, or does not want this client."""
        if not self._last and not self._closing:
            self._last = True
            self._told = self.site.clock.seconds()
            self.transport.write(LAST_REQUESTS)  # type: ignore[union-attr]
            self._attempt(self._wire.ping, _HEARD)

    def abort(self) -> None:
        """Cut the connection."""
        self._closing = True
        self.transport.abortConnection()  # type: ignore[union-attr]

    def _end(self, code: int | None) -> None:
        """Say why, unless the library has, and close, once; what is being answered is not finished.

        :param code: None when the library has said which.
        """
        self._closing = True
        self._since = self.site.clock.seconds()
        if code is not None:
            self._wire.close_connection(code)
        self._flush()
        self._lose_streams(Failure(ConnectionDone()))
        if code != ErrorCodes.NO_ERROR:
            self.site.record(_refused(self))
        transport: Any = self.transport
        transport.unregisterProducer()
        transport.loseConnection()

    def _lose_streams(self, reason: Failure) -> None:
        streams = tuple(self._streams.values())
        self._streams.clear()
        self._ready.clear()
        for stream in streams:
            stream.lost(reason)

    def _knows(self, now: float) -> bool:
        """Whether the client has heard that there are no more requests, or had the time to."""
        return self._last and (self._heard or now - self._told >= HEARD_TIMEOUT)

    # -- what streams use -----------------------------------------------------------------------------------------

    def wake(self, stream: H2Stream) -> None:
        """Let a stream send, before this turn of the reactor is over."""
        self._ready[stream] = None
        if not self._awake:
            self._awake = True
            self.site.clock.callLater(0, self._pump)

    def send_interim(self, stream: H2Stream, head: list[tuple[bytes, bytes]]) -> None:
        """Send the head of an interim answer."""
        self._attempt(self._wire.send_headers, stream.number, head)

    def acknowledge(self, stream: H2Stream, length: int) -> None:
        """Let the client send ``length`` bytes more."""
        if not self._closing:
            self._attempt(self._wire.acknowledge_received_data, length, stream.number)

    def reset(self, stream: H2Stream, code: int) -> None:
        """End a stream that cannot be completed."""
        self.forget(stream)
        self._attempt(self._wire.reset_stream, stream.number, code)

    def forget(self, stream: H2Stream) -> None:
        """A stream is over."""
        self._ready.pop(stream, None)
        self._streams.pop(stream.number, None)
        if not self._streams:
            self._since = self.site.clock.seconds()

    def _attempt(self, send: Any, *arguments: Any) -> None:
        """Do what fails for a stream that has closed: its event is still to be told."""
        try:
            send(*arguments)
        except ProtocolError:
            return
        if not self._awake:
            self._flush()

    def _pump(self) -> None:
        """Let the streams send in turns, a frame each, while the client takes it."""
        if self._closing:
            return
        self._awake = True
        ready = self._ready
        while ready and not self.output_full:
            for stream in tuple(ready):
                try:
                    more = stream in ready and stream.send(self._wire)
                except ProtocolError:
                    more = False
                if more:
                    self._meter.allowance.earn(EARNED)
                else:
                    ready.pop(stream, None)
            self._flush()
        self._awake = False
        self._flush()
        if self._heard and not self._streams:
            self._end(ErrorCodes.NO_ERROR)

    def _flush(self) -> None:
        data = self._wire.data_to_send()
        if data:
            self.transport.write(data)  # type: ignore[union-attr]


def _refused(channel: H2Channel) -> Request:
    """What is recorded of a connection that the client broke: as of a malformed request, or whoever floods would never
    be known for it.
    """
    request = Request(channel, b"", b"", VERSION, [], {}, frozenset())
    request.remote = channel.peer
    request.received = channel.site.clock.seconds()
    request.failure = error = BadRequest()
    request.status, request.decided_by, request.incomplete = error.status, "wire", True
    return request
