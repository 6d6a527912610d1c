"""Tests of gateway.store.memory."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway.store.memory import MemoryStore


class MemoryStoreTests(SynchronousTestCase):
    """The same answers as Redis gives, for one process."""

    def test_windows_begin_with_the_first_hit(self) -> None:
        """Hits count until the window ends, then anew."""
        clock = Clock()
        store = MemoryStore(clock, 60)
        store.answer("", "a")
        clock.advance(30)
        self.assertEqual(tuple(store.answer("", "a")), (False, 2, 30))
        clock.advance(31)
        self.assertEqual(tuple(store.answer("", "a")), (False, 1, 60))

    def test_memory_is_bounded(self) -> None:
        """The buckets that end first go."""
        store = MemoryStore(Clock(), 60, size=10)
        for number in range(100):
            store.answer("", str(number))
        self.assertLessEqual(len(store._buckets), 11)

    def test_revoked_tokens_are_not_counted(self) -> None:
        """A revoked token is refused until it would have expired."""
        clock = Clock()
        store = MemoryStore(clock, 60)
        self.successResultOf(store.revoke("t", 5))
        self.assertTrue(store.answer("t", "a").revoked)
        clock.advance(6)
        self.assertEqual(store.answer("t", "a").hits, 1)
