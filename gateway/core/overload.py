"""When the process has more to do than it can: too many requests are open, or its timers run late for too long."""

from __future__ import annotations

from typing import Final

WEIGHT: Final = 0.4
"""What a measurement counts in the smoothed lag, at most twice what is allowed of it: one alone is never too much,
not even a clock that was set."""

PATIENCE: Final = 1.0
"""Seconds that the lag must be too high before requests are refused: a single stall is over by then."""

QUIET: Final = 5.0
"""Seconds without a refusal after which the overload is over."""


class Overload:
    """Counts open requests, judges the lag, and says how many requests there is room for.

    :param max_requests: requests that may be open.
    :param max_lag: seconds that timers may be late.
    :ivar open: requests that are open; whoever begins and ends them counts here.
    :ivar room: requests that may be open now: none while the lag is too high.
    :ivar lag: smoothed, seconds.
    :ivar shed: how many requests were refused, by reason.
    """

    def __init__(self, max_requests: int, max_lag: float) -> None:
        self.open = 0
        self.room = max_requests
        self.lag = 0.0
        self.shed = {"requests": 0, "lag": 0}
        self._max_requests = max_requests
        self._max_lag = max_lag
        self._late_since: float | None = None
        self._refused = 0  # since this overload began
        self._last = 0.0

    def measure(self, late: float, now: float) -> int:
        """A timer ran ``late`` seconds too late; returns how many requests an overload cost that is over now, or 0.

        The lag is fine again at half of what it may be, so that requests do not come and go with each measurement.
        """
        self.lag += (min(max(late, 0.0), 2 * self._max_lag) - self.lag) * WEIGHT
        if self.lag <= self._max_lag / 2:
            self._late_since = None
            self.room = self._max_requests
        elif self.lag > self._max_lag:
            if self._late_since is None:
                self._late_since = now
            elif now - self._late_since >= PATIENCE:
                self.room = 0
        if not self._refused or now - self._last < QUIET:
            return 0
        refused, self._refused = self._refused, 0
        return refused

    def refuse(self, now: float) -> bool:
        """Count a request that there is no room for; returns whether an overload begins with it."""
        self.shed["requests" if self.room else "lag"] += 1
        self._refused += 1
        self._last = now
        return self._refused == 1
