"""Whether a peer keeps up: in every period at least so many bytes, neither stopping nor dripping."""

from __future__ import annotations


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

    def kept(self, now: float, amount: int) -> bool:
        """Whether enough has come in the period that is over; true as long as none is."""
        if now - self._since < self._period:
            return True
        grown = amount - self._amount
        self._since, self._amount = now, amount
        return grown >= self._needed
