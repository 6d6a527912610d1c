"""What gateways share: Redis with its stand-in, one server or several, or this process alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from gateway.config import Settings
from gateway.config.places import split_redis_urls
from gateway.core.revocations import BLACKLIST, KEYS, USERS, Revocations
from gateway.core.ring import Ring
from gateway.interfaces import IRecords, IStore
from gateway.store.address import Address
from gateway.store.failover import StandIn
from gateway.store.memory import MemoryStore
from gateway.store.memory_records import MemoryRecords
from gateway.store.records import RedisRecords
from gateway.store.redis import RedisStore
from gateway.store.sentinel import SentinelEndpoint
from gateway.store.servers import SpreadRecords, SpreadStore
from gateway.store.watched import MOST
from gateway.telemetry.metrics import Metrics


def make_records(settings: Settings, reactor: Any, poller: Any, most: int = MOST) -> IRecords:
    """The records of ``[redis]``, on connections of their own.

    :param most: records of each watched prefix that are known, at most.
    """
    if settings.redis.url == "memory:":
        return MemoryRecords(reactor)
    addresses = _addresses(settings)
    records = [
        RedisRecords(poller, address, settings.redis.timeout, _endpoint(settings, poller, address), most)
        for address in addresses
    ]
    return records[0] if len(records) == 1 else SpreadRecords(_ring(addresses), records)


def make_revocations(reactor: Any, records: IRecords) -> Revocations:
    """The revocations that ``records`` tell of."""
    revocations = Revocations()

    def tell(key: str, value: str | None, seconds: float | None) -> None:
        revocations.tell(key, value, seconds, reactor.seconds())

    for prefix in (BLACKLIST, USERS, KEYS):
        records.watch(prefix, tell)
    return revocations


def make_store(settings: Settings, reactor: Any, poller: Any, metrics: Metrics, revocations: Revocations) -> IStore:
    """The store of ``[redis]``, its numbers told to ``metrics``."""
    of, rate = settings.redis, settings.rate_limit
    if of.url == "memory:":
        return MemoryStore(reactor, rate.window, revocations=revocations)
    stand_in = StandIn(reactor, rate.window, of.on_failure, of.revocation_on_failure, revocations)
    addresses = _addresses(settings)
    stores = [
        RedisStore(
            poller,
            address,
            rate.prefix,
            rate.window,
            of.timeout,
            stand_in,
            _endpoint(settings, poller, address),
            poller.at_end,
        )
        for address in addresses
    ]
    count = metrics.count
    count("redis_round_trips", "Round trips to Redis.", lambda: sum(store.round_trips for store in stores))
    count("redis_questions", "Requests that asked Redis.", lambda: sum(store.asks for store in stores))
    count("redis_errors", "Round trips that failed.", lambda: sum(store.errors for store in stores))
    count("redis_seconds", "Time spent waiting for Redis.", lambda: sum(store.seconds for store in stores))
    metrics.gauges(
        "redis_degraded",
        "Whether a Redis is away, and this process stands in for it.",
        "server",
        lambda: {address.name: float(store.degraded) for address, store in zip(addresses, stores, strict=True)},
    )
    metrics.gauge("blacklist_known", "Revoked tokens that this process knows of.", lambda: len(revocations.tokens))
    return stores[0] if len(stores) == 1 else SpreadStore(_ring(addresses), stores, rate.prefix, revocations, reactor)


def store_check(settings: Settings, store: IStore) -> Callable[[], Deferred[bool | str]]:
    """What says whether the gateway is ready as far as the store goes.

    Without Redis it is, though degraded: it serves. Only where a policy refuses requests then it is not.
    """
    of = settings.redis
    without: bool | str = False if "closed" in (of.on_failure, of.revocation_on_failure) else "degraded"
    return lambda: store.ping().addCallback(lambda answers: answers or without)


def _addresses(settings: Settings) -> list[Address]:
    return [Address.parse(url) for url in split_redis_urls(settings.redis.url)]


def _ring(addresses: list[Address]) -> Ring:
    return Ring([address.name for address in addresses])


def _endpoint(settings: Settings, poller: Any, address: Address) -> SentinelEndpoint | None:
    of = settings.redis
    password = of.sentinel_password.get_secret_value()
    return SentinelEndpoint(poller, address, of.sentinel_user, password) if address.sentinels else None
