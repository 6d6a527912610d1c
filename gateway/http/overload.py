"""Sheds load: refuses requests, at little cost, before the process runs out of memory or time."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING, Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from gateway.core.errors import Unavailable
from gateway.core.overload import Overload

if TYPE_CHECKING:
    from gateway.http.request import Request

PERIOD: Final = 0.25
"""Seconds between two measurements of the lag."""


class LoadShedder:
    """Measures how late the reactor runs timers, and answers 503 when there is no room for a request.

    :param spared: paths that are always answered.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, state: Overload, spared: Container[bytes] = ()) -> None:
        self.state = state
        self._clock = clock
        self._spared = spared
        self._due = 0.0
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        """Begin to measure."""
        self._due = self._clock.seconds() + PERIOD
        self._timer = self._clock.callLater(PERIOD, self._measure)

    def stop(self) -> None:
        """Measure no longer."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _measure(self) -> None:
        now = self._clock.seconds()
        refused = self.state.measure(now - self._due, now)
        if refused:
            self._log.info("No longer overloaded: {refused} requests were refused", refused=refused)
        self.start()

    def refuses(self, request: Request) -> bool:
        """There is no room for ``request``: whether it was refused therefore, and is over."""
        if request.path in self._spared:
            return False
        state = self.state
        if state.refuse(self._clock.seconds()):
            self._log.warn(
                "Overloaded, requests are refused: {open} are open, timers run {lag:.0f} ms late",
                open=state.open,
                lag=state.lag * 1000,
            )
        request.decided_by = "overload"
        request.refuse(Unavailable())
        return True
