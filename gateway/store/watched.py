"""Who watches which records, and what they were told: what is gone after a time without Redis is known by that."""

from __future__ import annotations

from typing import Final

from twisted.logger import Logger

from gateway.interfaces import Watcher

MOST: Final = 100_000
"""Records kept of a prefix, at most; the one that was told first is forgotten for a new one."""


class Watched:
    """The watchers, and the keys below each prefix that they know.

    :param most: records kept of a prefix; the one that was told first is forgotten for a new one.
    """

    _log = Logger()

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._watchers: list[tuple[str, Watcher]] = []
        self._told: dict[str, dict[str, int]] = {}  # prefix -> key -> the load that found it last
        self._loads = 0
        self._full = False

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Those that are watched, without those below another one."""
        return tuple(self._told)

    def add(self, prefix: str, watcher: Watcher) -> None:
        """One more watcher; what was told to others it has not been told yet."""
        self._watchers.append((prefix, watcher))
        prefixes: list[str] = []
        for each in sorted({each for each, _ in self._watchers}):
            if not prefixes or not each.startswith(prefixes[-1]):
                prefixes.append(each)
        known = [item for told in self._told.values() for item in told.items()]
        self._told = {each: {key: load for key, load in known if key.startswith(each)} for each in prefixes}

    def begin(self) -> None:
        """Everything is told anew from here on."""
        self._loads += 1

    def end(self, prefix: str) -> None:
        """All there is below ``prefix`` was told since :meth:`begin`: anything else is gone."""
        told = self._told[prefix]
        for key in [key for key, load in told.items() if load != self._loads]:
            self._forget(told, key)

    def tell(self, key: str, value: str, seconds: float | None) -> None:
        """There is such a record, for so many seconds."""
        told = self._below(key)
        if told is None:
            return
        if key not in told and len(told) >= self._most:
            if not self._full:
                self._full = True
                self._log.warn("There are more than {bound} records; the oldest are forgotten", bound=self._most)
            self._forget(told, next(iter(told)))
        told[key] = self._loads
        self._tell(key, value, seconds)

    def gone(self, key: str) -> None:
        """There is no such record."""
        told = self._below(key)
        if told is not None and key in told:
            self._forget(told, key)

    def _below(self, key: str) -> dict[str, int] | None:
        for prefix, told in self._told.items():
            if key.startswith(prefix):
                return told
        return None

    def _forget(self, told: dict[str, int], key: str) -> None:
        del told[key]
        self._tell(key, None, None)

    def _tell(self, key: str, value: str | None, seconds: float | None) -> None:
        for prefix, watcher in self._watchers:
            if key.startswith(prefix):
                try:
                    watcher(key, value, seconds)
                except Exception:
                    self._log.failure("A watcher of {prefix} failed", prefix=prefix)
