"""The store against a real Valkey or Redis: the same answers as any other store gives."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from gateway.core.revocations import Revocations
from gateway.interfaces import IStore
from gateway.store.address import Address
from gateway.store.failover import StandIn
from gateway.store.redis import RedisStore
from tests.integration.valkey import Valkey
from tests.store.answers import StoreAnswers

clock: Any = reactor


async def pause(seconds: float) -> None:
    """Let real time pass."""
    await deferLater(clock, seconds)


async def until(condition: Callable[[], Deferred[bool]], seconds: float = 5.0) -> float:
    """Wait until ``condition`` holds; returns the seconds that took."""
    began: float = clock.seconds()
    while not await condition():
        if clock.seconds() - began > seconds:
            raise AssertionError(f"not within {seconds} s")
        await pause(0.01)
    return float(clock.seconds() - began)


def make_store(
    url: str,
    window: float = 60,
    timeout: float = 2.0,
    endpoint: Any = None,
    revocations: Revocations | None = None,
) -> RedisStore:
    """A store that counts here when Redis is away."""
    stand_in = StandIn(clock, window, "local", "known", revocations or Revocations())
    return RedisStore(clock, Address.parse(url), "rl:", window, timeout, stand_in, endpoint)


class RedisStoreAnswersTests(StoreAnswers, TestCase):
    """The answers that every store gives."""

    def setUp(self) -> None:
        self.valkey = Valkey()
        self.addCleanup(self.valkey.stop)

    def of(self, go: Callable[[IStore], Coroutine[Any, Any, None]], window: float) -> Deferred[None]:
        store = self.store = make_store(f"redis://127.0.0.1:{self.valkey.port}/1", window)

        async def run() -> None:
            try:
                await until(store.ping)
                await go(store)
            finally:
                await store.close()

        return ensureDeferred(run())

    async def revoke(self, name: str, seconds: float) -> None:
        key = f"blacklist:{name}".encode("utf-8", "surrogatepass")
        await self.store._link.execute_command("SET", key, b"1", "PX", int(seconds * 1000))

    async def wait(self, seconds: float) -> None:
        await pause(seconds)

    def test_two_gateways_share(self) -> Any:
        """What one store counts, another one knows."""

        async def go(store: IStore) -> None:
            other = make_store(f"redis://127.0.0.1:{self.valkey.port}/1", 60)
            try:
                await store.ask("", "a")
                self.assertEqual((await other.ask("", "a")).hits, 2)
            finally:
                await other.close()

        return self.of(go, 60)
