"""Tests of gateway.guards.admit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.core.errors import RateLimited, Unauthorized, Unavailable
from gateway.core.limits import Limits
from gateway.core.revocations import Revocations
from gateway.core.tokens import Claims
from gateway.guards.admit import AdmitGuard
from gateway.interfaces import IGuard
from gateway.store.memory import MemoryStore


class FakeRequest:
    """What the guard looks at."""

    def __init__(self, role: str = "", claims: Claims | None = None, remote: str = "192.0.2.1") -> None:
        self.role = role
        self.claims = claims
        self.remote = remote
        self.answer_fields: list[bytes] = []


class RecordingStore(MemoryStore):
    """Remembers what it was asked."""

    def ask(self, token_id: str, bucket: str) -> Deferred[Any]:
        self.__dict__.setdefault("asked", []).append((token_id, bucket))
        return super().ask(token_id, bucket)


def claims(role: str, token_id: str = "id-1", subject: str = "alice") -> Claims:
    """Those of a verified token."""
    return Claims(subject=subject, role=role, token_id=token_id, issued_at=0.0, expires=1e9)


class AdmitGuardTests(SynchronousTestCase):
    """Revocation and limits, request by request."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.revocations = Revocations()
        self.store = RecordingStore(self.clock, 60, revocations=self.revocations)
        self.limits = Limits(2, {"admin": None, "user": 3}, 60)

    def guard(self, counts: bool = True) -> AdmitGuard:
        return AdmitGuard(self.store, self.limits, counts)

    def outcome(self, guard: AdmitGuard, request: FakeRequest) -> Any:
        """None when the request passed, else the refusal."""
        waiting = guard.check(request)  # type: ignore[arg-type]
        if waiting is None:
            return None
        results: list[Any] = []
        waiting.addBoth(results.append)
        return None if results == [None] else results[0].value

    def asked(self) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = self.store.__dict__.get("asked", [])
        return found

    def test_is_a_guard(self) -> None:
        """It provides the interface."""
        verifyObject(IGuard, self.guard())

    def test_a_users_sequence(self) -> None:
        """The remaining requests count down, then 429 with Retry-After; every answer has the fields exactly once."""
        guard, seen = self.guard(), []
        for _ in range(5):
            request = FakeRequest("user", claims("user"))
            error = self.outcome(guard, request)
            text = b"".join(request.answer_fields)
            self.assertEqual(text.count(b"RateLimit-Remaining:"), 1)
            self.assertIn(b"RateLimit-Policy: 3;w=60\r\nRateLimit-Limit: 3\r\n", text)
            seen.append((int(text.split(b"Remaining: ")[1].split(b"\r")[0]), type(error)))
            self.clock.advance(0.5)
        self.assertEqual(seen, [(2, type(None)), (1, type(None)), (0, type(None)), (0, RateLimited), (0, RateLimited)])
        self.assertEqual(error.fields, (b"Retry-After: 58\r\n",))
        self.assertIn(b"RateLimit-Reset: 58\r\n", text)

    def test_guests_are_counted_by_address(self) -> None:
        """An IPv6 client is its /56, an IPv4 one its address."""
        self.outcome(self.guard(), FakeRequest())
        self.outcome(self.guard(), FakeRequest(remote="2001:db8:0:ff12::1"))
        self.assertEqual(self.asked(), [("", "ip:192.0.2.1"), ("", "ip:2001:db8:0:ff00::/56")])

    def test_users_are_counted_by_subject(self) -> None:
        """Wherever they come from, and apart from guests."""
        self.outcome(self.guard(), FakeRequest("user", claims("user")))
        self.assertEqual(self.asked(), [("id-1", "user:alice")])

    def test_unlimited_roles_are_asked_about_only(self) -> None:
        """No fields, nothing counted; but a revoked token is refused."""
        request = FakeRequest("admin", claims("admin"))
        self.assertIsNone(self.outcome(self.guard(), request))
        self.assertEqual((request.answer_fields, self.asked()), ([], [("id-1", "")]))
        self.revocations.tell("blacklist:id-1", "1", None, self.clock.seconds())
        self.assertIsInstance(self.outcome(self.guard(), request), Unauthorized)

    def test_a_limit_of_its_own(self) -> None:
        """A client that has one is counted by itself, whatever its role has; it may have none."""
        own = replace(claims("admin", ""), limit=1, api_key="digest")
        seen = [self.outcome(self.guard(), FakeRequest("admin", own)) for _ in range(2)]
        self.assertIsNone(seen[0])
        self.assertIsInstance(seen[1], RateLimited)
        self.assertEqual(self.asked(), [("", "key:digest")] * 2)
        unlimited = replace(claims("user", ""), limit=None)
        for _ in range(9):
            self.assertIsNone(self.outcome(self.guard(), FakeRequest("user", unlimited)))
        self.assertIsNone(self.outcome(self.guard(counts=False), FakeRequest("admin", own)))
        self.assertEqual(len(self.asked()), 2)

    def test_a_revoked_token_is_not_counted(self) -> None:
        """It is refused with the challenge of RFC 6750, and its user's window stays as it was."""
        self.revocations.tell("blacklist:id-1", "1", None, self.clock.seconds())
        request = FakeRequest("user", claims("user"))
        error = self.outcome(self.guard(), request)
        self.assertIsInstance(error, Unauthorized)
        self.assertTrue(error.fields[0].startswith(b'WWW-Authenticate: Bearer error="invalid_token"'))
        self.assertEqual((request.answer_fields, len(self.store)), ([], 0))

    def test_sure(self) -> None:
        """Where it must be sure, nobody passes without Redis whose token has no id to ask about; guests do."""
        self.patch(MemoryStore, "degraded", True)
        guard = AdmitGuard(self.store, self.limits, counts=True, sure=True)
        self.assertRaises(Unavailable, self.outcome, guard, FakeRequest("user", claims("user", "")))
        key = replace(claims("user", ""), api_key="digest", limit=9)
        self.assertRaises(Unavailable, self.outcome, guard, FakeRequest("user", key))
        self.assertIsNone(self.outcome(guard, FakeRequest()))
        self.assertIsNone(self.outcome(guard, FakeRequest("user", claims("user"))))  # the store has the say
        self.assertIsNone(self.outcome(self.guard(), FakeRequest("user", claims("user", ""))))
        self.patch(MemoryStore, "degraded", False)
        self.assertIsNone(self.outcome(guard, FakeRequest("user", claims("user", ""))))

    def test_nothing_to_ask(self) -> None:
        """A guest, or a token without a name, on a route that does not count passes at once."""
        guard = self.guard(counts=False)
        self.assertIsNone(guard.check(FakeRequest()))  # type: ignore[arg-type]
        self.assertIsNone(guard.check(FakeRequest("user", claims("user", ""))))  # type: ignore[arg-type]
        self.assertEqual(self.asked(), [])

    def test_nobody_counted_is_told_nothing(self) -> None:
        """When the store could not count, the answer does not pretend it did."""
        self.patch(self.store, "answer", lambda token_id, bucket: MemoryStore(self.clock, 60).answer(token_id, ""))
        request = FakeRequest()
        self.assertIsNone(self.outcome(self.guard(), request))
        self.assertEqual(request.answer_fields, [])
