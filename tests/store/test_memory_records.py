"""Tests of gateway.store.memory_records."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.interfaces import IRecords
from gateway.store.memory_records import MemoryRecords


class MemoryRecordsTests(SynchronousTestCase):
    """Tests of MemoryRecords."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.records = MemoryRecords(self.clock, size=4)
        self.told: list[tuple[str, str | None, float | None]] = []

    def watch(self, prefix: str) -> None:
        self.records.watch(prefix, lambda *record: self.told.append(record))

    def test_interface(self) -> None:
        """It is what the interface says."""
        verifyObject(IRecords, self.records)

    def test_written(self) -> None:
        """A record is there until it is deleted."""
        self.records.put("ban:a", "x")
        self.assertEqual(self.successResultOf(self.records.get("ban:a")), "x")
        self.assertTrue(self.successResultOf(self.records.delete("ban:a")))
        self.assertIsNone(self.successResultOf(self.records.get("ban:a")))
        self.assertFalse(self.successResultOf(self.records.delete("ban:a")))

    def test_ends(self) -> None:
        """A record with a time to live is gone after it."""
        self.records.put("ban:a", "x", 5)
        self.clock.advance(4.9)
        self.assertEqual(self.successResultOf(self.records.get("ban:a")), "x")
        self.clock.advance(0.1)
        self.assertIsNone(self.successResultOf(self.records.get("ban:a")))

    def test_extended(self) -> None:
        """A record is written over only when it would end sooner."""
        extend, get = self.records.extend, self.records.get
        for seconds, written in ((5, True), (4, False), (6, True), (None, True), (7, False), (None, True)):
            value = str(seconds)
            self.assertIs(self.successResultOf(extend("ban:a", value, seconds)), written, seconds)
            self.assertEqual(self.successResultOf(get("ban:a")) == value, written, seconds)

    def test_watched(self) -> None:
        """A watcher hears of its prefix alone: what is there, what is written and what is deleted."""
        self.records.put("ban:a", "x", 5)
        self.records.put("other:b", "y")
        self.records.put("ban:gone", "x", 0)
        self.clock.advance(1)
        self.watch("ban:")
        self.records.put("ban:c", "z")
        self.records.put("other:d", "z")
        self.records.delete("ban:a")
        self.assertEqual(self.told, [("ban:a", "x", 4.0), ("ban:c", "z", None), ("ban:a", None, None)])

    def test_counter(self) -> None:
        """A counter ends when it has lasted, however often it is added to."""
        self.watch("strikes:")
        add = self.records.add
        self.assertEqual(self.successResultOf(add("strikes:a", 2, 10)), 2)
        self.clock.advance(6)
        self.assertEqual(self.successResultOf(add("strikes:a", 3, 10)), 5)
        self.clock.advance(4)
        self.assertEqual(self.successResultOf(add("strikes:a", 1, 10)), 1)
        self.assertEqual(self.told, [("strikes:a", "2", 10), ("strikes:a", "5", 4), ("strikes:a", "1", 10)])

    def test_bounded(self) -> None:
        """What was written first goes when there is no more room, and is told as gone."""
        self.watch("a")
        for key in "abcde":
            self.records.put(key, key)
        self.assertIsNone(self.successResultOf(self.records.get("a")))
        self.assertEqual(self.successResultOf(self.records.get("e")), "e")
        self.assertEqual(self.told, [("a", "a", None), ("a", None, None)])
