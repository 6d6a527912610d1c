"""What clients notice of a real Redis that is killed, hangs, is slow, read-only, started anew or fails over: nothing.

In each test questions go on all the while, each answered in time, and all counted: by Redis, or by this process.
"""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase, TestCase

from gateway.core.revocations import Revocations
from gateway.core.ring import Ring
from gateway.interfaces import IStore, Verdict
from gateway.store.address import Address
from gateway.store.records import RedisRecords
from gateway.store.redis import RedisStore
from gateway.store.sentinel import SentinelEndpoint
from gateway.store.servers import SpreadStore
from gateway.wiring.store import make_revocations
from tests.integration.origin import Origin, talk
from tests.integration.processes import SECRET, free_port, start_gateway, wait_for
from tests.integration.test_store import make_store, pause, until
from tests.integration.valkey import Valkey

clock: Any = reactor

CONFIG = """
redis = {{ url = "redis://127.0.0.1:{redis}/0" }}
jwt = {{ secret = "{secret}" }}
rate_limit = {{ default = 2, roles = {{ user = 60 }} }}
[server]
listen = ["tcp:{port}:interface=127.0.0.1"]
admin = "tcp:{admin}:interface=127.0.0.1"
workers = 0
[[upstreams]]
name = "core"
instances = ["http://127.0.0.1:{origin}"]
[[routes]]
prefix = "/api"
upstream = "core"
"""

TIMEOUT = 0.05
LATEST = 0.1
"""Seconds that the slowest answer may take."""
BACK = 1.0
"""Seconds after which Redis answers again."""


class Load:
    """Questions, one every 5 ms, about a bucket.

    :ivar slowest: seconds that the slowest answer took.
    :ivar verdicts: all of them.
    """

    def __init__(self, store: IStore, bucket: str) -> None:
        self._store = store
        self._bucket = bucket
        self.slowest = 0.0
        self.verdicts: list[Verdict] = []

    async def run(self) -> None:
        """Until it is cancelled; fails as soon as a question does."""
        while True:
            began = clock.seconds()
            self.verdicts.append(await self._store.ask("", self._bucket))
            self.slowest = max(self.slowest, clock.seconds() - began)
            await pause(0.005)


class RedisCase(TestCase):
    """Servers and stores of a test."""

    def server(self, *arguments: Any, **options: Any) -> Valkey:
        server = Valkey(*arguments, **options)
        self.addCleanup(server.stop)
        return server

    async def store(self, url: str, endpoint: Any = None, revocations: Revocations | None = None) -> RedisStore:
        """A store that has connected."""
        store = make_store(url, 60, TIMEOUT, endpoint, revocations)
        self.addCleanup(store.close)
        await until(store.ping)
        return store

    @asynccontextmanager
    async def load(self, store: IStore, bucket: str = "a") -> AsyncIterator[Load]:
        """Questions meanwhile, of which none fails or is late."""
        load = Load(store, bucket)
        running = Deferred.fromCoroutine(load.run())
        failures: list[Any] = []
        running.addErrback(failures.append)
        try:
            await until(lambda: succeed(len(load.verdicts) > 20))
            yield load
            self.assertEqual(failures, [])
        finally:
            running.cancel()
        self.assertLess(load.slowest, LATEST)

    async def away(self, store: IStore) -> None:
        await until(lambda: succeed(store.degraded))

    async def back(self, store: IStore) -> None:
        self.assertLess(await until(lambda: succeed(not store.degraded)), BACK)


def url(server: Valkey, database: int = 0) -> str:
    return f"redis://127.0.0.1:{server.port}/{database}"


