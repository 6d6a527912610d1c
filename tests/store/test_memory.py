"""Tests of gateway.store.memory."""

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.core.revocations import Revocations
from gateway.interfaces import IStore
from gateway.store.memory import MemoryStore
from tests.store.answers import StoreAnswers


class MemoryStoreAnswersTests(StoreAnswers, SynchronousTestCase):
    """The same answers as Redis gives."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_790_000_000.123)
        self.revocations = Revocations()

    def of(self, go: Callable[[MemoryStore], Coroutine[Any, Any, None]], window: float) -> None:
        self.successResultOf(Deferred.fromCoroutine(go(MemoryStore(self.clock, window, revocations=self.revocations))))

    async def revoke(self, name: str, seconds: float) -> None:
        self.revocations.tell(f"blacklist:{name}", "1", seconds, self.clock.seconds())

    async def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)


class MemoryStoreTests(SynchronousTestCase):
    """What is its own: bounds, and forgetting."""

    def test_is_a_store(self) -> None:
        """It provides the interface."""
        verifyObject(IStore, MemoryStore(Clock(), 60))

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

    def test_ended_windows_are_swept(self) -> None:
        """A new bucket lets go of all whose windows have ended."""
        clock = Clock()
        store = MemoryStore(clock, 60)
        for number in range(50):
            store.answer("", str(number))
        clock.advance(30)
        store.answer("", "later")
        clock.advance(31)
        store.answer("", "new")
        self.assertEqual(len(store), 2)

    def test_the_bucket_that_ends_soonest_goes(self) -> None:
        """Where there is no room, the oldest window is forgotten, not the newest."""
        clock = Clock()
        store = MemoryStore(clock, 60, size=2)
        for name in ("first", "second", "third"):
            clock.advance(1)
            store.answer("", name)
        self.assertEqual(store.answer("", "third").hits, 2)
        self.assertEqual(store.answer("", "second").hits, 2)
        self.assertEqual(store.answer("", "first").hits, 1)

    def test_close_forgets(self) -> None:
        """A closed store holds nothing."""
        store = MemoryStore(Clock(), 60)
        store.answer("", "a")
        self.successResultOf(store.close())
        self.assertEqual(len(store), 0)
