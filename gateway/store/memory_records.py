"""Records kept in this process: all there is for a single process, and what unit tests use."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from gateway.interfaces import IRecords, Watcher


@implementer(IRecords)
class MemoryRecords:
    """Records in a dict.

    :param clock: tells the time.
    :param size: records kept at most; beyond it the one that was written first is forgotten.
    """

    loaded = True
    trouble = ""

    def __init__(self, clock: IReactorTime, size: int = 100_000) -> None:
        self._clock = clock
        self._size = size
        self._records: dict[str, tuple[str, float | None]] = {}  # key -> value, end
        self._watchers: list[tuple[str, Watcher]] = []

    def watch(self, prefix: str, watcher: Watcher) -> None:
        """See :meth:`IRecords.watch`."""
        self._watchers.append((prefix, watcher))
        for key in tuple(self._records):
            value = self._value(key)
            if key.startswith(prefix) and value is not None:
                watcher(key, value, self._left(key))

    def get(self, key: str) -> Deferred[str | None]:
        """See :meth:`IRecords.get`; the Deferred has fired."""
        return succeed(self._value(key))

    def put(self, key: str, value: str, seconds: float | None = None) -> Deferred[None]:
        """See :meth:`IRecords.put`; the Deferred has fired."""
        self._write(key, value, None if seconds is None else self._clock.seconds() + seconds)
        self._tell(key, value, seconds)
        return succeed(None)

    def extend(self, key: str, value: str, seconds: float | None = None) -> Deferred[bool]:
        """See :meth:`IRecords.extend`; the Deferred has fired."""
        if seconds is not None and self._value(key) is not None:
            left = self._left(key)
            if left is None or left > seconds:
                return succeed(False)
        return self.put(key, value, seconds).addCallback(lambda _: True)

    def delete(self, key: str) -> Deferred[bool]:
        """See :meth:`IRecords.delete`; the Deferred has fired."""
        found = self._value(key) is not None
        if found:
            del self._records[key]
            self._tell(key, None, None)
        return succeed(found)

    def add(self, key: str, amount: int, seconds: float) -> Deferred[int]:
        """See :meth:`IRecords.add`; the Deferred has fired."""
        before = self._value(key)
        end = self._clock.seconds() + seconds if before is None else self._records[key][1]
        total = int(before or 0) + amount
        self._write(key, str(total), end)
        self._tell(key, str(total), self._left(key))
        return succeed(total)

    def close(self) -> Deferred[None]:
        """Forget everything."""
        self._records.clear()
        return succeed(None)

    def _value(self, key: str) -> str | None:
        """What is written under a key, if it has not ended."""
        value, end = self._records.get(key, (None, None))
        if end is not None and end <= self._clock.seconds():
            del self._records[key]
            return None
        return value

    def _left(self, key: str) -> float | None:
        end = self._records[key][1]
        return None if end is None else end - self._clock.seconds()

    def _write(self, key: str, value: str, end: float | None) -> None:
        self._records[key] = value, end
        if len(self._records) > self._size:
            oldest = next(iter(self._records))
            del self._records[oldest]
            self._tell(oldest, None, None)

    def _tell(self, key: str, value: str | None, seconds: float | None) -> None:
        for prefix, watcher in self._watchers:
            if key.startswith(prefix):
                watcher(key, value, seconds)
