"""Two WebSocket connections joined: frames pass both ways as they came, each held against the rules and the limits."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure

from gateway.core.errors import UpstreamFailed
from gateway.core.frames import PING, Ending, FrameReader, close_frame, control_frame

if TYPE_CHECKING:
    from gateway.http.request import Request
    from gateway.http.timeouts import Timeouts
    from gateway.resources.bridges import Bridges

MAX_FRAGMENTS: Final = 65536
"""Frames that a message may come in; empty ones would otherwise go on for ever below any limit of bytes."""

CONTROLS: Final = 100
"""Control frames that a client may send in a second; one ping in several seconds is what they are for."""

GOING_AWAY: Final = 1001
OWN_PING: Final = b"smartgate " + secrets.token_bytes(8)


def attach(transport: Any, protocol: Any) -> None:
    """Let ``protocol`` speak on a connection from now on."""
    if isinstance(transport, ProtocolWrapper):
        transport.wrappedProtocol = protocol
    else:
        transport.protocol = protocol
    protocol.makeConnection(transport)


class Side(Protocol):
    """One of the two connections of a bridge.

    It reads for the other side, which is paused while this one's transport is full.

    :param bridge: what it is a side of.
    :param client: whether the peer is the client, who may send only so fast; the upstream otherwise.
    """

    other: Side
    transport: Any

    def __init__(self, bridge: Bridge, client: bool, bridges: Bridges) -> None:
        self._bridge = bridge
        self._bridges = bridges
        self.client = client
        self.frames = FrameReader(client, bridges.max_message, MAX_FRAGMENTS, OWN_PING, self._more if client else None)
        self._allowed = -1.0  # when the client was allowed to send so many messages
        self.received = 0
        """Bytes that came, frame headers included."""
        self.parted = False
        """Whether a close frame was sent here: the other peer's, or the gateway's own."""
        self.lost = False
        self._finished = False  # nothing more is written
        self._farewell = b""  # a close frame of the gateway's own, waiting for the frame under way to end
        self._full = False  # the peer reads too slowly
        self._heard = True
        self._silent = 0

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        self._heard = True
        self.received += len(data)
        frames = self.frames
        data = frames.feed(data)
        other = self.other
        if data:
            other.transport.write(data)
        if other._farewell:
            other._part()
        if frames.closed is not None or frames.broken is not None:
            self._bridge.ended(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True
        self._bridge.lost(self)

    # The transport's producer: it calls these when the peer reads slowly.

    def pauseProducing(self) -> None:
        if not self.parted:  # nothing more is written after that, and the other's close frame must be seen
            self._full = True
            self._bridges.full(self)
            self.other.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self._heard = True  # it takes what it is sent, so it is alive
        if self._full:
            self._full = False
            self._bridges.drained(self)
            self.other.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The transport is gone; connectionLost says so too."""

    def _more(self) -> None:
        """The client has sent all it was allowed: more, unless that was within one second."""
        now = self._bridges.clock.seconds()
        if not 0 <= now - self._allowed < 1:
            self._allowed = now
            self.frames.allow(self._bridges.max_messages, CONTROLS)

    # -- closing --------------------------------------------------------------------------------------------------

    def close(self, ending: Ending) -> None:
        """Send a close frame of the gateway's own, once the frame under way is through; nothing goes after it.

        A peer that broke a rule is told that, whatever else there is to tell.
        """
        if self.parted or self.lost or self._farewell:
            return
        self.other.frames.mute()
        ending = self.frames.broken or ending
        self._farewell = close_frame(ending, b"" if self.client else secrets.token_bytes(4))
        self._part()

    def _part(self) -> None:
        if not self.other.frames.passing:
            farewell, self._farewell = self._farewell, b""
            self.parted = True
            self.transport.write(farewell)
            self.resumeProducing()
            self.end_if_done()

    def end_if_done(self) -> None:
        """End the connection once there was a close frame each way (RFC 6455 section 7.1.1), or this peer broke a rule.

        The upstream is given the time to end it first, as servers do.
        """
        if self.lost or self._finished or not self.parted:
            return
        if self.frames.broken is not None or (self.client and self.frames.closed is not None):
            self._finished = True
            self.transport.unregisterProducer()
            if isinstance(self.transport, ProtocolWrapper):
                self.transport.loseConnection()
            else:
                # No more is sent, but what comes is still read, so that no reset overtakes the close frame.
                self.transport.loseWriteConnection()

    def abort(self) -> None:
        """Cut the connection."""
        if not self.lost:
            self.transport.abortConnection()

    # -- silence --------------------------------------------------------------------------------------------------

    def half_period(self) -> bool:
        """Half an idle period has passed: returns whether the peer is still taken for alive.

        After two without a byte from it the peer is pinged, after two more it is dead. One that is not read from
        cannot be heard.
        """
        if self._heard or self.other._full:
            self._heard = False
            self._silent = 0
            return True
        if self._silent == 1 and (self.parted or self.other.frames.passing):
            return True  # no ping can be written now, and who was not asked need not answer
        self._silent += 1
        if self._silent == 2:
            self.transport.write(control_frame(PING, OWN_PING, b"" if self.client else secrets.token_bytes(4)))
        return self._silent < 4


