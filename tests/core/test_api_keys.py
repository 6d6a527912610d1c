"""Tests of gateway.core.api_keys."""

from __future__ import annotations

import json
from math import inf
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.api_keys import ApiKey, ApiKeys, InvalidApiKey, digest, new_key
from gateway.core.tokens import BY_ROLE, LATEST, Claims

NOW = 1_000_000.0
SAID: dict[str, Any] = {"id": "a1", "name": "batch", "subject": "ann", "role": "user", "created": 5.0}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["id", "role", "limit", "expires"]), inner),
    max_leaves=8,
)


class RecordTests(SynchronousTestCase):
    """What is written down of a key."""

    def test_there_and_back(self) -> None:
        """What was written is what is read."""
        for key in (
            ApiKey("a1", "batch", "ann", "user", BY_ROLE, 5.0),
            ApiKey("a1", "batch", "ann", "user", None, 5.0, 9.5),
            ApiKey("a1", "batch", "ann", "user", 120, 5.0, 9.5),
        ):
            self.assertEqual(ApiKey.parse(key.dump()), key)

    def test_the_least(self) -> None:
        """A key with an id only is a client of its own, without a role, for ever."""
        self.assertEqual(ApiKey.parse('{"id": "a1"}'), ApiKey("a1", "a1", "key:a1", "", BY_ROLE, 0.0, inf))

    def test_beyond_the_calendar(self) -> None:
        """A time after the year 9999 is none."""
        for end, read in ((LATEST - 1, LATEST - 1), (LATEST, inf), (10**400, inf)):
            self.assertEqual(ApiKey.parse(json.dumps(SAID | {"expires": end})).expires, read)

    def test_the_largest(self) -> None:
        """A limit and a name at the end of what is taken."""
        key = ApiKey.parse(json.dumps(SAID | {"limit": 2**31 - 1, "name": "x" * 255}))
        self.assertEqual((key.limit, len(key.name)), (2**31 - 1, 255))

    def test_odd_ones(self) -> None:
        """Nothing is guessed."""
        wrong: list[dict[str, Any]] = [
            {"id": ""},
            {"id": 1},
            {"name": "\n"},
            {"subject": "x" * 256},
            {"role": None},
            {"limit": -1},
            {"limit": 1.5},
            {"limit": True},
            {"limit": "many"},
            {"limit": 2**31},
            {"created": -1},
            {"created": "now"},
            {"expires": float("nan")},
        ]
        for change in wrong:
            self.assertRaises(ValueError, ApiKey.parse, json.dumps(SAID | change))
        for text in ("", "[]", "{}", "[" * 100_000):
            self.assertRaises(ValueError, ApiKey.parse, text)

    @given(JSON)
    def test_anything(self, value: Any) -> None:
        """Whatever is written there is read, or is refused."""
        try:
            key = ApiKey.parse(json.dumps(value))
        except ValueError:
            return
        self.assertTrue(key.id)


class KnownKeysTests(SynchronousTestCase):
    """The keys that are known."""

    def setUp(self) -> None:
        self.keys = ApiKeys()
        self.key = new_key()[1].encode()

    def tell(self, seconds: float | None = None, **said: Any) -> None:
        self.keys.tell("apikey:" + digest(self.key), json.dumps(SAID | said), seconds, NOW)

    def refused(self, key: bytes, after: float = 0.0) -> str:
        return str(self.assertRaises(InvalidApiKey, self.keys.claims, key, NOW + after))

    def test_new_keys(self) -> None:
        """A key names its id, has 256 random bits, and is another one each time."""
        key_id, key = new_key()
        self.assertRegex(key, f"^sg_{key_id}_[0-9A-Za-z_-]{{43}}$")
        self.assertNotEqual(new_key()[1], key)

    def test_known(self) -> None:
        """A client has what the record says."""
        self.tell(limit=7, expires=NOW + 60)
        expected = Claims("ann", "user", "", 5.0, NOW + 60, limit=7, api_key=digest(self.key))
        self.assertEqual(self.keys.claims(self.key, NOW), expected)

    def test_unknown(self) -> None:
        """No other key, and nothing that is not one."""
        self.tell()
        self.assertEqual(
            [self.refused(key) for key in (new_key()[1].encode(), b"", b"sg_", self.key + b"\n")],
            ["unknown", "malformed", "malformed", "malformed"],
        )

    def test_expired(self) -> None:
        """By what the record says, and by the end of the record itself."""
        self.tell(expires=NOW + 60)
        self.assertEqual((self.refused(self.key, 60), self.refused(self.key, 1000)), ("expired", "expired"))
        self.tell(seconds=30)
        self.keys.claims(self.key, NOW + 29)
        self.assertEqual(self.refused(self.key, 30), "expired")

    def test_gone(self) -> None:
        """A record that is removed, or that can no longer be read, is no key."""
        self.tell()
        self.keys.tell("apikey:" + digest(self.key), None, None, NOW)
        self.assertEqual(self.refused(self.key), "unknown")
        self.tell(role=1)
        self.assertEqual(self.refused(self.key), "unknown")

    def test_still_held(self) -> None:
        """Claims hold as long as their record says the same, however often it is told."""
        self.tell(seconds=60)
        claims = self.keys.claims(self.key, NOW)
        self.tell(seconds=30)
        self.assertTrue(self.keys.holds(claims))
        self.tell(role="admin")
        self.assertFalse(self.keys.holds(claims))
        self.keys.tell("apikey:" + digest(self.key), None, None, NOW)
        self.assertFalse(self.keys.holds(claims))

    def test_many(self) -> None:
        """Those that are known are not pushed out by others."""
        self.keys = ApiKeys(size=1)
        self.tell()
        first, self.key = self.key, new_key()[1].encode()
        self.tell()
        self.assertEqual(self.refused(self.key), "unknown")
        self.keys.claims(first, NOW)