class OneServerTests(RedisCase):
    """One Redis."""

    async def test_killed_and_started_anew(self) -> None:
        """Counting goes on where Redis was; the new one, which knows neither script nor counts, begins anew."""
        server = self.server()
        store = await self.store(url(server))
        async with self.load(store) as load:
            before = load.verdicts[-1].hits
            server.stop()
            await self.away(store)
            await until(lambda: succeed(len(load.verdicts) > 60))
            hits = [verdict.hits for verdict in load.verdicts]
            self.assertEqual(hits, list(range(1, len(hits) + 1)))
            self.assertGreater(hits[-1], before)
            self.server(server.port)
            await self.back(store)
            count = len(load.verdicts)
            await until(lambda: succeed(len(load.verdicts) > count + 10))
            self.assertLess(load.verdicts[-1].hits, count)

    async def test_hangs(self) -> None:
        """Only who asked already waits for it, and not for long; nothing is told to it afterwards."""
        server = self.server()
        store = await self.store(url(server))
        async with self.load(store) as load:
            server.signal(signal.SIGSTOP)
            try:
                await self.away(store)
                count = len(load.verdicts)
                load.slowest = 0.0
                await pause(1.5)
                self.assertGreater(len(load.verdicts), count + 100)
                self.assertLess(load.slowest, 0.9 * TIMEOUT)
            finally:
                server.signal(signal.SIGCONT)
            await self.back(store)
            await pause(0.1)
            hits = [verdict.hits for verdict in load.verdicts]
            self.assertLess(hits[-1], count + 60)

    async def test_slow(self) -> None:
        """An answer after the time leaves it away, until answers come in time again."""
        server = self.server()
        store = await self.store(url(server))
        async with self.load(store):
            server.ask("CLIENT", "PAUSE", "300", "ALL")
            await self.away(store)
            await self.back(store)

    async def test_read_only(self) -> None:
        """A server that became a replica is away for counting, and back when it is the master again."""
        master, server = self.server(), self.server()
        store = await self.store(url(server))
        async with self.load(store) as load:
            server.ask("REPLICAOF", "127.0.0.1", str(master.port))
            await self.away(store)
            hits = [verdict.hits for verdict in load.verdicts]
            self.assertEqual(hits, list(range(1, len(hits) + 1)))
            await pause(0.5)
            self.assertTrue(store.degraded)
            server.ask("REPLICAOF", "NO", "ONE")
            await self.back(store)

    async def test_revoked_before_the_outage(self) -> None:
        """Whoever wrote it: a token this process never saw stays refused, others pass."""
        server = self.server()
        records = RedisRecords(clock, Address.parse(url(server)), TIMEOUT)
        self.addCleanup(records.close)
        revocations = make_revocations(clock, records)
        store = await self.store(url(server), revocations=revocations)
        server.ask("SET", "blacklist:early", "1", "EX", "60")
        await until(lambda: succeed("early" in revocations.tokens))
        server.stop()
        await self.away(store)
        self.assertTrue((await store.ask("early", "a")).revoked)
        self.assertFalse((await store.ask("other", "a")).revoked)