class Bridge:
    """A client and an upstream that speak WebSocket to each other.

    :param over: called once, when both connections have ended.
    """

    def __init__(self, bridges: Bridges, over: Callable[[Bridge], None]) -> None:
        self._bridges = bridges
        self._over = over
        self.client = Side(self, True, bridges)
        self.upstream = Side(self, False, bridges)
        self.client.other = self.upstream
        self.upstream.other = self.client
        self.ending: Ending | None = None
        """What closed it: the first close frame that a peer or the gateway sent; None while it is open."""
        self.request: Request | None = None
        """What opened it."""
        self._expiry: IDelayedCall | None = None
        self.idle: Timeouts[Bridge] | None = None
        """Where it waits for its idle timeout."""
        self._received = 0
        self._quiet = 0

    def half_idle(self) -> bool:
        """Half an idle timeout has passed: returns whether a byte came since the one before the last."""
        received = self.client.received + self.upstream.received
        self._quiet = self._quiet + 1 if received == self._received else 0
        self._received = received
        return self._quiet < 2

    def expire_in(self, seconds: float) -> None:
        """Close the bridge (1008) when the token that opened it expires."""
        self._expiry = self._bridges.clock.callLater(seconds, self._expired)

    def _expired(self) -> None:
        self._expiry = None
        self.close(Ending(1008, "the access token has expired"))

    def close(self, ending: Ending) -> None:
        """Close both sides: the client with ``ending``, the upstream because its client goes away."""
        self.ending = self.ending or ending
        self.client.close(ending)
        self.upstream.close(Ending(GOING_AWAY, ending.reason))
        self._bridges.closing(self)

    def ended(self, side: Side) -> None:
        """A side's peer closed, or broke a rule.

        Who broke a rule still gets what the other has to say to what came before, and then its close frame.
        """
        other = side.other
        broken = side.frames.broken
        self.ending = self.ending or broken or side.frames.closed
        self._bridges.closing(self)
        if broken is not None:
            other.close(Ending(_code_of_loss(side), "the other side broke the protocol"))
            other.frames.stop_close()
            if other.lost or other.frames.broken is not None:
                side.close(broken)
        else:
            if other.frames.broken is not None:
                other.close(other.frames.broken)
            other.parted = True  # now at the latest: the close frame went by
            other.end_if_done()
        side.end_if_done()

    def lost(self, side: Side) -> None:
        """A side's connection has ended."""
        self._bridges.quiet(side)
        self._bridges.drained(side)
        other = side.other
        if other.lost:
            self._end()
            return
        gone = Ending(_code_of_loss(side), "the other side is gone")
        self.ending = self.ending or gone
        if side.frames.passing:
            other.abort()  # the frame under way will never be whole, and must not look so
            return
        side.resumeProducing()
        other.close(gone)
        self._bridges.closing(self)

    def abort(self) -> None:
        """Cut both connections."""
        self.client.abort()
        self.upstream.abort()

    def _end(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        self._bridges.ended(self)
        self._over(self)


def _code_of_loss(side: Side) -> int:
    """What the other peer is told when this side is of no more use: a client has gone away, an upstream failed."""
    return GOING_AWAY if side.client else UpstreamFailed.close_code
