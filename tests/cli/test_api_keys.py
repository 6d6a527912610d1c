"""``smartgate apikey``, on records in memory."""

from __future__ import annotations

import argparse
import json
import time

from gateway.cli import api_keys
from gateway.core.api_keys import ApiKey, ApiKeys, digest
from gateway.core.tokens import Claims
from tests.cli.records import RecordsCase


class ApiKeyTests(RecordsCase):
    """Keys as operators have them."""

    group = api_keys

    def create(self, *more: str) -> str:
        """A new key for a user."""
        return self.succeeds("apikey", "create", "--name", "batch", "--role", "user", *more)

    def claims(self, key: str) -> Claims:
        """What gateways make of a key."""
        keys = ApiKeys()
        for name, (value, left) in self.written().items():
            keys.tell(name, value, left, time.time())
        return keys.claims(key.encode(), time.time())

    def test_created(self) -> None:
        """Gateways accept what was printed, and find nothing but its digest in Redis."""
        key = self.create()
        key_id = key.split("_")[1]
        claims = self.claims(key)
        self.assertEqual((claims.subject, claims.role, claims.limit), (f"key:{key_id}", "user", 0))
        self.assertEqual(list(self.written()), ["apikey:" + digest(key.encode())])
        self.assertNotIn(key.partition("_")[2], str(self.written()))

    def test_created_with_more(self) -> None:
        """For somebody, with a limit, for a time."""
        claims = self.claims(self.create("--sub", "ann", "--limit", "7", "--ttl", "90d"))
        self.assertEqual((claims.subject, claims.limit), ("ann", 7))
        self.assertLess(abs(claims.expires - time.time() - 90 * 86400), 60)
        ((_, left),) = self.written().values()
        self.assertEqual(left, 90 * 86400)
        self.assertIsNone(self.claims(self.create("--limit", "unlimited")).limit)

    def test_not_created(self) -> None:
        """Where no gateway would take it, or read it."""
        creating = ("apikey", "create", "--role", "user", "--name")
        self.assertIn("api_keys.enabled: is false", self.fails(*creating, "batch", enabled=False))
        self.assertIn("--name: must be text", self.fails(*creating, ""))
        self.assertIn("--sub: must be text", self.fails(*creating, "batch", "--sub", "a\nb"))
        self.assertRaises(argparse.ArgumentTypeError, api_keys._limit, "0")
        self.assertEqual(self.written(), {})

    def test_revoked(self) -> None:
        """It is forgotten, the others are not."""
        first, second = self.create(), self.create()
        key_id = first.split("_")[1]
        self.assertEqual(self.succeeds("apikey", "revoke", key_id), f"Revoked: the API key {key_id}")
        self.assertEqual(list(self.written()), ["apikey:" + digest(second.encode())])
        self.assertIn("there is no such API key", self.fails("apikey", "revoke", key_id))

    def test_listed(self) -> None:
        """The oldest first; what cannot be read is no key."""
        self.assertEqual(self.succeeds("apikey", "list"), "there are no API keys")
        for key in (
            ApiKey("b2", "late", "ann", "user", None, 1767225600.0),
            ApiKey("a1", "early", "bob", "admin", created=0.0, expires=1767225600.0),
            ApiKey("c3", "limited", "cy", "user", 7, 1767225601.0),
        ):
            self.records.put("apikey:" + key.id, key.dump())
        self.records.put("apikey:odd", "?")
        _, early, late, limited = self.succeeds("apikey", "list").splitlines()
        self.assertEqual(early.split("  ")[0], "a1")
        self.assertRegex(early, "by role +1970-01-01T00:00:00Z  2026-01-01T00:00:00Z")
        self.assertIn("unlimited  2026-01-01T00:00:00Z  never", late)
        self.assertRegex(limited, "  7  ")

    def test_listed_for_programs(self) -> None:
        """As JSON, as it is written down."""
        self.create("--limit", "7")
        (said,) = json.loads(self.succeeds("apikey", "list", "--json"))
        self.assertEqual((said["name"], said["role"], said["limit"]), ("batch", "user", 7))
