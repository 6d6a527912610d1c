"""What holds when Redis does not answer: requests go on, limits are counted here, known revocations stay refused."""

from __future__ import annotations

from typing import Final

from twisted.internet.interfaces import IReactorTime

from gateway.core.errors import Unavailable
from gateway.core.revocations import Revocations
from gateway.interfaces import NOTHING, REVOKED, Verdict
from gateway.store.memory import MemoryStore

SEEN: Final = 50_000
"""Buckets whose counts are remembered, at least; twice as many at most."""


class StandIn:
    """Answers in place of Redis, by the two policies of the configuration.

    Counting goes on from what Redis counted last: of 60 requests a window, a client that has used 50 has 10 left.
    What is counted here is never told to Redis, so that nothing is counted twice when it is back.

    :param window: seconds that a bucket's window lasts.
    :param on_failure: limits: ``local`` counts in this process, ``open`` lets pass, ``closed`` refuses with 503.
    :param revocation_on_failure: tokens: ``known`` refuses those this process knows to be revoked, ``open`` none,
        ``closed`` all, with 503.
    :param revocations: those this process knows of.
    """

    def __init__(
        self, clock: IReactorTime, window: float, on_failure: str, revocation_on_failure: str, revocations: Revocations
    ) -> None:
        self._clock = clock
        self._window = window
        self._local = MemoryStore(clock, window)
        self._on_failure = on_failure
        self._revocation_on_failure = revocation_on_failure
        self._revocations = revocations
        # What Redis has counted: bucket -> its hits, and its window's end in milliseconds. Two dicts, so that the
        # older half can be forgotten without a look at each.
        self._seen: dict[str, tuple[int, int]] = {}
        self._seen_before: dict[str, tuple[int, int]] = {}
        self._turns_at = 0.0

    def seen(self) -> dict[str, tuple[int, int]]:
        """Where to note what Redis has counted: bucket -> hits, and its window's end in milliseconds of the clock."""
        seen, now = self._seen, self._clock.seconds()
        if now >= self._turns_at or len(seen) >= SEEN:
            # What was noted in the window before has ended.
            self._seen_before, self._seen, self._turns_at = seen, {}, now + self._window
        return self._seen

    def answer(self, token_id: str, bucket: str) -> Verdict:
        """As :meth:`gateway.interfaces.IStore.ask`, at once.

        :raises Unavailable: where a policy is ``closed``.
        """
        if token_id:
            policy = self._revocation_on_failure
            if policy == "closed":
                raise Unavailable
            if policy == "known" and self._revocations.blacklisted(token_id, self._clock.seconds()):
                return REVOKED
        if not bucket or self._on_failure == "open":
            return NOTHING
        if self._on_failure == "closed":
            raise Unavailable
        seen = self._seen.get(bucket) or self._seen_before.get(bucket)
        if seen is not None:
            self._local.learn(bucket, *seen)
        return self._local.answer("", bucket)
