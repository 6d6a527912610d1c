"""Tests of gateway.store.failover."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.errors import Unavailable
from gateway.core.revocations import Revocations
from gateway.interfaces import Verdict
from gateway.store import failover
from gateway.store.failover import StandIn

PASS = Verdict(False, 0, 0.0)


class StandInTests(SynchronousTestCase):
    """What is answered in place of Redis."""

    def make(self, on_failure: str = "local", revocation: str = "known") -> StandIn:
        self.clock = Clock()
        self.clock.advance(1_000)
        revocations = Revocations()
        revocations.tell("blacklist:revoked", "1", None, 1_000)
        return StandIn(self.clock, 60, on_failure, revocation, revocations)

    def note(self, stand_in: StandIn, bucket: str, hits: int, seconds: float) -> None:
        """Redis has counted."""
        stand_in.seen()[bucket] = hits, int((self.clock.seconds() + seconds) * 1000)

    def test_counts_locally(self) -> None:
        """Each bucket for itself, from one on."""
        stand_in = self.make()
        self.assertEqual(stand_in.answer("t", "a"), Verdict(False, 1, 60.0))
        self.assertEqual(stand_in.answer("t", "a").hits, 2)
        self.assertEqual(stand_in.answer("t", "b").hits, 1)

    def test_counts_on_from_what_redis_counted(self) -> None:
        """With the end of its window, after which it begins anew."""
        stand_in = self.make()
        self.note(stand_in, "a", 50, 20)
        self.clock.advance(5)
        self.assertEqual(stand_in.answer("", "a"), Verdict(False, 51, 15.0))
        self.assertEqual(stand_in.answer("", "a").hits, 52)
        self.clock.advance(15)
        self.assertEqual(stand_in.answer("", "a"), Verdict(False, 1, 60.0))

    def test_the_higher_count_holds(self) -> None:
        """Redis back for a moment does not give anew what was used without it, and what was counted there counts."""
        stand_in = self.make()
        self.note(stand_in, "a", 50, 50)
        self.assertEqual([stand_in.answer("", "a").hits for _ in range(3)], [51, 52, 53])
        self.note(stand_in, "a", 51, 50)
        self.assertEqual(stand_in.answer("", "a").hits, 54)
        self.note(stand_in, "a", 60, 50)
        self.assertEqual(stand_in.answer("", "a").hits, 61)

    def test_what_redis_counted_is_kept_for_its_window(self) -> None:
        """A window later it is still there if it has not ended, two windows later it is forgotten."""
        stand_in = self.make()
        self.note(stand_in, "first", 1, 60)
        self.clock.advance(59)
        self.note(stand_in, "a", 50, 60)
        self.clock.advance(2)
        self.assertEqual(stand_in.seen(), {})
        self.assertEqual(stand_in.answer("", "a").hits, 51)
        self.clock.advance(60)
        stand_in.seen()
        self.assertEqual(stand_in._seen | stand_in._seen_before, {})

    def test_what_redis_counted_is_bounded(self) -> None:
        """The older half goes."""
        self.patch(failover, "SEEN", 2)
        stand_in = self.make()
        for name in "abcde":
            self.note(stand_in, name, 50, 60)
        self.assertEqual([stand_in.answer("", name).hits for name in "abcde"], [1, 1, 51, 51, 51])

    def test_open_lets_pass(self) -> None:
        """Nobody is counted."""
        stand_in = self.make("open")
        self.assertEqual([stand_in.answer("t", "a") for _ in range(3)], [PASS] * 3)

    def test_closed_refuses(self) -> None:
        """Who would be counted is refused with 503; a question about a token alone is not."""
        stand_in = self.make("closed")
        self.assertRaises(Unavailable, stand_in.answer, "", "a")
        self.assertEqual(stand_in.answer("t", ""), PASS)

    def test_known_revocations_hold(self) -> None:
        """A token on the blacklist is refused and not counted; others pass."""
        stand_in = self.make()
        self.assertEqual(stand_in.answer("revoked", "a"), Verdict(True, 0, 0.0))
        self.assertEqual(stand_in.answer("other", "a"), Verdict(False, 1, 60.0))

    def test_revocation_closed_refuses_tokens(self) -> None:
        """No token can be vouched for; guests are counted on."""
        stand_in = self.make("local", "closed")
        self.assertRaises(Unavailable, stand_in.answer, "t", "a")
        self.assertEqual(stand_in.answer("", "a").hits, 1)

    def test_revocation_open_lets_known_ones_pass(self) -> None:
        """Even a token known to be revoked passes."""
        self.assertEqual(self.make("local", "open").answer("revoked", "a"), Verdict(False, 1, 60.0))
