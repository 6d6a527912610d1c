"""Several Redis servers as one: each key is on the server that the ring names, each server is away for itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred, DeferredList, gatherResults, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway.core.revocations import BLACKLIST, Revocations
from gateway.core.ring import Ring
from gateway.interfaces import REVOKED, IRecords, IStore, Verdict, Watcher


@implementer(IStore)
class SpreadStore:
    """Asks each server about its own keys.

    Tokens that are known to be revoked are refused without a question: others may write that to any of the servers.

    :param ring: where keys belong.
    :param stores: of the servers, in the ring's order.
    :param prefix: goes before a bucket's name to make its key.
    :param clock: tells the time.
    """

    def __init__(
        self, ring: Ring, stores: Sequence[IStore], prefix: str, revocations: Revocations, clock: IReactorTime
    ) -> None:
        self._ring = ring
        self._stores = stores
        self._prefix = prefix
        self._revocations = revocations
        self._clock = clock

    @property
    def degraded(self) -> bool:
        """Whether one of them is."""
        return any(store.degraded for store in self._stores)

    def ask(self, token_id: str, bucket: str) -> Deferred[Verdict]:
        """See :meth:`IStore.ask`; a revoked token may be counted where its server is not the bucket's."""
        if not token_id:
            return self._of(self._prefix + bucket).ask("", bucket)
        if self._revocations.blacklisted(token_id, self._clock.seconds()):
            return succeed(REVOKED)
        knows = self._of(BLACKLIST + token_id)
        counts = self._of(self._prefix + bucket) if bucket else knows
        if knows is counts:
            return knows.ask(token_id, bucket)
        both = gatherResults([knows.ask(token_id, ""), counts.ask("", bucket)], consumeErrors=True)
        return both.addCallbacks(_joined, _first)

    def _of(self, key: str) -> IStore:
        return self._stores[self._ring.server(key)]

    def ping(self) -> Deferred[bool]:
        """Whether all of them answer."""
        return gatherResults([store.ping() for store in self._stores]).addCallback(all)

    def close(self) -> Deferred[None]:
        """Close them all."""
        return DeferredList([store.close() for store in self._stores]).addCallback(lambda _: None)


def _joined(verdicts: list[Verdict]) -> Verdict:
    of_token, of_bucket = verdicts
    return of_token if of_token.revoked else of_bucket


def _first(failure: Failure) -> Failure:
    """What the first of several failed with."""
    return cast(Failure, cast(Any, failure.value).subFailure)


@implementer(IRecords)
class SpreadRecords:
    """Reads and writes each record where it belongs, and watches everywhere: others may write to any server.

    :param ring: where keys belong.
    :param records: of the servers, in the ring's order.
    """

    def __init__(self, ring: Ring, records: Sequence[IRecords]) -> None:
        self._ring = ring
        self._records = records

    @property
    def loaded(self) -> bool:
        """Whether all of them are."""
        return all(records.loaded for records in self._records)

    @property
    def trouble(self) -> str:
        """What keeps each of them that has trouble."""
        return "; ".join(records.trouble for records in self._records if records.trouble)

    def watch(self, prefix: str, watcher: Watcher) -> None:
        """See :meth:`IRecords.watch`; a record that two servers have is told as gone when the first of them has not."""
        for records in self._records:
            records.watch(prefix, watcher)

    def _of(self, key: str) -> IRecords:
        return self._records[self._ring.server(key)]

    def get(self, key: str) -> Deferred[str | None]:
        """See :meth:`IRecords.get`."""
        return self._of(key).get(key)

    def put(self, key: str, value: str, seconds: float | None = None) -> Deferred[None]:
        """See :meth:`IRecords.put`."""
        return self._of(key).put(key, value, seconds)

    def extend(self, key: str, value: str, seconds: float | None = None) -> Deferred[bool]:
        """See :meth:`IRecords.extend`."""
        return self._of(key).extend(key, value, seconds)

    def delete(self, key: str) -> Deferred[bool]:
        """See :meth:`IRecords.delete`: wherever it is."""
        deleted = gatherResults([records.delete(key) for records in self._records], consumeErrors=True)
        return deleted.addCallbacks(any, _first)

    def add(self, key: str, amount: int, seconds: float) -> Deferred[int]:
        """See :meth:`IRecords.add`."""
        return self._of(key).add(key, amount, seconds)

    def close(self) -> Deferred[None]:
        """Close them all."""
        return DeferredList([records.close() for records in self._records]).addCallback(lambda _: None)
