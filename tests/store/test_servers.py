"""Tests of gateway.store.servers."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.core.errors import Unavailable
from gateway.core.revocations import Revocations
from gateway.core.ring import Ring
from gateway.interfaces import IRecords, IStore, Verdict
from gateway.store.link import NoAnswer
from gateway.store.memory import MemoryStore
from gateway.store.memory_records import MemoryRecords
from gateway.store.servers import SpreadRecords, SpreadStore

RING = Ring(["one", "two"])


def name_on(server: int, prefix: str) -> str:
    """A name that belongs there when ``prefix`` is before it."""
    return next(name for name in map(str, range(1_000)) if RING.server(prefix + name) == server)


class SpreadStoreTests(SynchronousTestCase):
    """Questions to two servers."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000)
        self.revocations = Revocations()
        self.on_servers = [Revocations(), Revocations()]
        self.servers: list[Any] = [MemoryStore(self.clock, 60, revocations=own) for own in self.on_servers]
        self.store = SpreadStore(RING, self.servers, "rl:", self.revocations, self.clock)
        self.buckets = [name_on(server, "rl:") for server in (0, 1)]
        self.tokens = [name_on(server, "blacklist:") for server in (0, 1)]

    def ask(self, token_id: str, bucket: str) -> Verdict:
        return self.successResultOf(self.store.ask(token_id, bucket))

    def away(self, server: int) -> None:
        """What its policy refuses is refused there."""
        self.patch(self.servers[server], "ask", lambda token_id, bucket: fail(Unavailable()))

    def test_is_a_store(self) -> None:
        """It provides the interface."""
        verifyObject(IStore, self.store)

    def test_each_bucket_has_its_server(self) -> None:
        """It is counted there and nowhere else."""
        for server in (0, 1):
            self.ask("", self.buckets[server])
            self.assertEqual([len(each) for each in self.servers], [1, server])

    def test_a_question_of_two_servers(self) -> None:
        """The token is asked about where it belongs, the client counted where that does; both hold."""
        for token in (0, 1):
            for bucket in (0, 1):
                self.assertEqual(self.ask(self.tokens[token], self.buckets[bucket]).hits, token + 1)
                self.assertFalse(self.ask(self.tokens[token], "").revoked)
        self.on_servers[1].tell(f"blacklist:{self.tokens[1]}", "1", None, 1_000)
        self.assertTrue(self.ask(self.tokens[1], self.buckets[0]).revoked)
        self.assertTrue(self.ask(self.tokens[1], self.buckets[1]).revoked)

    def test_revoked_on_any_server(self) -> None:
        """A token on the blacklist is refused without a question."""
        self.revocations.tell(f"blacklist:{self.tokens[0]}", "1", None, 1_000)
        self.away(0)
        self.away(1)
        self.assertTrue(self.ask(self.tokens[0], self.buckets[1]).revoked)

    def test_one_away(self) -> None:
        """Its keys alone are affected."""
        self.away(1)
        self.assertEqual(self.ask(self.tokens[0], self.buckets[0]).hits, 1)
        self.failureResultOf(self.store.ask(self.tokens[1], self.buckets[0]), Unavailable)
        self.failureResultOf(self.store.ask(self.tokens[0], self.buckets[1]), Unavailable)
        self.assertFalse(self.store.degraded)
        self.servers[1].degraded = True
        self.assertTrue(self.store.degraded)

    def test_pings_and_closes_all(self) -> None:
        """One that does not answer is enough to say so; none stays open."""
        self.assertTrue(self.successResultOf(self.store.ping()))
        self.ask("", self.buckets[0])
        self.patch(self.servers[1], "ping", lambda: Deferred.fromCoroutine(self.no()))
        self.assertFalse(self.successResultOf(self.store.ping()))
        self.successResultOf(self.store.close())
        self.assertEqual(len(self.servers[0]), 0)

    async def no(self) -> bool:
        return False


class SpreadRecordsTests(SynchronousTestCase):
    """Records on two servers."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.servers: list[Any] = [MemoryRecords(self.clock), MemoryRecords(self.clock)]
        self.records = SpreadRecords(RING, self.servers)
        self.keys = [name_on(server, "") for server in (0, 1)]

    def test_provides_its_interface(self) -> None:
        """All of it."""
        verifyObject(IRecords, self.records)

    def test_each_record_has_its_server(self) -> None:
        """It is written, read and counted there."""
        for server in (0, 1):
            self.successResultOf(self.records.put(self.keys[server], "1"))
            self.assertEqual(self.successResultOf(self.servers[server].get(self.keys[server])), "1")
            self.assertIsNone(self.successResultOf(self.servers[1 - server].get(self.keys[server])))
            self.assertEqual(self.successResultOf(self.records.add(self.keys[server], 2, 60)), 3)
            self.assertTrue(self.successResultOf(self.records.extend(self.keys[server], "3")))
            self.assertEqual(self.successResultOf(self.records.get(self.keys[server])), "3")

    def test_trouble(self) -> None:
        """That of each server that has some."""
        self.assertEqual(self.records.trouble, "")
        self.servers[0].trouble, self.servers[1].trouble = "a: refused", "b: no such host"
        self.assertEqual(self.records.trouble, "a: refused; b: no such host")

    def test_deletes_everywhere(self) -> None:
        """Wherever others wrote it; a server that is away is told of."""
        self.servers[0].put(self.keys[1], "1")
        self.assertTrue(self.successResultOf(self.records.delete(self.keys[1])))
        self.assertFalse(self.successResultOf(self.records.delete(self.keys[1])))
        self.patch(self.servers[0], "delete", lambda key: fail(NoAnswer()))
        self.failureResultOf(self.records.delete(self.keys[1]), NoAnswer)

    def test_watches_all(self) -> None:
        """Records of every server are told, and all must have been."""
        told: list[str] = []
        self.records.watch("", lambda key, value, seconds: told.append(key))
        for server in (0, 1):
            self.servers[server].put(self.keys[0], "1")
        self.assertEqual(told, [self.keys[0]] * 2)
        self.assertTrue(self.records.loaded)
        self.servers[1].loaded = False
        self.assertFalse(self.records.loaded)

    def test_closes_all(self) -> None:
        """None stays open."""
        self.servers[1].put("a", "1")
        self.successResultOf(self.records.close())
        self.assertIsNone(self.successResultOf(self.servers[1].get("a")))
