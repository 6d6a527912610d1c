"""Tests of gateway.core.tokens."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from typing import Any

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import assume, example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.keys import ASYMMETRIC, Key, configured_key
from gateway.core.tokens import (
    Claims,
    InvalidToken,
    TokenCache,
    TokenVerifier,
    UnknownKey,
    bearer_subprotocol,
)

MAX_TOKEN = 8192
MAX_NAME = 255
SECRET = b"k" * 64
NOW = 1_000_000.0
RSA = rsa.generate_private_key(65537, 2048)
OTHER_RSA = rsa.generate_private_key(65537, 2048)
EC = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
}
ED = ed25519.Ed25519PrivateKey.generate()


def pem(private: Any) -> bytes:
    """The public half, as it stands in a file."""
    return bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def encoded(data: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def raw(head: str | bytes, payload: str | bytes, secret: bytes = SECRET) -> str:
    """A token of any head and payload, rightly signed with HS256."""
    parts = [part if isinstance(part, bytes) else part.encode() for part in (head, payload)]
    signed = ".".join(encoded(part) for part in parts)
    return signed + "." + encoded(hmac.digest(secret, signed.encode(), hashlib.sha256))


def sign(head: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token that is valid at NOW, unless head or claims say otherwise; a claim that is ``...`` is left out."""
    said = {"sub": "ann", "role": "user", "exp": NOW + 60, **claims}
    return raw(
        json.dumps({"alg": "HS256", **(head or {})}),
        json.dumps({name: value for name, value in said.items() if value is not ...}),
    )


class VerifierCase(SynchronousTestCase):
    """Asks a verifier for HS256."""

    def setUp(self) -> None:
        self.verifier = TokenVerifier(SECRET, ["HS256"])

    def refused(self, reason: str, *tokens: str) -> None:
        """Each is refused for this reason."""
        for token in tokens:
            error = self.assertRaises(InvalidToken, self.verifier.verify, token, NOW)
            self.assertEqual(error.reason, reason, token)


