"""Records against a real Valkey or Redis: watched ones are known whoever writes them, and after it was away."""

from __future__ import annotations

import signal
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import succeed
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from gateway.store.address import Address
from gateway.store.link import NoAnswer
from gateway.store.records import RedisRecords
from tests.integration.test_store import until
from tests.integration.valkey import Valkey

clock: Any = reactor


class RedisRecordsTests(TestCase):
    """Two processes' records on one server."""

    def setUp(self) -> None:
        self.valkey = Valkey()
        self.addCleanup(self.stop)
        self.known: dict[str, str] = {}
        self.ours, self.others = self.make(), self.make()
        self.ours.watch("blacklist:", self.tell)

    def stop(self) -> None:
        self.valkey.stop()

    def make(self) -> RedisRecords:
        records = RedisRecords(clock, Address.parse(f"redis://127.0.0.1:{self.valkey.port}/3"), 2.0)
        self.addCleanup(records.close)
        return records

    def tell(self, key: str, value: str | None, seconds: float | None) -> None:
        if value is None:
            self.known.pop(key, None)
        else:
            self.known[key] = value

    async def knows(self, **known: str) -> float:
        """Wait until that and nothing else is known; returns the seconds that took."""
        expected = {f"blacklist:{key}": value for key, value in known.items()}
        return await until(lambda: succeed(self.known == expected))

    async def test_knows_what_others_write(self) -> None:
        """Within milliseconds: written, changed, expired, deleted, flushed; nothing outside of the prefix."""
        await self.others.put("blacklist:before", "1")
        await until(lambda: succeed(self.ours.loaded))
        await self.knows(before="1")
        await self.others.put("blacklist:after", "2", 0.3)
        await self.others.put("other", "3")
        self.assertLess(await self.knows(before="1", after="2"), 0.2)
        await self.knows(before="1")
        self.assertTrue(await self.others.delete("blacklist:before"))
        self.assertLess(await self.knows(), 0.2)
        await self.others.put("blacklist:flushed", "1")
        await self.knows(flushed="1")
        await self.others._link.execute_command("FLUSHALL")
        await self.knows()

    async def test_loads_many(self) -> None:
        """Thousands of records and thousands of changes at once, all of them told."""
        await until(lambda: succeed(self.ours.loaded))
        many = {str(number): "1" for number in range(1_500)}
        for key, value in many.items():
            self.others.put(f"blacklist:{key}", value)
        await self.knows(**many)
        late = self.make()
        told: set[str] = set()
        late.watch("blacklist:", lambda key, value, seconds: told.add(key))
        await until(lambda: succeed(late.loaded))
        self.assertEqual(len(told), len(many))

    async def test_catches_up(self) -> None:
        """What changed while the server hung or was started anew is known soon after."""
        await until(lambda: succeed(self.ours.loaded))
        await self.others.put("blacklist:lost", "1")
        await self.knows(lost="1")
        port = self.valkey.port
        self.valkey.stop()
        await until(lambda: succeed(self.ours._link is None))
        with self.assertRaises(NoAnswer):
            await self.ours.get("blacklist:lost")
        self.assertEqual(self.known, {"blacklist:lost": "1"})
        self.valkey = Valkey(port)
        await self.knows()
        self.valkey.signal(signal.SIGSTOP)
        await deferLater(clock, 0.2)
        self.valkey.signal(signal.SIGCONT)
        await until(lambda: succeed(self.others._link is not None))
        await self.others.put("blacklist:new", "1")
        await self.knows(new="1")

    async def test_counters(self) -> None:
        """Begin at 0, are shared, and end by the clock of their beginning."""
        self.assertEqual(await self.ours.add("n", 2, 0.4), 2)
        await deferLater(clock, 0.2)
        self.assertEqual(await self.others.add("n", 3, 0.4), 5)
        self.assertEqual(await self.ours.get("n"), "5")
        await deferLater(clock, 0.25)
        self.assertIsNone(await self.ours.get("n"))

    async def test_extended(self) -> None:
        """A record is written over only when it would end sooner."""
        for seconds, written in ((60, True), (30, False), (90, True), (None, True), (99, False), (None, True)):
            value = str(seconds)
            self.assertIs(await self.ours.extend("n", value, seconds), written, seconds)
            self.assertEqual(await self.others.get("n") == value, written, seconds)
