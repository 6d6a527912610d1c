"""Tests of gateway.core.revocations."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway.core.revocations import Revocations
from gateway.core.tokens import Claims

NOW = 1_000_000.0


def claims(subject: str = "ann", token_id: str = "id-1", issued_at: float = NOW - 10, key_id: str = "k1") -> Claims:
    """Those of a token that was verified."""
    return Claims(subject, "user", token_id, issued_at, NOW + 60, key_id)


class RevocationsTests(SynchronousTestCase):
    """What records say of tokens."""

    def setUp(self) -> None:
        self.revocations = Revocations()

    def tell(self, key: str, value: str | None = "1", seconds: float | None = None) -> None:
        self.revocations.tell(key, value, seconds, NOW)

    def revoked(self, of: Claims, after: float = 0.0) -> bool:
        return self.revocations.revoked(of, NOW + after)

    def test_nothing(self) -> None:
        """Whoever is not named is not revoked."""
        self.tell("blacklist:id-2")
        self.tell("revoked:user:bob", str(NOW))
        self.tell("revoked:key:k2")
        self.assertFalse(self.revoked(claims()))

    def test_one_token(self) -> None:
        """By its id, whatever the record says; also for those who know nothing else of it."""
        self.tell("blacklist:id-1", "", 60)
        self.assertTrue(self.revoked(claims()))
        told = [("id-1", 59.0), ("id-1", 60.0), ("id-1", 1000.0), ("id-2", 0.0)]
        blacklisted = self.revocations.blacklisted
        self.assertEqual([blacklisted(name, NOW + after) for name, after in told], [True, False, False, False])

    def test_a_user(self) -> None:
        """What was issued before the time that the record says, and not what was issued since."""
        self.tell("revoked:user:ann", str(NOW))
        self.assertEqual([self.revoked(claims(issued_at=NOW + step)) for step in (-0.1, 0, 1)], [True, False, False])

    def test_a_token_that_does_not_say_when_it_was_issued(self) -> None:
        """It counts as issued long ago."""
        self.tell("revoked:user:ann", "1")
        self.assertTrue(self.revoked(claims(issued_at=0.0)))

    def test_a_time_that_cannot_be_read(self) -> None:
        """Somebody wanted the user out: all of theirs is revoked."""
        for value in ("yes", "", "nan", "-inf"):
            self.tell("revoked:user:ann", value)
            self.assertTrue(self.revoked(claims(issued_at=NOW + 1e9)), value)

    def test_an_issuers_key(self) -> None:
        """All that was verified with it."""
        self.tell("revoked:key:k1")
        self.assertEqual((self.revoked(claims()), self.revoked(claims(key_id="k2"))), (True, False))

    def test_no_names(self) -> None:
        """A record without a name does not revoke what has none."""
        for key in ("blacklist:", "revoked:key:", "revoked:user:"):
            self.tell(key)
        self.assertFalse(self.revoked(claims("", "", 0.0, "")))

    def test_an_end(self) -> None:
        """A record counts until its time is over, or it is gone."""
        self.tell("blacklist:id-1", seconds=60)
        self.assertEqual([self.revoked(claims(), after) for after in (59, 60, 1000)], [True, False, False])
        self.tell("revoked:user:ann", str(NOW))
        self.tell("revoked:user:ann", None)
        self.assertFalse(self.revoked(claims(), 60))

    def test_many(self) -> None:
        """No more than so many of a kind are remembered; what is told again is not the oldest."""
        self.revocations = Revocations(size=2)
        for name in ("id-1", "id-2", "id-1", "id-3"):
            self.tell(f"blacklist:{name}")
        self.assertEqual(list(self.revocations.tokens), ["id-1", "id-3"])
