"""Timeouts for very many things at the price of one timer: whatever waits equally long ends in the order it began."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime

T = TypeVar("T")


class Timeouts(Generic[T]):
    """All the things that wait for the same number of seconds.

    A dict keeps its keys in the order they were put in, so with one duration for all the first key is always the next
    to expire: starting and stopping cost one dict operation, whatever their number.

    :param seconds: how long each may wait.
    :param expired: called with each thing whose time has passed; it is not waiting any more then.
    """

    def __init__(self, clock: IReactorTime, seconds: float, expired: Callable[[T], None]) -> None:
        self._clock = clock
        self._seconds = seconds
        self._expired = expired
        self._deadlines: dict[T, float] = {}
        self._timer: IDelayedCall | None = None

    def start(self, thing: T) -> None:
        """Let ``thing`` wait from now on, also when it was waiting before."""
        deadlines = self._deadlines
        deadlines.pop(thing, None)
        deadlines[thing] = self._clock.seconds() + self._seconds
        if self._timer is None:
            self._timer = self._clock.callLater(self._seconds, self._sweep)

    def stop(self, thing: T) -> None:
        """Let ``thing`` wait no longer; harmless when it was not."""
        self._deadlines.pop(thing, None)

    def _sweep(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        late = []
        for thing, deadline in self._deadlines.items():
            if deadline > now:
                break
            late.append(thing)
        for thing in late:
            del self._deadlines[thing]
        for deadline in self._deadlines.values():
            self._timer = self._clock.callLater(max(deadline - now, 0.001), self._sweep)
            break
        for thing in late:
            self._expired(thing)
