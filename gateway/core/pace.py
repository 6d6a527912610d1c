"""Whether a peer keeps up: in every period at least so many bytes, neither stopping nor dripping."""

from __future__ import annotations

from collections.abc import Callable


class Pace:
    """Looks at an amount that grows, once a period.

    :param period: seconds.
    :param rate: bytes a second that it has to grow by.
    :param now: seconds, as all times here.
    :param amount: bytes so far.
    """

    __slots__ = ("_amount", "_needed", "_period", "_since")

    def __init__(self, period: float, rate: float, now: float, amount: int) -> None:
        self._period = period
        self._needed = period * rate
        self._since = now
        self._amount = amount

    def kept(self, now: float, amount: Callable[[], int]) -> bool:
        """Whether enough has come in the period that is over; true as long as none is, and then nobody is asked.

        :param amount: tells the bytes so far, which may take a system call.
        """
        if now - self._since < self._period:
            return True
        before, self._amount, self._since = self._amount, amount(), now
        return self._amount - before >= self._needed
