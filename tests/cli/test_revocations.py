"""``smartgate revoke``, on records in memory."""

from __future__ import annotations

import argparse
import io
import time
from contextlib import redirect_stderr

import jwt

from gateway.cli import revocations
from gateway.core.api_keys import ApiKey
from tests.cli.records import RecordsCase

SECRET = "a-secret-of-at-least-thirty-two-bytes"


class RevokeTests(RecordsCase):
    """What is written for the gateways, and what is said of it."""

    group = revocations

    def token(self, **claims: object) -> str:
        return jwt.encode({"exp": time.time() + 100, "jti": "id-1", **claims}, SECRET)

    def test_an_id(self) -> None:
        """For as long as tokens may live: a month, or what is said."""
        self.assertRegex(self.succeeds("revoke", "--jti", "id-1"), "^Revoked until 20.*: the token id-1$")
        self.succeeds("revoke", "--jti", "id-2", "--for", "24h")
        self.assertEqual(self.written(), {"blacklist:id-1": ("1", 2_592_000), "blacklist:id-2": ("1", 86_400)})

    def test_a_key(self) -> None:
        """By its kid."""
        self.succeeds("revoke", "--key", "2026-01")
        self.assertEqual(self.written(), {"revoked:key:2026-01": ("1", 2_592_000)})

    def test_a_user(self) -> None:
        """Until now, or until what is said in seconds or as a date."""
        self.succeeds("revoke", "--user", "ann")
        ((before, _),) = self.written().values()
        self.assertLess(abs(float(before) - time.time()), 30)
        for text in ("1767225600", "2026-01-01", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00"):
            self.assertIn(
                "issued before 2026-01-01T00:00:00Z",
                self.succeeds("revoke", "--user", "ann", "--before", text, "--for", "1h"),
            )
            self.assertEqual(self.written(), {"revoked:user:ann": ("1767225600.0", 3600)})

    def test_a_users_api_keys(self) -> None:
        """Those made before are removed for good: they may live longer than the record."""
        for name, subject, created in (("old", "ann", 5.0), ("new", "ann", 50.0), ("other", "bob", 5.0)):
            self.records.put("apikey:" + name, ApiKey(name, name, subject, "user", created=created).dump())
        self.records.put("apikey:odd", "?")
        said = self.succeeds("revoke", "--user", "ann", "--before", "10")
        self.assertEqual(said.splitlines()[1:], ["Removed: the API key old"])
        self.assertEqual(set(self.written()), {"apikey:new", "apikey:other", "apikey:odd", "revoked:user:ann"})

    def test_a_token(self) -> None:
        """Its id, until no gateway would accept it any longer, with the leeway; whoever signed it."""
        self.succeeds("revoke", "--token", self.token())
        ((key, (_, seconds)),) = self.written().items()
        self.assertEqual(key, "blacklist:id-1")
        self.assertTrue(seconds is not None and 130 < seconds <= 160, seconds)

    def test_a_token_on_standard_input(self) -> None:
        """Where no other process can read it off the command line."""
        self.patch(revocations.sys, "stdin", io.StringIO(self.token() + "\n"))  # type: ignore[attr-defined]
        self.succeeds("revoke", "--token", "-")
        self.assertEqual(list(self.written()), ["blacklist:id-1"])

    def test_odd_tokens(self) -> None:
        """What cannot be revoked by itself, or need not be."""
        for token, why in (
            ("x.y.z", "is no token"),
            (self.token(jti=None), "has no jti"),
            (self.token(exp=time.time() - 100), "has expired"),
            (self.token(exp="soon"), "has no exp"),
            (self.token(exp=1e300), "has no exp"),
        ):
            self.assertIn(why, self.fails("revoke", "--token", token))
        self.assertEqual(self.written(), {})

    def test_no_name(self) -> None:
        """Nothing is said to be revoked where a variable of a script was empty."""
        for option in ("--jti", "--user", "--key"):
            stderr = io.StringIO()
            with redirect_stderr(stderr), self.assertRaises(SystemExit):
                self.run_cli("revoke", option, "")
            self.assertIn("is empty, so nothing would be revoked", stderr.getvalue())
        self.assertEqual(self.written(), {})

    def test_odd_times(self) -> None:
        """What is no time is refused."""
        self.assertRaises(argparse.ArgumentTypeError, revocations._time, "yesterday")
        self.assertRaises(argparse.ArgumentTypeError, revocations._time, "nan")

    def test_memory(self) -> None:
        """Gateways that share nothing cannot be told."""
        self.assertIn('redis.url: is "memory:"', self.fails("revoke", "--jti", "id-1", url="memory:"))
