"""``smartgate check`` and ``smartgate token``, on configurations written by the tests."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.trial.unittest import SynchronousTestCase

from gateway import cli

SECRET = "a-secret-of-at-least-thirty-two-bytes"
ROUTE = """
[[upstreams]]
name = "core"
instances = ["http://127.0.0.1:3002"]
[[routes]]
prefix = "/api/users"
upstream = "core"
"""


class CommandTests(SynchronousTestCase):
    """Each runs one command in this process."""

    def run_cli(self, config: str, *arguments: str) -> tuple[int, str, str]:
        """The exit status, and what was written to each stream."""
        path = Path(self.mktemp())
        path.write_text(config + ROUTE)
        out, err = io.StringIO(), io.StringIO()
        status = cli.main([*arguments, "--config", str(path)], {"JWT_SECRET": SECRET}, out, err)
        return status, out.getvalue(), err.getvalue()

    def test_good_configuration(self) -> None:
        """A configuration without mistakes is OK."""
        self.assertEqual(self.run_cli(f'jwt = {{ secret = "{SECRET}" }}', "check"), (0, "OK\n", ""))

    def test_every_mistake(self) -> None:
        """All mistakes are listed at once, and the status says there were some."""
        status, out, err = self.run_cli("port = 1\nhost = 2\n", "check")
        self.assertEqual((status, out), (1, ""))
        self.assertIn("port: ", err)
        self.assertIn("host: ", err)

    def test_token(self) -> None:
        """A token has who, role, its own id and its life, and is signed with the secret of the configuration."""
        config = 'jwt = { secret = "${JWT_SECRET}", role_claim = "group" }'
        status, out, _ = self.run_cli(config, "token", "--sub", "ann", "--role", "user", "--ttl", "2m")
        claims = jwt.decode(out.strip(), SECRET, ["HS256"])
        self.assertEqual((status, claims["sub"], claims["group"]), (0, "ann", "user"))
        self.assertEqual(claims["exp"] - claims["iat"], 120)
        self.assertTrue(claims["jti"])

    def test_named_issuer_and_audience(self) -> None:
        """Where the gateway checks issuer and audience, the token names them; it lives an hour by default."""
        config = f'jwt = {{ secret = "{SECRET}", issuer = "us", audience = "them" }}'
        _, out, _ = self.run_cli(config, "token", "--sub", "ann", "--role", "user")
        claims = jwt.decode(out.strip(), SECRET, ["HS256"], issuer="us", audience="them")
        self.assertLess(abs(claims["exp"] - time.time() - 3600), 60)

    def test_no_private_key(self) -> None:
        """Where only the issuer can sign, the command says so."""
        pem = Path(self.mktemp())
        key = Ed25519PrivateKey.generate().public_key()
        pem.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        config = f'jwt = {{ algorithms = ["EdDSA"], public_key_file = "{pem}" }}'
        status, _, err = self.run_cli(config, "token", "--sub", "ann", "--role", "user")
        self.assertEqual((status, "signed by their issuer" in err), (1, True))

    def test_no_secret(self) -> None:
        """A gateway without a secret (all its routes are public) cannot sign."""
        path = Path(self.mktemp())
        path.write_text(ROUTE + 'auth = "none"\n')
        err = io.StringIO()
        arguments = ["token", "--sub", "ann", "--role", "user", "--config", str(path)]
        self.assertEqual(cli.main(arguments, {}, io.StringIO(), err), 1)
        self.assertEqual(err.getvalue(), "jwt.secret: is missing\n")

    def test_odd_time_to_live(self) -> None:
        """A time to live that is no time is refused with what would be right."""
        err = io.StringIO()
        self.patch(sys, "stderr", err)
        raised = self.assertRaises(SystemExit, self.run_cli, "", "token", "--sub", "a", "--role", "b", "--ttl", "soon")
        self.assertEqual(raised.code, 2)
        self.assertIn('write it like "5s"', err.getvalue())
