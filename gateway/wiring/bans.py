"""What keeps abusive clients out: strikes, bans, and the end of the connections that banned clients have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall

from gateway.config import Settings
from gateway.core.addresses import Networks
from gateway.core.bans import BanList, Weights
from gateway.core.errors import Banned
from gateway.core.frames import Ending
from gateway.guards.bans import BanGuard
from gateway.http.request import Request
from gateway.http.site import Site
from gateway.interfaces import IRecords
from gateway.resources.bridges import Bridges
from gateway.store.bans import Bans
from gateway.store.memory_records import MemoryRecords
from gateway.store.strikes import Rules, Strikes
from gateway.telemetry.metrics import Metrics

EVICTION: Final = 0.2
"""Seconds in which bans gather before all connections are looked at, so that many bans cost one look."""
_LOCAL: Final = 10_000


class Banning:
    """The bans of ``[bans]``: who makes them, and where they hold.

    :ivar guard: the first guard of every path.
    :ivar turns_away: asked about each new connection; None where banned clients are to get an answer.
    """

    def __init__(self, settings: Settings, reactor: Any, records: IRecords) -> None:
        of = settings.bans
        exempt = Networks([*of.allow, *settings.server.trusted_proxies])
        banned = BanList(exempt, of.ipv6_prefix)
        self._reactor = reactor
        self._bans = bans = Bans(records, reactor, banned)
        local = MemoryRecords(reactor, _LOCAL)
        # In memory what anybody can make many of has a place of its own: it must not push out what matters.
        counters = local if settings.redis.url == "memory:" else records
        rules = Rules(of.threshold, of.window, of.time, of.max_time)
        weights = Weights(of.weights)
        self._strikes = Strikes(counters, local, bans, reactor, weights, rules, exempt, of.ipv6_prefix)
        self.guard = BanGuard(banned)
        self.turns_away: Callable[[str], bool] | None = bans.turns_away if of.answer == "close" else None
        self.record: Callable[[Request], None] = self._strikes.record if of.threshold else lambda request: None
        self._evict_call: IDelayedCall | None = None

    def join(self, site: Site, bridges: Bridges, metrics: Metrics) -> None:
        """Let bans hold for the connections of ``site`` and ``bridges``, too, and tell ``metrics`` of them."""
        bans = self._bans
        self._site, self._bridges = site, bridges
        bans.listen(self._banned)
        metrics.gauge("bans", "Addresses and networks that are banned.", lambda: len(bans.banned))
        metrics.count("bans_made", "Bans that this gateway made.", lambda: bans.made)
        metrics.count("banned_connections", "Connections of banned clients that were cut.", lambda: bans.turned_away)

    def close(self) -> None:
        """Let go of timers."""
        self._strikes.close()
        self._bans.close()
        if self._evict_call is not None:
            self._evict_call.cancel()
            self._evict_call = None

    def _banned(self) -> None:
        if self._evict_call is None:
            self._evict_call = self._reactor.callLater(EVICTION, self._evict)

    def _evict(self) -> None:
        self._evict_call = None
        find = self._bans.find
        self._bridges.close_those(lambda request: find(request.remote), Ending(Banned.close_code, Banned.message))
        self._site.evict(find)
