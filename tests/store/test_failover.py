"""Tests of gateway.store.failover."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from gateway.core.errors import Unavailable
from gateway.interfaces import IStore, Verdict
from gateway.store import failover
from gateway.store.failover import PAUSE, ResilientStore
from gateway.store.memory import MemoryStore

PASS = Verdict(False, 0, 0.0)


class Lost(Exception):
    """What the primary fails with."""


@implementer(IStore)
class Primary:
    """A store that answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[Deferred[Verdict]] = []
        self.closed = False

    def ask(self, token_id: str, bucket: str) -> Deferred[Verdict]:
        self.asked.append(Deferred())
        return self.asked[-1]

    def revoke(self, token_id: str, seconds: float) -> Deferred[None]:
        return fail(Lost())

    def ping(self) -> Deferred[bool]:
        return succeed(False)

    def close(self) -> Deferred[None]:
        self.closed = True
        return succeed(None)


class ResilientStoreTests(SynchronousTestCase):
    """The store in front, while the primary fails and when it is back."""

    def make(self, on_failure: str = "local", revocation: str = "known") -> ResilientStore:
        self.clock = Clock()
        self.primary = Primary()
        return ResilientStore(self.primary, MemoryStore(self.clock, 60), on_failure, revocation, self.clock)

    def failed(self, store: ResilientStore) -> None:
        """Let one question fail."""
        answer = store.ask("", "")
        self.primary.asked.pop().errback(Lost())
        self.successResultOf(answer)

    def test_is_a_store(self) -> None:
        """It provides the interface; ping and close are the primary's."""
        store = self.make()
        verifyObject(IStore, store)
        self.assertFalse(self.successResultOf(store.ping()))
        self.successResultOf(store.close())
        self.assertTrue(self.primary.closed)

    def test_passes_answers_on(self) -> None:
        """While the primary answers, its answers hold."""
        store = self.make()
        answer = store.ask("t", "a")
        self.primary.asked[0].callback(Verdict(False, 7, 3.0))
        self.assertEqual(self.successResultOf(answer), Verdict(False, 7, 3.0))
        self.assertFalse(store.degraded)

    def test_counts_locally(self) -> None:
        """The question that failed is counted here, and so are those that follow without being asked."""
        store = self.make()
        answer = store.ask("t", "a")
        self.primary.asked[0].errback(Lost())
        self.assertEqual(self.successResultOf(answer), Verdict(False, 1, 60.0))
        self.assertTrue(store.degraded)
        self.assertEqual(self.successResultOf(store.ask("t", "a")).hits, 2)
        self.assertEqual(len(self.primary.asked), 1)

    def test_asks_one_at_a_time_until_it_is_back(self) -> None:
        """After the pause one question goes to the primary, and the others do not wait; its answer ends the pause."""
        store = self.make()
        self.failed(store)
        self.clock.advance(PAUSE)
        probe = store.ask("", "a")
        self.assertNoResult(probe)
        self.clock.advance(10 * PAUSE)
        self.successResultOf(store.ask("", "a"))
        self.assertEqual(len(self.primary.asked), 1)
        self.primary.asked.pop().callback(Verdict(False, 5, 1.0))
        self.assertEqual(self.successResultOf(probe).hits, 5)
        self.assertFalse(store.degraded)
        self.assertNoResult(store.ask("", "a"))

    def test_pauses_again_when_it_is_not_back(self) -> None:
        """A failed probe is answered from here, and begins another pause."""
        store = self.make()
        self.failed(store)
        self.clock.advance(PAUSE)
        self.failed(store)
        self.successResultOf(store.ask("", "a"))
        self.clock.advance(PAUSE)
        self.assertNoResult(store.ask("", "a"))

    def test_a_cancelled_question_is_no_failure(self) -> None:
        """Whoever gives up asking says nothing about the primary; a probe that is cancelled makes room for another."""
        store = self.make()
        answer = store.ask("", "a")
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.assertFalse(store.degraded)
        self.failed(store)
        self.clock.advance(PAUSE)
        probe = store.ask("", "a")
        probe.cancel()
        self.failureResultOf(probe, CancelledError)
        self.assertNoResult(store.ask("", "a"))

    def test_open_lets_pass(self) -> None:
        """Nobody is counted."""
        store = self.make("open")
        self.failed(store)
        for _ in range(3):
            self.assertEqual(self.successResultOf(store.ask("t", "a")), PASS)

    def test_closed_refuses(self) -> None:
        """Who would be counted is refused with 503; a question about a token alone is not."""
        store = self.make("closed")
        self.failed(store)
        self.failureResultOf(store.ask("", "a"), Unavailable)
        self.assertEqual(self.successResultOf(store.ask("t", "")), PASS)

    def test_known_revocations_hold(self) -> None:
        """A token that was seen or made revoked stays so, and is not counted; others pass."""
        store = self.make()
        seen = store.ask("seen", "a")
        self.primary.asked.pop().callback(Verdict(True, 0, 0.0))
        self.assertTrue(self.successResultOf(seen).revoked)
        self.failureResultOf(store.revoke("made", 60), Lost)
        self.failed(store)
        self.assertEqual(self.successResultOf(store.ask("seen", "a")), Verdict(True, 0, 0.0))
        self.assertTrue(self.successResultOf(store.ask("made", "a")).revoked)
        self.assertEqual(self.successResultOf(store.ask("other", "a")), Verdict(False, 1, 60.0))

    def test_known_revocations_are_bounded(self) -> None:
        """The one seen longest ago is forgotten."""
        self.patch(failover, "REMEMBERED", 2)
        store = self.make()
        for token_id in ("a", "b", "a", "c"):
            self.failureResultOf(store.revoke(token_id, 60), Lost)
        self.failed(store)
        revoked = [self.successResultOf(store.ask(token_id, "")).revoked for token_id in "abc"]
        self.assertEqual(revoked, [True, False, True])

    def test_revocation_closed_refuses_tokens(self) -> None:
        """No token can be vouched for; guests are counted on."""
        store = self.make("local", "closed")
        self.failed(store)
        self.failureResultOf(store.ask("t", "a"), Unavailable)
        self.assertEqual(self.successResultOf(store.ask("", "a")).hits, 1)

    def test_revocation_open_lets_known_ones_pass(self) -> None:
        """Even a token known to be revoked passes."""
        store = self.make("local", "open")
        self.failureResultOf(store.revoke("made", 60), Lost)
        self.failed(store)
        self.assertEqual(self.successResultOf(store.ask("made", "a")), Verdict(False, 1, 60.0))