class SignatureTests(VerifierCase):
    """Only what one of the keys signed is accepted."""

    def test_claims(self) -> None:
        """A good token gives its claims."""
        self.assertEqual(
            self.verifier.verify(sign(jti="7", iat=NOW - 5.5), NOW), Claims("ann", "user", "7", NOW - 5.5, NOW + 60)
        )
        self.assertEqual(self.verifier.verify(sign(role=...), NOW), Claims("ann", "", "", 0.0, NOW + 60))

    def test_every_algorithm(self) -> None:
        """Tokens signed by the common library verify, for each algorithm; those of another key do not."""
        cases: list[tuple[str, Any, bytes]] = [(f"HS{size}", SECRET, SECRET) for size in (256, 384, 512)]
        cases += [(f"{kind}{size}", RSA, pem(RSA)) for kind in ("RS", "PS") for size in (256, 384, 512)]
        cases += [(name, key, pem(key)) for name, key in EC.items()]
        cases.append(("EdDSA", ED, pem(ED)))
        others: dict[str, Any] = {
            "HS": b"x" * 64,
            "RS": OTHER_RSA,
            "PS": OTHER_RSA,
            "Ed": ed25519.Ed25519PrivateKey.generate(),
        }
        for algorithm, private, public in cases:
            self.verifier = TokenVerifier(public, [algorithm])
            said = {"sub": "ann", "exp": NOW + 60}
            self.assertEqual(self.verifier.verify(jwt.encode(said, private, algorithm), NOW).subject, "ann", algorithm)
            other = others.get(algorithm[:2]) or ec.generate_private_key(EC[algorithm].curve)
            self.refused("bad_signature", jwt.encode(said, other, algorithm))

    def test_forged(self) -> None:
        """Another secret, a changed head, a changed payload and a cut or lengthened signature are refused."""
        head, payload, signature = sign().split(".")
        admin = encoded(b'{"sub":"ann","role":"admin","exp":1000060}')
        self.refused(
            "bad_signature",
            raw('{"alg":"HS256"}', '{"sub":"ann","exp":1000060}', b"x" * 64),
            f"{head}.{admin}.{signature}",
            encoded(b'{"alg":"HS256","x":1}') + f".{payload}.{signature}",
            f"{head}.{payload}.{signature[:40]}",
            f"{head}.{payload}.{signature}AAAA",
        )

    def test_no_algorithm(self) -> None:
        """Tokens that ask for no signature, or an algorithm nobody has, are refused, signed or not."""
        names: tuple[Any, ...] = ("none", "None", "NONE", "", "hs256", "HS257", "HS1", "A128GCM")
        for name in (*names, None, 7, True, ["HS256"], {}):
            token = sign({"alg": name})
            self.refused("bad_algorithm", token)
            self.refused("malformed", token.rpartition(".")[0] + ".")
        self.refused("bad_algorithm", raw('{"typ":"JWT"}', '{"sub":"ann","exp":1000060}'))

    def test_other_algorithms(self) -> None:
        """An algorithm that is not configured is refused, though the key would fit."""
        self.refused("bad_algorithm", jwt.encode({"sub": "ann", "exp": NOW + 60}, SECRET, "HS512"))

    def test_public_key_as_secret(self) -> None:
        """A token signed with the bytes of the public key as an HMAC secret is refused, whatever is configured."""
        forms = (pem(RSA), pem(RSA).strip(), RSA.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1))
        for algorithms in (["RS256"], ["RS256", "HS256"]):
            self.verifier = TokenVerifier(pem(RSA), algorithms)
            for secret in forms:
                token = raw('{"alg":"HS256"}', '{"sub":"ann","exp":1000060}', secret)
                self.assertRaises(InvalidToken, self.verifier.verify, token, NOW)

    def test_kinds_of_keys_are_not_mixed(self) -> None:
        """An algorithm of another kind or curve than the key's finds no key."""
        self.verifier = TokenVerifier(pem(EC["ES256"]), ["ES256", "ES384", "RS256"])
        said = {"sub": "ann", "exp": NOW + 60}
        self.refused("unknown_kid", jwt.encode(said, EC["ES384"], "ES384"), jwt.encode(said, RSA, "RS256"))

    def test_keys_in_the_head(self) -> None:
        """Keys that a token brings along, or points to, change nothing."""
        own = {"kty": "oct", "k": encoded(b"x" * 64)}
        brought = {"jwk": own, "jku": "https://evil.example/", "x5u": "https://evil.example/", "x5c": ["MII"]}
        self.assertEqual(self.verifier.verify(sign(brought), NOW).subject, "ann")
        self.refused("bad_signature", raw(json.dumps({"alg": "HS256", **brought}), '{"sub":"ann"}', b"x" * 64))

    def test_trivial_ecdsa_signatures(self) -> None:
        """Signatures of zeros, ones, DER form, other lengths and none verify nothing."""
        self.verifier = TokenVerifier(pem(EC["ES256"]), ["ES256"])
        good = jwt.encode({"sub": "ann", "exp": NOW + 60}, EC["ES256"], "ES256")
        signed = good.rpartition(".")[0]
        der = EC["ES256"].sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
        one = (1).to_bytes(32, "big")
        for signature in (bytes(64), one + one, bytes(32) + one, b"\xff" * 64, bytes(63), bytes(65), bytes(1), der):
            self.refused("bad_signature", f"{signed}.{encoded(signature)}")


