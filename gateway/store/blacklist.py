"""The revoked tokens that this gateway knows of: a bounded replica of the blacklist, for the time without Redis."""

from __future__ import annotations

from math import inf
from typing import Final

from twisted.internet.interfaces import IReactorTime

BLACKLIST: Final = "blacklist:"
"""Before a ``jti``; the key is there as long as the token is revoked, whatever its value."""
REMEMBERED: Final = 100_000
"""Tokens, at most; beyond it the one that was told first is forgotten."""


class Blacklist:
    """Says whether a token is known to be revoked: ``token_id in blacklist``.

    :param clock: tells the time.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._ends: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._ends)

    def __contains__(self, token_id: str) -> bool:
        return token_id in self._ends and self._ends[token_id] > self._clock.seconds()

    def tell(self, key: str, value: str | None, seconds: float | None) -> None:
        """A record below :data:`BLACKLIST` was written, or is gone: a :data:`gateway.interfaces.Watcher`."""
        token_id = key.removeprefix(BLACKLIST)
        if value is None:
            self._ends.pop(token_id, None)
        else:
            self.add(token_id, inf if seconds is None else seconds)

    def add(self, token_id: str, seconds: float = inf) -> None:
        """A token is revoked for so many seconds."""
        self._ends.pop(token_id, None)
        if len(self._ends) >= REMEMBERED:
            del self._ends[next(iter(self._ends))]
        self._ends[token_id] = self._clock.seconds() + seconds