class GatewayTests(SynchronousTestCase):
    """A whole gateway."""

    def setUp(self) -> None:
        self.valkey, origin = Valkey(), Origin()
        self.addCleanup(self.valkey.stop)
        self.addCleanup(origin.close)
        port, self.admin = free_port(), free_port()
        config = CONFIG.format(redis=self.valkey.port, secret=SECRET, port=port, admin=self.admin, origin=origin.port)
        self.gateway = start_gateway(config, port)
        self.addCleanup(self.gateway.stop)
        wait_for(lambda: self.ask("/ready")[0] == 200, "it is ready")

    def ask(self, path: str, jti: str = "a") -> tuple[int, float]:
        """The status of the answer, and the seconds it took."""
        claims = {"sub": "ann", "role": "user", "jti": jti, "exp": int(time.time()) + 60}
        head = f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {jwt.encode(claims, SECRET)}\r\n"
        began = time.monotonic()
        answer = talk(self.gateway.port, f"{head}Connection: close\r\n\r\n".encode())
        return int(answer[9:12]), time.monotonic() - began

    def metrics(self) -> bytes:
        return talk(self.admin, b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")

    def steady(self, seconds: float) -> None:
        """Every request is answered in time, within the limit or over it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            status, took = self.ask("/api")
            self.assertIn(status, (200, 429))
            self.assertLess(took, LATEST + 0.1)
            self.statuses.append(status)

    def test_hangs_and_is_killed(self) -> None:
        """Who was within the limit stays so, who was over it stays over it, and the revoked stay out."""
        self.statuses: list[int] = []
        for _ in range(50):
            self.assertEqual(self.ask("/api")[0], 200)
        self.valkey.ask("SET", "blacklist:thief", "1", "EX", "60")
        wait_for(lambda: b"smartgate_blacklist_known 1.0" in self.metrics(), "the gateway knows")
        self.valkey.signal(signal.SIGSTOP)
        self.steady(1.5)
        self.assertEqual(self.statuses.count(200), 10)
        self.assertEqual(self.ask("/api", "thief")[0], 401)
        self.valkey.stop()
        self.steady(0.5)
        self.assertEqual(self.statuses.count(200), 10)
        self.assertEqual(self.ask("/api", "thief")[0], 401)
        self.assertEqual(self.ask("/ready")[0], 200)
        self.assertIn(b'smartgate_redis_degraded{server="127.0.0.1:%d/0"} 1.0' % self.valkey.port, self.metrics())


class SentinelTests(RedisCase):
    """A master, its replica and a Sentinel."""

    def setUp(self) -> None:
        self.master = self.server(0, "--repl-diskless-sync-delay", "0")
        self.replica = self.server(0, "--replicaof", "127.0.0.1", str(self.master.port))
        self.sentinel = self.server(
            sentinel=f"sentinel monitor mymaster 127.0.0.1 {self.master.port} 1\n"
            "sentinel down-after-milliseconds mymaster 300\nsentinel failover-timeout mymaster 3000\n"
        )
        wait_for(lambda: "master_link_status:up" in str(self.replica.ask("INFO", "replication")), "the replica is up")
        wait_for(lambda: "slaves=1" in str(self.sentinel.ask("INFO", "sentinel")), "Sentinel knows the replica")

    def promoted(self) -> Deferred[bool]:
        master = self.sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")
        return succeed(master == ["127.0.0.1", str(self.replica.port)])

    def replicated(self) -> int:
        """The count that the replica knows."""
        return int(str(self.replica.ask("GET", "rl:a") or 0))

    async def fail_over(self) -> None:
        """The master is lost; counting goes on, and on in the replica as soon as that is the master."""
        place = f"sentinel://127.0.0.1:{self.sentinel.port}/mymaster"
        endpoint = SentinelEndpoint(clock, Address.parse(place))
        store = await self.store(place, endpoint)
        async with self.load(store) as load:
            counted = load.verdicts[-1].hits
            await until(lambda: succeed(self.replicated() >= counted))
            self.lose()
            await until(self.promoted, 20)
            took = await until(lambda: succeed(self.replicated() >= load.verdicts[-1].hits))
            self.assertLess(took, BACK)
            self.assertFalse(store.degraded)
            self.assertGreaterEqual(load.verdicts[-1].hits, counted)

    async def test_master_killed(self) -> None:
        """Back within about a second of the promotion."""
        self.lose = self.master.stop
        await self.fail_over()

    async def test_master_hangs(self) -> None:
        """The same when it takes connections but does not answer."""
        self.lose = lambda: self.master.signal(signal.SIGSTOP)
        await self.fail_over()

    async def test_asked_to(self) -> None:
        """An administrator's failover: the old master turns read-only."""

        def ask() -> None:
            self.assertEqual(self.sentinel.ask("SENTINEL", "FAILOVER", "mymaster"), "OK")

        self.lose = ask
        await self.fail_over()


class SeveralServersTests(RedisCase):
    """Two servers that share the keys."""

    async def test_one_killed(self) -> None:
        """Its keys alone are counted here; those of the other one go on being shared."""
        servers = [self.server(), self.server()]
        stores = [await self.store(url(server)) for server in servers]
        ring = Ring([Address.parse(url(server)).name for server in servers])
        store = SpreadStore(ring, stores, "rl:", Revocations(), clock)
        first, second = (
            next(name for name in map(str, range(1_000)) if ring.server(f"rl:{name}") == index) for index in (0, 1)
        )
        async with self.load(store, first) as one, self.load(store, second) as other:
            servers[0].stop()
            await self.away(stores[0])
            count = len(one.verdicts)
            await until(lambda: succeed(len(one.verdicts) > count + 20))
            self.assertFalse(stores[1].degraded)
            for load in (one, other):
                hits = [verdict.hits for verdict in load.verdicts]
                self.assertEqual(hits, list(range(1, len(hits) + 1)))
            # Between two questions: one that is under way may be counted there, and not answered yet.
            await until(lambda: succeed(servers[1].ask("GET", f"rl:{second}") == str(other.verdicts[-1].hits)))
            self.server(servers[0].port)
            await self.back(stores[0])
