"""Tokens that an issuer signs with a key of its own, at a gateway that is a real process."""

from __future__ import annotations

import atexit
import hmac
import json
import time
from functools import cache
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.utils import base64url_encode
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.issuer import Issuer
from tests.integration.origin import Origin, talk
from tests.integration.processes import Process, free_port, start_gateway, wait_for

CONFIG = """
access_log = {{ path = "" }}
redis = {{ url = "memory:" }}
[server]
listen = ["tcp:{port}:interface=127.0.0.1"]
admin = ""
workers = 0
[jwt]
{jwt}
[[upstreams]]
name = "core"
instances = ["http://127.0.0.1:{origin}"]
[[routes]]
prefix = "/api"
upstream = "core"
rate_limit = false
"""


def start(jwt: str) -> Process:
    """A gateway that verifies tokens like this, with an origin behind it."""
    port = free_port()
    return start_gateway(CONFIG.format(port=port, origin=Origin().port, jwt=jwt), port)


def forged(claims: dict[str, Any], public: bytes) -> str:
    """A token signed with the public key, which everybody has, as if it were a shared secret."""
    signed = b".".join(base64url_encode(json.dumps(part).encode()) for part in ({"alg": "HS256"}, claims))
    return (signed + b"." + base64url_encode(hmac.digest(public, signed, "sha256"))).decode()


class TokenCase(SynchronousTestCase):
    """Requests with tokens."""

    gateway: Process

    def ask(self, path: str, token: str = "") -> bytes:
        """The answer to a request with a token."""
        lines = f"Authorization: Bearer {token}\r\n" if token else ""
        return talk(self.gateway.port, f"GET {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode())

    def status(self, token: str = "", path: str = "/api") -> int:
        """The status of that answer."""
        return int(self.ask(path, token).split(b" ", 2)[1])


class PublicKeyTests(TokenCase):
    """A public key in a PEM file."""

    def check(self, algorithm: str, key: Any, another: Any) -> None:
        """Tokens that ``key`` has signed are good; those of another, and those signed with its public half, are not."""
        path = Path(self.mktemp()).resolve()
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        path.write_bytes(public)
        self.gateway = start(f'algorithms = ["{algorithm}"]\npublic_key_file = "{path}"')
        self.addCleanup(self.gateway.stop)
        claims = {"sub": "ann", "exp": time.time() + 300}
        good = jwt.encode(claims, key, algorithm)
        self.assertEqual(self.status(good), 200)
        self.assertEqual(self.status(jwt.encode(claims, another, algorithm)), 401)
        self.assertEqual(self.status(forged(claims, public)), 401)
        self.assertEqual(self.status(good[:-8] + "AAAAAAAA"), 401)

    def test_rs256(self) -> None:
        """RSA."""
        self.check("RS256", *(rsa.generate_private_key(65537, 2048) for _ in range(2)))

    def test_es256(self) -> None:
        """ECDSA."""
        self.check("ES256", *(ec.generate_private_key(ec.SECP256R1()) for _ in range(2)))

    def test_eddsa(self) -> None:
        """Ed25519."""
        self.check("EdDSA", Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate())


@cache
def published() -> tuple[tuple[Issuer, Process], tuple[Issuer, Process]]:
    """Two issuers, each with a gateway, started together so that their ten seconds pass at the same time."""

    def begin() -> tuple[Issuer, Process]:
        issuer = Issuer("one")
        gateway = start(f'algorithms = ["EdDSA"]\njwks_url = "{issuer.url}"')
        atexit.register(gateway.stop)
        return issuer, gateway

    return begin(), begin()


class PublishedKeysTests(TokenCase):
    """Keys behind a URL, fetched at most every ten seconds."""

    def test_none_known_yet(self) -> None:
        """Until keys were had, tokens get 503, for they may be good, and the gateway is not ready."""
        issuer = Issuer("one")
        issuer.close()
        self.gateway = start(f'algorithms = ["EdDSA"]\njwks_url = "{issuer.url}"')
        self.addCleanup(self.gateway.stop)
        answer = self.ask("/api", issuer.token("one"))
        self.assertIn(b" 503 ", answer[:20])
        self.assertIn(b'{"code":"SERVICE_UNAVAILABLE"', answer)
        self.assertEqual((self.status(), self.status(path="/health")), (401, 200))
        ready = self.ask("/ready")
        self.assertIn(b" 503 ", ready[:20])
        self.assertIn(b'"keys":"failing"', ready)

    def test_rotation(self) -> None:
        """A token with a key that is not known has the keys fetched; those that are gone are good no longer."""
        (issuer, self.gateway), _ = published()
        one, two = issuer.token("one"), issuer.token("two")
        wait_for(lambda: self.status(one) == 200, "the first key is known")
        self.assertEqual((self.status(path="/ready"), issuer.asked), (200, 1))
        issuer.published = ("two",)
        wait_for(lambda: self.status(two) == 200, "the second key is known")
        self.assertEqual((self.status(one), issuer.asked), (401, 2))

    def test_issuer_dies(self) -> None:
        """The last good keys are kept when no newer ones can be had."""
        _, (issuer, self.gateway) = published()
        one, two = issuer.token("one"), issuer.token("two")
        wait_for(lambda: self.status(one) == 200, "the first key is known")
        issuer.close()
        said = "could not be fetched"
        wait_for(lambda: self.status(two) == 401 and said in self.gateway.said(), "a fetch that failed")
        self.assertEqual((self.status(one), self.status(path="/ready")), (200, 200))
