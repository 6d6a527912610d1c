"""What gateways share, for a single one: counted and remembered in this process."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from gateway.interfaces import IStore, Verdict


@implementer(IStore)
class MemoryStore:
    """Fixed windows that begin with a bucket's first hit, as in Redis.

    :param window: seconds.
    :param size: how many buckets and tokens are kept; beyond it those that end first go.
    """

    def __init__(self, clock: IReactorTime, window: float, size: int = 100_000) -> None:
        self._clock = clock
        self._window = window
        self._size = size
        self._buckets: dict[str, tuple[int, float]] = {}
        self._revoked: dict[str, float] = {}

    def ask(self, token_id: str, bucket: str) -> Deferred[Verdict]:
        return succeed(self.answer(token_id, bucket))

    def answer(self, token_id: str, bucket: str) -> Verdict:
        """As :meth:`ask`, at once."""
        now = self._clock.seconds()
        if token_id and self._revoked.get(token_id, 0.0) > now:
            return Verdict(True, 0, 0.0)
        if not bucket:
            return Verdict(False, 0, 0.0)
        hits, ends = self._buckets.get(bucket, (0, 0.0))
        if ends <= now:
            hits, ends = 0, now + self._window
            self._make_room(self._buckets.pop(bucket, None) is None, now)
        self._buckets[bucket] = (hits + 1, ends)
        return Verdict(False, hits + 1, ends - now)

    def _make_room(self, grows: bool, now: float) -> None:
        """Windows are equally long, so those that began first, the first of the dict, end first."""
        while self._buckets and grows:
            oldest, (_, ends) = next(iter(self._buckets.items()))
            if ends > now and len(self._buckets) < self._size:
                return
            del self._buckets[oldest]

    def revoke(self, token_id: str, seconds: float) -> Deferred[None]:
        now = self._clock.seconds()
        if len(self._revoked) >= self._size:
            self._revoked = {known: ends for known, ends in self._revoked.items() if ends > now}
        self._revoked[token_id] = now + seconds
        return succeed(None)

    def ping(self) -> Deferred[bool]:
        return succeed(True)

    def close(self) -> Deferred[None]:
        return succeed(None)
