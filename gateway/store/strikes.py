"""Refusals, counted against the addresses that earn them; who has too many is banned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from gateway.core.addresses import Networks, bucket
from gateway.core.bans import Weights, ban_time
from gateway.interfaces import IRecords
from gateway.store.bans import Bans

if TYPE_CHECKING:
    from gateway.http.request import Request

STRIKES: Final = "strikes:"
OFFENCES: Final = "offences:"
"""Before the keys of what counts refusals, and bans."""
GATHERED: Final = 0.2
"""Seconds in which refusals are gathered before they are added to the count that all gateways share."""
MOST: Final = 1_000
"""Addresses that refusals are gathered of at a time; those of others go uncounted then."""
MEMORY: Final = 86_400.0
"""Seconds of good conduct after the longest ban until a client's bans are forgotten."""


class Rules(NamedTuple):
    """When a client is banned, and for how long."""

    threshold: int
    """What its refusals weigh together."""
    window: float
    """Seconds in which they are counted."""
    time: float
    """Seconds that the first ban lasts."""
    max_time: float
    """Seconds that a ban lasts at most."""


class Strikes:
    """Counts refusals by client.

    :param records: where they are counted for all gateways.
    :param local: where they are counted while that cannot be reached.
    :param exempt: who is never banned.
    :param ipv6_prefix: bits of an IPv6 address that stand for its subscriber.
    """

    _log = Logger()

    def __init__(
        self,
        records: IRecords,
        local: IRecords,
        bans: Bans,
        clock: IReactorTime,
        weights: Weights,
        rules: Rules,
        exempt: Networks,
        ipv6_prefix: int,
    ) -> None:
        self._records = records
        self._local = local
        self._bans = bans
        self._clock = clock
        self._weights = weights
        self._rules = rules
        self._exempt = exempt
        self._ipv6_prefix = ipv6_prefix
        self._gathered: dict[str, int] = {}
        self._timer: IDelayedCall | None = None

    def record(self, request: Request) -> None:
        """Count a request that is over and was not answered well."""
        weight = self._weights.of(request.status, bool(request.upstream) and request.failure is None)
        remote = request.remote
        if not weight or not remote or request.decided_by == "bans" or remote in self._exempt:
            return
        prefix = bucket(remote, self._ipv6_prefix)
        gathered = self._gathered
        if prefix in gathered:
            gathered[prefix] += weight
        elif len(gathered) < MOST:
            gathered[prefix] = weight
            if self._timer is None:
                self._timer = self._clock.callLater(GATHERED, self._share)

    def close(self) -> None:
        """Let go of the timer; what was gathered is forgotten."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _share(self) -> None:
        self._timer = None
        gathered, self._gathered = self._gathered, {}
        for prefix, weight in gathered.items():
            judged = Deferred.fromCoroutine(self._judge(prefix, weight))
            judged.addErrback(lambda failure: self._log.failure("Refusals could not be counted", failure))

    async def _judge(self, prefix: str, weight: int) -> None:
        rules = self._rules
        count = await self._add(STRIKES + prefix, weight, rules.window)
        # Who crosses the threshold bans: of all the gateways that count, exactly one.
        if not count - weight < rules.threshold <= count or self._bans.find(prefix.partition("/")[0]) is not None:
            return
        times = await self._add(OFFENCES + prefix, 1, rules.max_time + MEMORY)
        seconds = ban_time(times, rules.time, rules.max_time)
        self._bans.impose(prefix, seconds, f"refusals that weigh {count} within {rules.window:g} s", times)
        for records in (self._records, self._local):
            records.delete(STRIKES + prefix).addErrback(lambda _: None)  # else it ends with its window

    async def _add(self, key: str, amount: int, seconds: float) -> int:
        try:
            return await self._records.add(key, amount, seconds)
        except Exception:  # it was said where the connection was lost
            return await self._local.add(key, amount, seconds)
