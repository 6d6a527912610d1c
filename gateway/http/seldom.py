"""What strangers can cause any number of times, and the log should tell of only now and then."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime


class Seldom:
    """Says when to tell of something again.

    :param seconds: how long a period is; the first begins when it first happens.
    :param most: times in a period that are told.
    """

    def __init__(self, clock: IReactorTime, seconds: float = 1.0, most: int = 1) -> None:
        self._clock = clock
        self._seconds = seconds
        self._most = most
        self._next = float("-inf")
        self._told = self._silent = 0

    def due(self) -> int | None:
        """It has happened: how many times it did since it was last told of, or None when it is too early to tell."""
        now = self._clock.seconds()
        if now >= self._next:
            self._next = now + self._seconds
            self._told = 0
        if self._told >= self._most:
            self._silent += 1
            return None
        self._told += 1
        silent, self._silent = self._silent, 0
        return silent
