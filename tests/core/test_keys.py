"""Tests of gateway.core.keys."""

from __future__ import annotations

import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.keys import ASYMMETRIC, MAX_KEYS, Key, configured_key, published_keys

RSA = rsa.generate_private_key(65537, 2048).public_key()
SHORT_RSA = rsa.generate_private_key(65537, 1024).public_key()
EC384 = ec.generate_private_key(ec.SECP384R1())
ED = ed25519.Ed25519PrivateKey.generate().public_key()


def jwk(key: Any, **members: Any) -> dict[str, Any]:
    """A key as a JWK, with other members beside or in place of its own."""
    kinds: Any = {"RSA": RSAAlgorithm, "EC": ECAlgorithm, "OK": OKPAlgorithm}
    kind = "RSA" if isinstance(key, rsa.RSAPublicKey) else "OK" if isinstance(key, ed25519.Ed25519PublicKey) else "EC"
    return {**kinds[kind].to_jwk(key, as_dict=True), "kid": "one", **members}


def publish(*members: Any, algorithms: Any = ASYMMETRIC) -> tuple[Key, ...]:
    """What is taken of a set with these members."""
    return published_keys(json.dumps({"keys": members}).encode(), algorithms)


def pem(key: Any) -> bytes:
    """A public key as it stands in a file."""
    return bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


class ConfiguredKeyTests(SynchronousTestCase):
    """The key of the configuration is good for what fits it."""

    def test_secret(self) -> None:
        """A secret serves the HMAC algorithms that it is long enough for, and any kid."""
        key = configured_key(b"k" * 48, ["HS256", "HS384", "HS512"])
        self.assertEqual((key.id, key.algorithms), (None, {"HS256", "HS384"}))

    def test_short_secret(self) -> None:
        """A secret shorter than RFC 7518 asks is refused."""
        self.assertRaises(ValueError, configured_key, b"k" * 31, ["HS256"])

    def test_public_key(self) -> None:
        """A key in PEM serves the algorithms of its kind and curve."""
        every = ASYMMETRIC
        self.assertEqual(configured_key(pem(RSA), every).algorithms, {name for name in every if name[1:2] == "S"} - _EC)
        self.assertEqual(configured_key(pem(EC384.public_key()), every).algorithms, {"ES384"})
        self.assertEqual(configured_key(pem(ED), every).algorithms, {"EdDSA"})

    def test_public_key_is_no_secret(self) -> None:
        """A public key never verifies HMACs, not even when these are configured."""
        self.assertRaises(ValueError, configured_key, pem(RSA), ["HS256"])
        self.assertEqual(configured_key(pem(RSA), ["HS256", "RS256"]).algorithms, {"RS256"})

    def test_unfit_keys(self) -> None:
        """Another kind or curve, a short RSA key, a private key and no key at all are refused."""
        private = EC384.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for key, algorithm in (
            (pem(RSA), "ES256"),
            (pem(EC384.public_key()), "ES256"),
            (pem(SHORT_RSA), "RS256"),
            (private, "ES384"),
            (b"k" * 64, "RS256"),
            (b"", "RS256"),
        ):
            self.assertRaises(ValueError, configured_key, key, [algorithm])


class PublishedKeysTests(SynchronousTestCase):
    """Of a JWK set, the public signature keys are taken."""

    def test_kinds(self) -> None:
        """A key without alg serves what fits it, one with alg only that."""
        found = publish(
            jwk(RSA, kid="r"), jwk(RSA, kid="p", alg="PS512"), jwk(EC384.public_key(), kid="e"), jwk(ED, kid="o")
        )
        self.assertEqual(
            {key.id: set(key.algorithms) for key in found},
            {
                "r": {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"},
                "p": {"PS512"},
                "e": {"ES384"},
                "o": {"EdDSA"},
            },
        )

    def test_only_configured_algorithms(self) -> None:
        """A key is good for no algorithm that the configuration does not name."""
        self.assertEqual(publish(jwk(RSA), algorithms=["RS256", "ES256"])[0].algorithms, {"RS256"})
        self.assertRaises(ValueError, publish, jwk(RSA, alg="RS512"), algorithms=["RS256"])
        self.assertRaises(ValueError, publish, jwk(RSA), algorithms=["HS256"])

    def test_keys_passed_over(self) -> None:
        """Keys for other uses, private, shared, short, odd and unknown ones are passed over; the good one is taken."""
        shared = {"kty": "oct", "k": "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s"}
        others: tuple[Any, ...] = (
            jwk(RSA, use="enc"),
            jwk(RSA, use=None),
            jwk(RSA, key_ops=["encrypt"]),
            jwk(RSA, key_ops="verify"),
            jwk(RSA, kid=7),
            jwk(RSA, alg="HS256"),
            jwk(RSA, alg="ES256"),
            jwk(RSA, alg="none"),
            jwk(RSA, alg=["RS256"]),
            jwk(RSA, e=3),
            jwk(RSA, n="!"),
            jwk(RSA, kty="EC"),
            jwk(SHORT_RSA),
            jwk(EC384),
            jwk(EC384.public_key(), crv="P-256"),
            jwk(EC384.public_key(), x="AAAA"),
            {**shared, "kid": "one", "alg": "HS256"},
            {"kty": "oct", "kid": "one"},
            {"kty": "lattice"},
            {},
            None,
            [],
            "key",
        )
        good = jwk(RSA, kid="good", use="sig", key_ops=["verify"])
        self.assertEqual([key.id for key in publish(*others, good)], ["good"])
        for other in others:
            self.assertRaises(ValueError, publish, other)

    def test_key_without_id(self) -> None:
        """A key published under no kid has an empty one."""
        member = jwk(RSA)
        del member["kid"]
        self.assertEqual(publish(member)[0].id, "")

    def test_number_of_keys(self) -> None:
        """Keys beyond the limit are not looked at."""
        self.assertEqual(len(publish(*[jwk(ED)] * (MAX_KEYS + 5))), MAX_KEYS)

    def test_no_key_set(self) -> None:
        """What is no JWK set, or one without a usable key, is refused."""
        for document in (b"", b"[]", b"{}", b"7", b"\xff", b'{"keys": 7}', b'{"keys": []}', b"[" * 100_000):
            self.assertRaises(ValueError, published_keys, document, ASYMMETRIC)

    @given(
        st.dictionaries(
            st.sampled_from(["kty", "kid", "use", "alg", "crv", "n", "e", "x", "y", "d", "key_ops"]),
            st.sampled_from(["RSA", "EC", "OKP", "P-256", "Ed25519", "sig", "RS256", "AQAB", "A" * 43])
            | st.recursive(
                st.none() | st.integers() | st.text("aA9-_=/\0é"), lambda inner: st.lists(inner, max_size=3)
            ),
        )
    )
    def test_any_key(self, member: dict[str, Any]) -> None:
        """Whatever a key set holds, it is taken or refused with ValueError."""
        good = jwk(ED, kid="good")
        self.assertEqual(publish(member, good)[-1].id, "good")


_EC = {"ES256", "ES384", "ES512"}
