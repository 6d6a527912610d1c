"""Who is banned, on this gateway and all the others: what one of them writes down the others soon know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from gateway.core.bans import Ban, BanList
from gateway.http.seldom import Seldom
from gateway.interfaces import IRecords

BANS: Final = "ban:"
"""Before the key of each ban's record."""
SWEEP: Final = 30.0
"""Seconds between two looks at which bans have ended, while there are any."""
LOGGED: Final = 10
"""Bans that are told one by one in a second; of more only their number is, with the next one."""


class Bans:
    """The bans in force, as the records and this gateway itself make them.

    :param banned: those that are known.

    :ivar made: bans that this gateway made.
    :ivar turned_away: connections that were refused.
    """

    _log = Logger()

    def __init__(self, records: IRecords, clock: IReactorTime, banned: BanList) -> None:
        self.banned = banned
        self.made = self.turned_away = 0
        self._records = records
        self._clock = clock
        self._listeners: list[Callable[[], None]] = []
        self._sweep_call: IDelayedCall | None = None
        self._logged = Seldom(clock, most=LOGGED)
        records.watch(BANS, self._told)

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` whenever somebody was banned."""
        self._listeners.append(listener)

    def find(self, address: str) -> Ban | None:
        """The ban that keeps an address out."""
        return self.banned.find(address, self._clock.seconds())

    def turns_away(self, address: str) -> bool:
        """Whether a connection from ``address`` is refused; counts those that are."""
        if self.find(address) is None:
            return False
        self.turned_away += 1
        return True

    def impose(self, prefix: str, seconds: float, why: str, times: int) -> None:
        """Ban ``prefix`` here at once, and everywhere if the records can be reached.

        :param times: how many bans there were lately, this one included.
        """
        now = self._clock.seconds()
        ban = Ban(now, now + seconds, why, times)
        self._put(prefix, ban)
        self.made += 1
        self._tell(prefix, seconds, ban)
        self._records.put(BANS + prefix, ban.dump(), seconds).addErrback(self._kept, prefix)

    def close(self) -> None:
        """Let go of the timer."""
        if self._sweep_call is not None:
            self._sweep_call.cancel()
            self._sweep_call = None

    def _told(self, key: str, value: str | None, left: float | None) -> None:
        prefix = key.removeprefix(BANS)
        try:
            if value is None:
                self.banned.remove(prefix)
            else:
                self._put(prefix, Ban.load(value, self._clock.seconds(), left))
        except ValueError:
            self._log.warn("The record {key} bans nobody: its name is neither an address nor a network", key=key[:100])

    def _put(self, prefix: str, ban: Ban) -> None:
        self.banned.put(prefix, ban)
        if self._sweep_call is None:
            self._sweep_call = self._clock.callLater(SWEEP, self._sweep)
        for listener in self._listeners:
            listener()

    def _sweep(self) -> None:
        self._sweep_call = None
        self.banned.sweep(self._clock.seconds())
        if len(self.banned):
            self._sweep_call = self._clock.callLater(SWEEP, self._sweep)

    def _tell(self, prefix: str, seconds: float, ban: Ban) -> None:
        silent = self._logged.due()
        if silent:
            self._log.warn("Banned {count} more", count=silent)
        if silent is not None:
            text = "Banned {prefix} for {seconds:.0f} s, the {times}. time: {why}"
            self._log.warn(text, prefix=prefix, seconds=seconds, times=ban.times, why=ban.why)

    def _kept(self, failure: Failure, prefix: str) -> Any:
        self._log.warn("The ban of {prefix} holds here only: {why}", prefix=prefix, why=failure.getErrorMessage())
