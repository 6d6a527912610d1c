"""The stores against a real Valkey or Redis: the same answers, and none counted late when it goes and comes back."""

from __future__ import annotations

import signal
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from gateway.interfaces import IStore
from gateway.store.failover import ResilientStore
from gateway.store.link import NoAnswer
from gateway.store.memory import MemoryStore
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


class RedisStoreAnswersTests(StoreAnswers, TestCase):
    """The answers that every store gives."""

    def setUp(self) -> None:
        self.valkey = Valkey()
        self.addCleanup(self.valkey.stop)

    def of(self, go: Callable[[IStore], Coroutine[Any, Any, None]], window: float) -> Deferred[None]:
        store = RedisStore(clock, f"redis://127.0.0.1:{self.valkey.port}/1", "rl:", window, 2.0)

        async def run() -> None:
            try:
                await until(store.ping)
                await go(store)
            finally:
                await store.close()

        return ensureDeferred(run())

    async def wait(self, seconds: float) -> None:
        await pause(seconds)

    def test_two_gateways_share(self) -> Any:
        """What one store counts and revokes, another one knows."""

        async def go(store: IStore) -> None:
            other = RedisStore(clock, f"redis://127.0.0.1:{self.valkey.port}/1", "rl:", 60, 2.0)
            try:
                await store.ask("", "a")
                self.assertEqual((await other.ask("", "a")).hits, 2)
                await other.revoke("shared", 60)
                self.assertTrue((await store.ask("shared", "a")).revoked)
            finally:
                await other.close()

        return self.of(go, 60)


class RedisAwayTests(TestCase):
    """A server that hangs, and one that is started again without its script."""

    def setUp(self) -> None:
        self.valkey = Valkey()
        self.addCleanup(self.valkey.stop)

    def make(self, timeout: float = 0.2) -> RedisStore:
        store = RedisStore(clock, f"redis://127.0.0.1:{self.valkey.port}/0", "rl:", 60, timeout)
        self.addCleanup(store.close)
        return store

    async def test_a_server_that_hangs(self) -> None:
        """Questions are answered from this process in time, and by the server soon after it goes on."""
        redis = self.make()
        store = ResilientStore(redis, MemoryStore(clock, 60), "local", "known", clock)
        await until(redis.ping)
        self.assertEqual((await store.ask("", "a")).hits, 1)
        self.valkey.signal(signal.SIGSTOP)
        try:
            began = clock.seconds()
            self.assertEqual((await store.ask("", "a")).hits, 1)
            self.assertLess(clock.seconds() - began, 0.2 + 0.1)
            for expected in (2, 3, 4):
                self.assertEqual((await store.ask("", "a")).hits, expected)
            self.assertLess(clock.seconds() - began, 0.2 + 0.15)
        finally:
            self.valkey.signal(signal.SIGCONT)

        async def back() -> bool:
            await store.ask("", "b")
            return not store.degraded

        self.assertLess(await until(lambda: ensureDeferred(back())), 1.0)
        # One before, one that was in flight when the server stopped, this one.
        self.assertEqual((await store.ask("", "a")).hits, 3)

    async def test_a_server_started_again(self) -> None:
        """Nothing is kept for it while it is away, and it gets the script anew."""
        redis = self.make(2.0)
        await until(redis.ping)
        self.assertEqual((await redis.ask("", "a")).hits, 1)
        port = self.valkey.port
        self.valkey.stop()
        for _ in range(20):
            try:
                await redis.ask("", "a")
            except NoAnswer:
                continue
            self.fail("answered by nobody")
        self.addCleanup(Valkey(port).stop)
        self.assertLess(await until(redis.ping), 1.5)
        self.assertEqual((await redis.ask("", "a")).hits, 1)
