"""Tests of gateway.guards.api_keys."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.core.api_keys import ApiKey, ApiKeys, digest, new_key
from gateway.core.errors import Unauthorized, Unavailable
from gateway.core.headers import field_name
from gateway.core.revocations import Revocations
from gateway.guards.api_keys import ApiKeyGuard, ConcealApiKeyGuard
from gateway.interfaces import IGuard

NOW = 1_000_000.0
KEY = new_key()[1]


class FakeRequest:
    """What the guard looks at, and sets."""

    claims: Any = None
    role = ""

    def __init__(self, key: str | None = None, websocket: bool = False, **fields: str) -> None:
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        if key is not None:
            named["X-Api-KEY"] = key
        self.raw_fields = [(field_name(name.encode()), value.encode()) for name, value in named.items()]
        self.route = SimpleNamespace(websocket=websocket)
        self.repeated: set[bytes] = set()

    def field(self, name: bytes) -> bytes | None:
        return {known.lower: value for known, value in self.raw_fields}.get(name)


class ApiKeyGuardTests(SynchronousTestCase):
    """A route that takes keys and tokens."""

    def setUp(self) -> None:
        self.keys, self.revocations = ApiKeys(), Revocations()
        self.loaded = True
        self.left: list[Any] = []
        record = ApiKey("a1", "batch", "ann", "user", created=NOW - 10).dump()
        self.keys.tell("apikey:" + digest(KEY.encode()), record, None, NOW)
        tokens: Any = SimpleNamespace(check=self.left.append)
        self.guard = ApiKeyGuard("X-API-Key", self.keys, lambda: self.loaded, tokens, lambda: NOW, self.revocations)

    def check(self, request: FakeRequest) -> None:
        asked: Any = request
        self.assertIsNone(self.guard.check(asked))

    def refused(self, request: FakeRequest) -> str:
        """The reason of the 401."""
        error = self.assertRaises(Unauthorized, self.check, request)
        self.assertIsNone(request.claims)
        bearer, own = error.fields
        self.assertEqual(bearer, b"WWW-Authenticate: Bearer\r\n")
        self.assertTrue(own.startswith(b'WWW-Authenticate: ApiKey error="invalid_key", error_description="'))
        return str(own.split(b'"')[3], "ascii")

    def test_guards(self) -> None:
        """Both say the same of what they do."""
        for guard in (self.guard, ConcealApiKeyGuard("X-API-Key")):
            self.assertTrue(verifyObject(IGuard, guard))
            self.assertEqual(guard.name, "authenticate")

    def test_known(self) -> None:
        """It passes at once, and the key is no longer among what passes on."""
        request = FakeRequest(KEY, Accept="*/*", X_Trace="1")
        self.check(request)
        self.assertEqual((request.claims.subject, request.role, self.left), ("ann", "user", []))
        self.assertEqual([known.name for known, _ in request.raw_fields], [b"Accept", b"X-Trace"])

    def test_none(self) -> None:
        """A request without a key is left to the tokens' guard."""
        request = FakeRequest(Authorization="Bearer x")
        self.check(request)
        self.assertEqual(self.left, [request])

    def test_unknown(self) -> None:
        """401, with both ways to ask."""
        self.assertEqual(self.refused(FakeRequest(new_key()[1])), "unknown")
        self.assertEqual(self.refused(FakeRequest("")), "malformed")

    def test_not_loaded(self) -> None:
        """While the keys were never told, nobody can say that one is unknown; those known pass."""
        self.loaded = False
        self.assertRaises(Unavailable, self.check, FakeRequest(new_key()[1]))
        self.check(FakeRequest(KEY))

    def test_several(self) -> None:
        """Who sends a key sends one, and nothing else that says who they are."""
        several = [
            FakeRequest(KEY, Authorization="Bearer x"),
            FakeRequest(KEY, True, Sec_WebSocket_Protocol="mcp, bearer.x"),
            FakeRequest(KEY, True, Sec_WebSocket_Protocol="bearer.x, bearer.y"),
            FakeRequest(KEY),
        ]
        several[-1].repeated.add(b"x-api-key")
        self.assertEqual([self.refused(request) for request in several], ["several credentials"] * 4)
        self.check(FakeRequest(KEY, True, Sec_WebSocket_Protocol="mcp"))

    def test_revoked_user(self) -> None:
        """What is revoked of a user is their keys, too."""
        self.revocations.tell("revoked:user:ann", str(NOW), None, NOW)
        self.assertEqual(self.refused(FakeRequest(KEY)), "revoked")

    def test_concealed(self) -> None:
        """Where nobody asks, a key still goes no further."""
        request: Any = FakeRequest(KEY, Accept="*/*", X_Trace="1")
        ConcealApiKeyGuard("X-API-Key").check(request)
        self.assertEqual([known.name for known, _ in request.raw_fields], [b"Accept", b"X-Trace"])
