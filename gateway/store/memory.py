"""What a store knows, kept in this process: the whole store of a single process, and the stand-in for a lost Redis."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from gateway.core.revocations import Revocations
from gateway.interfaces import NOTHING, REVOKED, IStore, Verdict


@implementer(IStore)
class MemoryStore:
    """Counts in fixed windows, each beginning with the first request of its bucket, and refuses revoked tokens.

    :param clock: tells the time.
    :param window: seconds that a window lasts.
    :param size: buckets kept at most; beyond it the one that ends soonest is forgotten.
    :param revocations: what says which tokens are revoked; None when nobody asks about tokens.
    """

    degraded = False

    def __init__(
        self, clock: IReactorTime, window: float, size: int = 100_000, revocations: Revocations | None = None
    ) -> None:
        self._clock = clock
        self._window = round(window * 1000)
        self._size = size
        # Milliseconds, as in Redis. All windows are equally long: the first bucket is the one that ends first (but for
        # those learned, which may end earlier than their place says).
        self._buckets: dict[str, list[int]] = {}  # bucket -> [hits, end]
        self._revocations = Revocations() if revocations is None else revocations

    def __len__(self) -> int:
        """How many buckets are held."""
        return len(self._buckets)

    def ask(self, token_id: str, bucket: str) -> Deferred[Verdict]:
        """See :meth:`IStore.ask`; the Deferred has fired."""
        return succeed(self.answer(token_id, bucket))

    def answer(self, token_id: str, bucket: str) -> Verdict:
        """As :meth:`ask`, at once."""
        seconds = self._clock.seconds()
        if token_id and self._revocations.blacklisted(token_id, seconds):
            return REVOKED
        if not bucket:
            return NOTHING
        now = int(seconds * 1000)
        counted = self._buckets.get(bucket)
        if counted is None or counted[1] <= now:
            counted = self._begin(bucket, now)
        else:
            counted[0] += 1
        return Verdict(False, counted[0], (counted[1] - now) / 1000)

    def learn(self, bucket: str, hits: int, end: int) -> None:
        """Count a bucket on from what was counted elsewhere, unless as much was counted here.

        :param end: when its window ends, in milliseconds of the clock.
        """
        now = int(self._clock.seconds() * 1000)
        counted = self._buckets.get(bucket)
        if end > now and (counted is None or counted[1] <= now or counted[0] < hits):
            self._begin(bucket, now)[:] = hits, end

    def _begin(self, bucket: str, now: int) -> list[int]:
        buckets = self._buckets
        buckets.pop(bucket, None)
        while buckets:
            oldest = next(iter(buckets))
            if buckets[oldest][1] > now and len(buckets) < self._size:
                break
            del buckets[oldest]
        counted = buckets[bucket] = [1, now + self._window]
        return counted

    def ping(self) -> Deferred[bool]:
        """Memory always answers."""
        return succeed(True)

    def close(self) -> Deferred[None]:
        """Forget all buckets."""
        self._buckets.clear()
        return succeed(None)
