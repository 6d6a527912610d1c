"""What gateways share: Redis with its stand-ins, or this process alone."""

from __future__ import annotations

from typing import Any

from gateway.config import Settings
from gateway.interfaces import IRecords, IStore
from gateway.store.failover import ResilientStore
from gateway.store.memory import MemoryStore
from gateway.store.memory_records import MemoryRecords
from gateway.store.records import RedisRecords
from gateway.store.redis import RedisStore
from gateway.telemetry.metrics import Metrics


def make_store(settings: Settings, reactor: Any, poller: Any, metrics: Metrics) -> IStore:
    """The store of ``[redis]``, its numbers told to ``metrics``."""
    local = MemoryStore(reactor, settings.rate_limit.window)
    if settings.redis.url == "memory:":
        return local
    of, rate = settings.redis, settings.rate_limit
    redis = RedisStore(poller, of.url, rate.prefix, rate.window, of.timeout)
    metrics.count("redis_round_trips", "Round trips to Redis.", lambda: redis.round_trips)
    metrics.count("redis_questions", "Requests that asked Redis.", lambda: redis.asks)
    metrics.count("redis_errors", "Round trips that failed.", lambda: redis.errors)
    metrics.count("redis_seconds", "Time spent waiting for Redis.", lambda: redis.seconds)
    return ResilientStore(redis, local, of.on_failure, of.revocation_on_failure, reactor)


def make_records(settings: Settings, reactor: Any, poller: Any) -> IRecords:
    """The records of ``[redis]``, on a connection of their own."""
    of = settings.redis
    return MemoryRecords(reactor) if of.url == "memory:" else RedisRecords(poller, of.url, of.timeout)
