"""Tests of gateway.core.tokens."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import jwt
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.tokens import Claims, InvalidToken, TokenCache, TokenVerifier, bearer_subprotocol

KEY = b"k" * 32
NOW = 1_000_000.0


def sign(headers: dict[str, Any] | None = None, key: Any = KEY, **claims: Any) -> str:
    """A token that is valid at NOW, unless the claims say otherwise."""
    return jwt.encode({"sub": "ann", "role": "user", "exp": NOW + 60, **claims}, key, "HS256", headers)


class VerifierTests(SynchronousTestCase):
    """Only what is signed, in time and well-formed is accepted."""

    def setUp(self) -> None:
        self.verifier = TokenVerifier(KEY, ["HS256"])

    def reason(self, token: str, verifier: TokenVerifier | None = None) -> str:
        return str(self.assertRaises(InvalidToken, (verifier or self.verifier).verify, token, NOW).reason)

    def test_claims(self) -> None:
        """A good token gives its claims; a role that is no text is none."""
        claims = self.verifier.verify(sign(jti="7", iat=NOW), NOW)
        self.assertEqual(claims, Claims("ann", "user", "7", NOW, NOW + 60))
        self.assertEqual(self.verifier.verify(sign(role=["admin"]), NOW).role, "")

    def test_signature_and_algorithm(self) -> None:
        """Another key, no signature, another algorithm, an unknown crit."""
        self.assertEqual(self.reason(sign(key=b"x" * 32)), "bad_signature")
        self.assertEqual(self.reason(jwt.encode({"sub": "a", "exp": NOW + 9}, None, "none")), "bad_algorithm")
        self.assertEqual(self.reason(jwt.encode({"sub": "a", "exp": NOW + 9}, b"k" * 64, "HS512")), "bad_algorithm")
        self.assertEqual(self.reason(sign({"crit": ["x"], "x": 1})), "malformed")
        self.assertEqual(self.reason("a.b.c"), "malformed")
        self.assertEqual(self.reason("a" * 9000), "too_long")

    def test_times(self) -> None:
        """exp is required and must be a number; skew is allowed up to the leeway."""
        self.verifier.verify(sign(exp=NOW - 59), NOW)
        for exp, reason in ((NOW - 60, "expired"), (True, "no_expiry"), (1e300, "no_expiry")):
            self.assertEqual(self.reason(sign(exp=exp)), reason)
        self.assertEqual(self.reason(sign(nbf=NOW + 61)), "not_yet_valid")

    def test_subjects(self) -> None:
        """A subject is a text that can be printed."""
        for subject in ("", 7, None, "a\n", "a" * 300):
            payload = base64.urlsafe_b64encode(json.dumps({"sub": subject, "exp": NOW + 9}).encode()).rstrip(b"=")
            signed = jwt.api_jws.encode(base64.urlsafe_b64decode(payload + b"=="), KEY, "HS256")
            self.assertEqual(self.reason(signed), "bad_claims")

    def test_issuer_and_audience(self) -> None:
        """Both are checked when configured."""
        verifier = TokenVerifier(KEY, ["HS256"], issuer="i", audience="a")
        self.assertEqual(self.reason(sign(aud="a"), verifier), "wrong_issuer")
        self.assertEqual(self.reason(sign(iss="i", aud=["b"]), verifier), "wrong_audience")
        verifier.verify(sign(iss="i", aud=["b", "a"]), NOW)

    @given(st.integers(0, 200), st.characters(codec="ascii"))
    def test_changed_tokens(self, index: int, character: str) -> None:
        """No changed token says anything else."""
        token = sign()
        index %= len(token)
        changed = token[:index] + character + token[index + 1 :]
        with contextlib.suppress(InvalidToken):
            self.assertEqual(self.verifier.verify(changed, NOW).subject, "ann")


class CacheTests(SynchronousTestCase):
    """What was verified is remembered, not for ever."""

    def test_until_expiry_and_bounded(self) -> None:
        """Expired entries are not given; a full cache forgets its oldest half."""
        cache = TokenCache(4)
        for number in range(5):
            cache.put(b"%d" % number, Claims("a", "", "", 0, NOW + number))
        self.assertIsNone(cache.get(b"0", NOW))
        self.assertIsNotNone(cache.get(b"4", NOW))
        self.assertIsNone(cache.get(b"4", NOW + 5))
        cache.clear()
        self.assertIsNone(cache.get(b"4", NOW))

    def test_subprotocol(self) -> None:
        """bearer.<token> among other offers."""
        self.assertEqual(bearer_subprotocol(b"mcp, bearer.a.b.c"), "a.b.c")
        self.assertIsNone(bearer_subprotocol(b"mcp"))
