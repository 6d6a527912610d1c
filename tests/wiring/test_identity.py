"""Tests of gateway.wiring.identity: what records change for whom."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway.config import Settings
from gateway.core.api_keys import ApiKey, digest, new_key
from gateway.core.errors import GatewayError, Unauthorized
from gateway.core.tokens import Claims
from gateway.guards.api_keys import ApiKeyGuard, ConcealApiKeyGuard
from gateway.guards.authenticate import AuthenticateGuard
from gateway.http.sweep import PERIOD
from gateway.store.memory_records import MemoryRecords
from gateway.wiring.identity import Identity
from gateway.wiring.store import make_revocations

KEY = new_key()[1]
RECORD = "apikey:" + digest(KEY.encode())
TOKEN = Claims("ann", "user", "id-1", 5.0, 1e9, "k1")


class IdentityTests(SynchronousTestCase):
    """Two requests that are in progress: one with a token, one with an API key."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.records = MemoryRecords(self.clock)
        self.revocations = make_revocations(self.clock, self.records)
        self.records.put(RECORD, ApiKey("a1", "batch", "ann", "user", created=5.0).dump())
        self.ended: dict[str, str] = {}
        self.identity = self.make()
        key_claims = self.guard_claims()
        self.identity.sweep.channels = [
            SimpleNamespace(answering=[self.request("token", TOKEN), self.request("key", key_claims)])
        ]

    def make(self, auth: str = "required", enabled: bool = True) -> Identity:
        settings = Settings.model_validate(
            {
                "jwt": {"secret": "k" * 32},
                "api_keys": {"enabled": enabled},
                "upstreams": [{"name": "core", "instances": ["http://127.0.0.1:1"]}],
                "routes": [{"prefix": "/", "upstream": "core", "auth": auth}],
            }
        )
        return Identity(settings, self.clock, self.records, self.revocations)

    def guard_claims(self) -> Claims:
        """What a request with the key has past the guard."""
        request: Any = SimpleNamespace(
            field={b"x-api-key": KEY.encode()}.get, raw_fields=[], repeated=(), route=SimpleNamespace(websocket=False)
        )
        (guard,) = self.identity.guards("required")
        self.assertIsNone(guard.check(request))
        claims: Claims = request.claims
        return claims

    def request(self, name: str, claims: Claims) -> Any:
        def end(error: GatewayError) -> None:
            assert isinstance(error, Unauthorized)
            self.ended[name] = error.message

        return SimpleNamespace(claims=claims, end=end)

    def after(self, key: str, value: str | None, seconds: float | None = None) -> set[str]:
        """Who has been ended soon after a record was written, or removed."""
        self.ended.clear()
        if value is None:
            self.records.delete(key)
        else:
            self.records.put(key, value, seconds)
        self.clock.advance(PERIOD)
        return set(self.ended)

    def test_guards(self) -> None:
        """Keys are accepted where tokens are, and stop everywhere, once they are turned on."""
        kinds = {auth: [type(guard) for guard in self.identity.guards(auth)] for auth in ("none", "optional")}
        self.assertEqual(kinds, {"none": [ConcealApiKeyGuard], "optional": [ApiKeyGuard]})
        off = self.make(enabled=False)
        kinds = {auth: [type(guard) for guard in off.guards(auth)] for auth in ("none", "required")}
        self.assertEqual(kinds, {"none": [], "required": [AuthenticateGuard]})

    def test_no_tokens(self) -> None:
        """A gateway that asks nobody watches nothing."""
        self.records = MemoryRecords(self.clock)
        self.make("none")
        self.assertEqual(self.records._watchers, [])

    def test_others(self) -> None:
        """What is said of others ends nothing."""
        for key in ("blacklist:id-2", "revoked:user:bob", "revoked:key:k2", "apikey:" + "0" * 64):
            self.assertEqual(self.after(key, "9999"), set(), key)

    def test_a_token(self) -> None:
        """By its id, or by its key."""
        self.assertEqual(self.after("blacklist:id-1", "1", 60), {"token"})
        self.assertEqual(self.ended, {"token": "The access token was revoked"})
        self.assertEqual(self.after("blacklist:id-1", None), set())
        self.assertEqual(self.after("revoked:key:k1", "1"), {"token"})

    def test_a_user(self) -> None:
        """All of theirs that was issued before."""
        self.assertEqual(self.after("revoked:user:ann", "5.0"), set())
        self.assertEqual(self.after("revoked:user:ann", "5.1"), {"token", "key"})

    def test_an_api_key(self) -> None:
        """When it is gone, or means something else; not when it is only told once more."""
        same = ApiKey("a1", "batch", "ann", "user", created=5.0).dump()
        self.assertEqual(self.after(RECORD, same, 60), set())
        self.assertEqual(self.after(RECORD, same.replace('"user"', '"admin"')), {"key"})
        self.assertEqual(self.after(RECORD, same), set())
        self.assertEqual(self.after(RECORD, None), {"key"})
        self.assertEqual(self.ended, {"key": "The API key was revoked"})
