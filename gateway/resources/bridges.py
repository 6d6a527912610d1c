"""All bridges that are open: their limits, their timers, how many they are, and how they are closed together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IReactorTime

from gateway.core.frames import Ending
from gateway.core.pace import Pace
from gateway.http.timeouts import Timeouts
from gateway.http.transport import unsent
from gateway.resources.bridge import GOING_AWAY, Bridge, Side, attach

if TYPE_CHECKING:
    from gateway.http.request import Request

CLOSE_TIMEOUT: Final = 5.0
"""Seconds from the first close frame until both connections have ended, or are cut."""

SERVICE_RESTART: Final = 1012
CLOSED_PER_SECOND: Final = 500
"""Bridges that are closed in a second, at least, when the gateway stops."""


class Bridges:
    """All bridges that are open: what they have in common, how many they are, and how they are closed together.

    :param max_message: bytes a message may have.
    :param idle_ping: seconds of silence after which a peer is pinged (up to half as much again), and after which, if
        it goes on, the peer is taken for dead; 0 to ping nobody.
    :param max_messages: messages that a client may send in a second.
    :param send_timeout: seconds over which a peer that reads too slowly is looked at.
    :param min_rate: bytes a second that it has to take.
    """

    def __init__(
        self,
        clock: IReactorTime,
        max_message: int,
        idle_ping: float,
        max_messages: int = 5_000,
        send_timeout: float = 30.0,
        min_rate: float = 240.0,
    ) -> None:
        self.clock = clock
        self.max_message = max_message
        self._idle_ping = idle_ping
        self._open: dict[Bridge, bool] = {}  # whether its close timeout runs
        self._close_timeouts: Timeouts[Bridge] = Timeouts(clock, CLOSE_TIMEOUT, Bridge.abort)
        self._half_periods: Timeouts[Side] = Timeouts(clock, idle_ping / 2, self._half_period)
        self.max_messages = max_messages
        self._send_timeout = send_timeout
        self._min_rate = min_rate
        self._paces: dict[Side, Pace] = {}
        self._slow: Timeouts[Side] = Timeouts(clock, send_timeout, self._look)
        self._idle: dict[float, Timeouts[Bridge]] = {}  # by half the idle timeout: there are as many as routes say
        self._closed: Ending | None = None

    def __len__(self) -> int:
        return len(self._open)

    def join(self, client: Any, upstream: Any, over: Callable[[Bridge], None], idle_timeout: float = 0.0) -> Bridge:
        """Join two transports, both past their handshake.

        :param over: called once, when both connections have ended.
        :param idle_timeout: seconds without a byte of either peer, answers to pings included, after which both are
            closed (up to half as much later); 0 for never.
        """
        bridge = Bridge(self, over)
        if idle_timeout:
            half = idle_timeout / 2
            bridge.idle = self._idle.get(half) or self._idle.setdefault(
                half, Timeouts(self.clock, half, self._half_idle)
            )
            bridge.idle.start(bridge)
        self._open[bridge] = False
        attach(client, bridge.client)
        attach(upstream, bridge.upstream)
        if self._idle_ping:
            self._half_periods.start(bridge.client)
            self._half_periods.start(bridge.upstream)
        if self._closed is not None:
            bridge.close(self._closed)
        return bridge

    def close_all(self, seconds: float = 0.0) -> None:
        """Close all bridges (1012), those to come at once; those that are open a few at a time, in ``seconds`` at most.

        A few at a time, because all their clients will connect again.
        """
        self._closed = ending = Ending(SERVICE_RESTART, "the gateway restarts")
        pace = min(seconds / max(len(self._open), 1), 1 / CLOSED_PER_SECOND)
        for index, bridge in enumerate(tuple(self._open)):
            if pace and index:
                self.clock.callLater(pace * index, bridge.close, ending)
            else:
                bridge.close(ending)

    def close_those(self, chosen: Callable[[Request], object], ending: Ending) -> None:
        """Close the bridges whose requests are ``chosen``."""
        for bridge in tuple(self._open):
            if bridge.request is not None and chosen(bridge.request):
                bridge.close(ending)

    def closing(self, bridge: Bridge) -> None:
        """A bridge has begun to close, and has so much time to end."""
        if not self._open.get(bridge, True):
            self._open[bridge] = True
            self._close_timeouts.start(bridge)

    def ended(self, bridge: Bridge) -> None:
        """Both connections of a bridge have ended."""
        self._open.pop(bridge, None)
        self._close_timeouts.stop(bridge)
        if bridge.idle is not None:
            bridge.idle.stop(bridge)

    def quiet(self, side: Side) -> None:
        """Nothing more will be heard from a side."""
        self._half_periods.stop(side)

    def full(self, side: Side) -> None:
        """A side's peer reads slowly: it is looked at until it has taken everything."""
        taken = -unsent(side.transport)
        self._paces[side] = Pace(self._send_timeout, self._min_rate, self.clock.seconds(), taken)
        self._slow.start(side)

    def drained(self, side: Side) -> None:
        """A side's peer has taken everything, or is gone."""
        if self._paces.pop(side, None) is not None:
            self._slow.stop(side)

    def _look(self, side: Side) -> None:
        if self._paces[side].kept(self.clock.seconds(), lambda: -unsent(side.transport)):
            self._slow.start(side)
        else:
            side.abort()

    def _half_idle(self, bridge: Bridge) -> None:
        if bridge.half_idle() and bridge.idle is not None:
            bridge.idle.start(bridge)
        else:
            bridge.close(Ending(GOING_AWAY, "nothing was sent for too long"))

    def _half_period(self, side: Side) -> None:
        if side.half_period():
            self._half_periods.start(side)
        else:
            side.abort()