class FormTests(VerifierCase):
    """There is one way to write a token."""

    def test_parts(self) -> None:
        """Three parts, none empty, with nothing around them."""
        token = sign()
        head, payload, signature = token.split(".")
        self.refused(
            "malformed",
            "",
            ".",
            "..",
            "...",
            head,
            f"{head}.{payload}",
            f"{head}.{payload}.",
            f"{head}..{signature}",
            f".{payload}.{signature}",
            f".{payload}.",
            f"{token}.",
            f".{token}",
            f"{token}.{signature}",
            f"{token}..",
            f" {token}",
            f"{token} ",
            f"{token}\n",
            f"{head}\n.{payload}.{signature}",
            f"{head}. {payload}.{signature}",
            f"Bearer {token}",
            f'"{token}"',
            json.dumps({"payload": payload, "signatures": [{"protected": head, "signature": signature}]}),
        )

    def test_base64(self) -> None:
        """Padding, the other alphabet, characters of none, impossible lengths and unused bits are refused."""
        token = sign()
        head, payload, signature = token.split(".")
        self.assertEqual(len(signature), 86 // 2)
        loose = signature[:-1] + chr(ord(signature[-1]) + 1)
        self.refused(
            "malformed",
            f"{head}.{payload}.{signature}=",
            f"{head}=.{payload}.{signature}",
            f"{head}.{payload}==.{signature}",
            f"{head}?.{payload}.{signature}",
            f"{head}.{payload}.+{signature[1:]}",
            f"{head}.{payload}.{signature[:-1]}/",
            f"{head}.{payload}.é{signature[1:]}",
            f"{head}.{payload}.{signature[:41]}",
            f"A.{payload}.{signature}",
            f"{head}.A.{signature}",
            f"{head}.{payload}.{loose}",
        )

    def test_heads(self) -> None:
        """The head is a JSON object in UTF-8 in which no name stands twice."""
        for head in (
            '{"alg":"none","alg":"HS256"}',
            '{"alg":"HS256","alg":"HS256"}',
            '["HS256"]',
            '"HS256"',
            "null",
            '{"alg":"HS256"',
            '{"alg":"HS256"}x',
            '{"alg":"HS256","x":NaN}',
            '\ufeff{"alg":"HS256"}',
            '{"alg":"HS256"}'.encode("utf-16"),
            b'{"alg":"HS256","x":"\xff"}',
            '{"alg":"HS256","x":' + "[" * 3000,
        ):
            self.refused("malformed", raw(head, '{"sub":"ann","exp":1000060}'))

    def test_white_space_in_json(self) -> None:
        """White space where JSON allows it is nothing to refuse."""
        token = raw(' {\n"alg" :\t"HS256" } ', ' { "sub" : "ann", "exp" : 1000060 }\r\n')
        self.assertEqual(self.verifier.verify(token, NOW).subject, "ann")

    def test_critical(self) -> None:
        """No extension is understood, so nothing may be critical, well-formed or not; b64 may not be false."""
        heads: tuple[dict[str, Any], ...] = (
            {"crit": ["exp"], "exp": 1},
            {"crit": ["b64"], "b64": True},
            {"crit": ["b64"], "b64": False},
            {"crit": []},
            {"crit": None},
            {"crit": "b64"},
            {"b64": False},
            {"b64": 0},
            {"b64": None},
        )
        for head in heads:
            self.refused("critical_header", sign(head))
        signed = encoded(b'{"alg":"HS256","b64":false,"crit":["b64"]}') + '.{"sub":"ann","exp":1000060}'
        detached = encoded(hmac.digest(SECRET, signed.encode(), hashlib.sha256))
        self.refused("malformed", f"{signed}.{detached}")

    def test_key_ids(self) -> None:
        """A kid is text."""
        self.refused("malformed", sign({"kid": 7}), sign({"kid": ["a"]}), sign({"kid": None}))

    def test_payloads(self) -> None:
        """The payload is a JSON object in UTF-8 in which no name stands twice, however deep."""
        for payload in (
            "[]",
            '"ann"',
            "null",
            "7",
            "ann",
            '{"sub":"ann","exp":1000060',
            '{"sub":"ann","sub":"root","exp":1000060}',
            '{"sub":"ann","exp":1000060,"x":{"y":1,"y":1}}',
            '{"sub":"ann","exp":NaN}',
            '{"sub":"ann","exp":Infinity}',
            '{"sub":"ann","exp":1000060,"x":-Infinity}',
            '{"sub":"ann","exp":1' + "0" * 5000 + "}",
            '{"sub":"ann","exp":1000060,"x":' + "[" * 2500 + "]" * 2500 + "}",
            '{"sub":"ann","exp":1000060}'.encode("utf-16"),
            b'{"sub":"\xff","exp":1000060}',
        ):
            self.refused("bad_payload", raw('{"alg":"HS256"}', payload))

    def test_length(self) -> None:
        """A token at the limit is read, one beyond is not."""
        token = sign(x="a" * 6000)
        token = sign(x="a" * (6000 + (MAX_TOKEN - len(token)) * 3 // 4))
        self.assertLess(MAX_TOKEN - len(token), 4)
        self.verifier.verify(token, NOW)
        self.refused("too_long", sign(x="a" * 6200), "a" * (MAX_TOKEN + 1))
        self.refused("malformed", "a" * MAX_TOKEN)


class ClaimsTests(VerifierCase):
    """What a token says is believed within bounds."""

    def test_expiry(self) -> None:
        """exp is required; the leeway is given, and not a moment more."""
        self.refused("no_expiry", sign(exp=...))
        self.refused("expired", sign(exp=NOW - 60), sign(exp=0))
        self.assertEqual(self.verifier.verify(sign(exp=NOW - 59.5), NOW).expires, NOW - 59.5)
        self.assertEqual(self.verifier.verify(sign(exp=int(NOW) + 1), NOW).expires, NOW + 1)
        strict = TokenVerifier(SECRET, ["HS256"], leeway=0)
        self.assertRaises(InvalidToken, strict.verify, sign(exp=NOW), NOW)

    def test_not_before_and_issued_at(self) -> None:
        """A token that begins or was issued later than the leeway from now is refused."""
        self.verifier.verify(sign(nbf=NOW + 60, iat=NOW + 60), NOW)
        self.refused("not_yet_valid", sign(nbf=NOW + 61), sign(iat=NOW + 61))

    def test_dates(self) -> None:
        """Dates are numbers of this age of the world."""
        odd: tuple[Any, ...] = (
            True,
            False,
            None,
            "1000060",
            "",
            [],
            {},
            [NOW + 60],
            -1,
            -0.5,
            1e12,
            1e300,
            10**400,
            253402300800,
        )
        for name in ("exp", "nbf", "iat"):
            self.refused(f"bad_{name}", *(sign(None, **{name: value}) for value in odd))
            infinite = '{"sub":"ann","exp":1000060,"%s":1e999}' if name != "exp" else '{"sub":"ann","%s":1e999}'
            self.refused(f"bad_{name}", raw('{"alg":"HS256"}', infinite % name))
        self.assertEqual(self.verifier.verify(sign(exp=253402300799), NOW).expires, 253402300799)

    def test_subject(self) -> None:
        """sub is text that can stand in a line of a log; it is required."""
        subjects: tuple[Any, ...] = (
            ...,
            "",
            7,
            None,
            True,
            ["ann"],
            {},
            "a\n",
            "\x00",
            "a\x7f",
            "\x85",
            "\u2028",
            "\u202eb",
            "\ud800",
        )
        for subject in subjects:
            self.refused("bad_subject", sign(sub=subject))
        self.refused("bad_subject", sign(sub="a" * (MAX_NAME + 1)))
        for subject in ("a" * MAX_NAME, "Zoë O'Neill", "auth0|7", "李"):
            self.assertEqual(self.verifier.verify(sign(sub=subject), NOW).subject, subject)

    def test_token_id(self) -> None:
        """jti is such text too, or absent."""
        for token_id in ("", 7, None, ["a"], "a\r\nb", "a" * (MAX_NAME + 1)):
            self.refused("bad_token_id", sign(jti=token_id))

    def test_role(self) -> None:
        """A role that is no text is none; one with control characters, or endless, is refused."""
        for role in (7, None, True, ["admin"], {"admin": True}, ""):
            self.assertEqual(self.verifier.verify(sign(role=role), NOW).role, "")
        self.refused("bad_role", sign(role="admin\n"), sign(role="a" * (MAX_NAME + 1)))

    def test_role_claim(self) -> None:
        """The role is taken from the claim that is configured."""
        verifier = TokenVerifier(SECRET, ["HS256"], role_claim="https://example.com/role")
        token = sign(None, **{"https://example.com/role": "manager", "role": "admin"})
        self.assertEqual(verifier.verify(token, NOW).role, "manager")

    def test_issuer(self) -> None:
        """iss is checked when an issuer is configured."""
        self.verifier.verify(sign(iss=["anything"]), NOW)
        self.verifier = TokenVerifier(SECRET, ["HS256"], issuer="https://i.example")
        self.verifier.verify(sign(iss="https://i.example"), NOW)
        self.refused("wrong_issuer", sign(), *(sign(iss=x) for x in ("", "https://i.example/", ["https://i.example"])))

    def test_audience(self) -> None:
        """aud is, or contains, the audience that is configured."""
        self.verifier.verify(sign(aud={"any": "thing"}), NOW)
        self.verifier = TokenVerifier(SECRET, ["HS256"], audience="api")
        for aud in ("api", ["api"], ["b", "api"], ["b", 7, "api"]):
            self.verifier.verify(sign(aud=aud), NOW)
        self.refused(
            "wrong_audience", sign(), *(sign(aud=x) for x in ("", "apis", ["b"], [], None, {"api": 1}, [["api"]]))
        )


class PublishedKeysTests(VerifierCase):
    """Which of several keys verifies a token."""

    def setUp(self) -> None:
        self.verifier = TokenVerifier(b"", ["RS256", "ES256"])
        self.one = Key("one", frozenset(["RS256"]), RSA.public_key())
        self.two = Key("two", frozenset(["RS256"]), OTHER_RSA.public_key())
        self.curve = Key("curve", frozenset(["ES256"]), EC["ES256"].public_key())

    def token(self, private: Any = RSA, algorithm: str = "RS256", **head: Any) -> str:
        return jwt.encode({"sub": "ann", "exp": NOW + 60}, private, algorithm, head)

    def test_unknown_key(self) -> None:
        """A kid that no key has is told apart, for a newer set may have it."""
        self.refused("unknown_kid", self.token(kid="one"), self.token())
        self.assertRaises(UnknownKey, self.verifier.verify, self.token(kid="one"), NOW)
        self.verifier.publish([self.one])
        self.assertEqual(self.verifier.verify(self.token(kid="one"), NOW).subject, "ann")
        self.refused("unknown_kid", self.token(kid="two"), self.token(kid=""))

    def test_key_of_the_kid(self) -> None:
        """The key that kid names verifies, and no other."""
        self.verifier.publish([self.one, self.two])
        self.verifier.verify(self.token(kid="one"), NOW)
        self.verifier.verify(self.token(OTHER_RSA, kid="two"), NOW)
        self.refused("bad_signature", self.token(kid="two"), self.token(OTHER_RSA, kid="one"))

    def test_algorithm_of_the_key(self) -> None:
        """A kid with an algorithm that its key is not for is refused, and no newer key asked for."""
        self.verifier.publish([self.one, self.curve])
        self.refused("bad_algorithm", self.token(kid="curve"), self.token(EC["ES256"], "ES256", kid="one"))

    def test_without_kid(self) -> None:
        """A token without kid is verified when only one key can be meant."""
        self.verifier.publish([self.one, self.curve])
        self.verifier.verify(self.token(), NOW)
        self.verifier.publish([self.one, self.two])
        self.refused("missing_kid", self.token())

    def test_withdrawn(self) -> None:
        """A newer set takes the place of the older one."""
        self.verifier.publish([self.one])
        self.verifier.publish([self.two])
        self.refused("unknown_kid", self.token(kid="one"))

    def test_beside_a_configured_key(self) -> None:
        """The configured key stays, for any kid that is not a published one's."""
        self.verifier = TokenVerifier(pem(RSA), ["RS256"])
        self.verifier.publish([self.two])
        self.verifier.verify(self.token(), NOW)
        self.verifier.verify(self.token(kid="any"), NOW)
        self.verifier.verify(self.token(OTHER_RSA, kid="two"), NOW)
        self.refused("bad_signature", self.token(kid="two"), self.token(OTHER_RSA, kid="any"))

    def test_configuration(self) -> None:
        """Unknown algorithms and unfit keys do not make a verifier."""
        self.assertRaises(ValueError, TokenVerifier, SECRET, ["none"])
        self.assertRaises(ValueError, TokenVerifier, SECRET, ["HS256", "ES256K"])
        self.assertRaises(ValueError, TokenVerifier, b"short", ["HS256"])
        self.assertEqual(configured_key(pem(ED), ASYMMETRIC).algorithms, {"EdDSA"})


GOOD = sign(jti="7")
CHARACTERS = "aZ09-_.=+/ \n\0\x7f\x85\u0660\u2028\u202eé李\ud800\U0001f600"


class PropertyTests(SynchronousTestCase):
    """Whatever is sent."""

    verifier = TokenVerifier(SECRET, ["HS256"])
    curve = TokenVerifier(pem(ED), ["EdDSA"])

    @given(st.integers(0, len(GOOD) - 1), st.integers(0, 3), st.text(CHARACTERS, max_size=3))
    def test_changed_tokens(self, index: int, removed: int, put: str) -> None:
        """No token that differs from a valid one is accepted."""
        changed = GOOD[:index] + put + GOOD[index + removed :]
        assume(changed != GOOD)
        self.assertRaises(InvalidToken, self.verifier.verify, changed, NOW)

    @given(
        st.text(CHARACTERS)
        | st.text("abyJ019_-.=", max_size=200)
        | st.from_regex(r"[a-zA-Z0-9_-]+(\.[a-zA-Z0-9_-]+){2}", fullmatch=True)
    )
    @example("e30.e30.e30")
    def test_any_text(self, token: str) -> None:
        """Text that nobody signed is refused with InvalidToken."""
        self.assertRaises(InvalidToken, self.verifier.verify, token, NOW)

    @given(
        st.dictionaries(
            st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jku", "zip", "x"]),
            st.sampled_from(["HS256", "none", "EdDSA", ["exp"], {}])
            | st.none()
            | st.integers()
            | st.floats()
            | st.text(CHARACTERS),
        ),
        st.binary(max_size=70),
    )
    def test_any_head(self, head: dict[str, Any], signature: bytes) -> None:
        """No head gets a foreign signature accepted, nor makes anything but InvalidToken."""
        token = ".".join(map(encoded, (json.dumps(head).encode(), b'{"sub":"ann","exp":1000060}', signature)))
        for verifier in (self.verifier, self.curve):
            self.assertRaises(InvalidToken, verifier.verify, token, NOW)

    @given(
        st.dictionaries(
            st.sampled_from(["sub", "exp", "nbf", "iat", "jti", "role", "iss", "aud"]),
            st.recursive(
                st.none()
                | st.booleans()
                | st.integers()
                | st.floats()
                | st.text(CHARACTERS)
                | st.floats(NOW - 99, NOW + 99),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(CHARACTERS), inner, max_size=3),
            ),
        )
    )
    @example({"sub": "ann", "exp": NOW})
    def test_any_claims(self, said: dict[str, Any]) -> None:
        """Signed claims of any shape are accepted only when sound, and otherwise refused with InvalidToken."""
        try:
            claims = self.verifier.verify(raw('{"alg":"HS256"}', json.dumps(said)), NOW)
        except InvalidToken as error:
            self.assertRegex(error.reason, r"\A[a-z_]+\Z")
        else:
            self.assertTrue(claims.subject.isprintable() and claims.subject == said["sub"])
            self.assertGreater(claims.expires, NOW - 60)


def claims(expires: float) -> Claims:
    """Some claims, to be told by their end."""
    return Claims("ann", "", "", 0.0, expires)


class CacheTests(SynchronousTestCase):
    """What was verified is remembered, not for ever."""

    def test_until_expiry(self) -> None:
        """An entry is given for exactly its bytes, until exp."""
        cache = TokenCache()
        cache.put(b"Bearer a", claims(NOW))
        self.assertEqual(cache.get(b"Bearer a", NOW - 0.1), claims(NOW))
        self.assertIsNone(cache.get(b"Bearer a", NOW))
        self.assertIsNone(cache.get(b"bearer a", NOW - 1))
        self.assertIsNone(cache.get(None, NOW - 1))

    def test_bounded(self) -> None:
        """A full cache forgets its oldest half."""
        for size in (1, 4, 5):
            cache = TokenCache(size)
            for number in range(size + 1):
                cache.put(b"%d" % number, claims(NOW))
            kept = [number for number in range(size + 1) if cache.get(b"%d" % number, 0)]
            self.assertEqual(kept, list(range((size + 1) // 2, size + 1)))

    def test_clear(self) -> None:
        """Nothing outlives the keys it was verified with."""
        cache = TokenCache()
        cache.put(b"a", claims(NOW))
        cache.clear()
        self.assertIsNone(cache.get(b"a", 0))


class SubprotocolTests(SynchronousTestCase):
    """The token in Sec-WebSocket-Protocol."""

    def test_found(self) -> None:
        """bearer.<token>, alone or among other offers."""
        for value in (b"bearer.a.b.c", b"mcp, bearer.a.b.c", b"bearer.a.b.c ,mcp", b"\tbearer.a.b.c,,"):
            self.assertEqual(bearer_subprotocol(value), "a.b.c")

    def test_not_there(self) -> None:
        """Other offers, and other spellings, are no bearer's."""
        for value in (b"", b"mcp", b"Bearer.a.b.c", b"bearer", b"mcp.bearer.a", b"bearera.b.c"):
            self.assertIsNone(bearer_subprotocol(value))

    def test_odd(self) -> None:
        """An empty or odd one is found all the same, to be refused; two are refused at once."""
        self.assertEqual(bearer_subprotocol(b"bearer."), "")
        self.assertEqual(bearer_subprotocol(b"bearer.\xff"), "\xff")
        self.assertRaises(InvalidToken, bearer_subprotocol, b"bearer.a, bearer.a")
