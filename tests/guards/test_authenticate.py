"""Tests of gateway.guards.authenticate."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.core.errors import Unauthorized, Unavailable
from gateway.core.keys import Key
from gateway.core.revocations import Revocations
from gateway.core.tokens import Claims, TokenCache, TokenVerifier
from gateway.guards.authenticate import AuthenticateGuard, invalid
from gateway.interfaces import IGuard

SECRET = b"k" * 32
NOW = 1_000_000.0
PRIVATE = Ed25519PrivateKey.generate()
PUBLIC = Key("new", frozenset(["EdDSA"]), PRIVATE.public_key())


def token(key: Any = SECRET, algorithm: str = "HS256", head: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token that is valid at NOW, unless the claims say otherwise."""
    return jwt.encode({"sub": "ann", "role": "user", "exp": NOW + 60, **claims}, key, algorithm, head)


class FakeRequest:
    """What the guard looks at, and sets."""

    claims: Claims | None = None
    role = ""

    def __init__(
        self,
        authorization: str | None = None,
        websocket: bool = False,
        offered: str | None = None,
        repeated: bool = False,
    ) -> None:
        self._fields = {b"authorization": authorization, b"sec-websocket-protocol": offered}
        self.route = SimpleNamespace(websocket=websocket)
        self.repeated = {b"authorization"} if repeated else set()
        self.asked: list[bytes] = []
        self.transport = SimpleNamespace()

    def field(self, name: bytes) -> bytes | None:
        self.asked.append(name)
        value = self._fields[name]
        return None if value is None else value.encode("latin-1")


class CountingVerifier(TokenVerifier):
    """Counts how often it is asked."""

    asked = 0

    def verify(self, token: str, now: float) -> Claims:
        self.asked += 1
        return super().verify(token, now)


class FakeKeys:
    """Published keys that are fetched when a test says so."""

    known = True

    def __init__(self) -> None:
        self.waiting: Deferred[None] | None = None

    def refresh(self) -> Deferred[None] | None:
        return self.waiting


class AuthenticateCase(SynchronousTestCase):
    """A guard with a clock that a test sets."""

    def setUp(self) -> None:
        self.verifier = CountingVerifier(SECRET, ["HS256"])
        self.cache = TokenCache()
        self.revocations = Revocations()
        self.now = NOW
        self.guard = self.make()

    def make(self, required: bool = True, keys: Any = None, certificates: bool = False) -> AuthenticateGuard:
        return AuthenticateGuard(
            self.verifier, self.cache, required, lambda: self.now, self.revocations, keys, certificates
        )

    def passes(self, request: FakeRequest, guard: AuthenticateGuard | None = None) -> FakeRequest:
        """The guard lets it pass at once."""
        asked: Any = request
        self.assertIsNone((guard or self.guard).check(asked))
        return request

    def refused(self, request: FakeRequest, guard: AuthenticateGuard | None = None) -> str:
        """The guard answers 401 at once, and says nothing of who asks; the challenge."""
        asked: Any = request
        error = self.assertRaises(Unauthorized, (guard or self.guard).check, asked)
        self.assertIsNone(request.claims)
        self.assertEqual(request.role, "")
        (challenge,) = error.fields
        self.assertTrue(challenge.startswith(b"WWW-Authenticate: Bearer") and challenge.endswith(b"\r\n"))
        return str(challenge[24:-2], "ascii")


class HeaderTests(AuthenticateCase):
    """The token in Authorization."""

    def test_interface(self) -> None:
        """It is a guard."""
        self.assertTrue(verifyObject(IGuard, self.guard))
        self.assertEqual(self.guard.name, "authenticate")

    def test_valid(self) -> None:
        """Claims and role of a valid token are set, however the scheme is spelt (RFC 9110 section 11.1)."""
        for scheme in ("Bearer", "bearer", "BEARER", "Bearer  "):
            request = self.passes(FakeRequest(f"{scheme} {token()}"))
            self.assertEqual(request.claims, Claims("ann", "user", "", 0.0, NOW + 60))
            self.assertEqual(request.role, "user")

    def test_missing(self) -> None:
        """A guest is refused where a token is required, with a challenge that names no error; elsewhere passes."""
        self.assertEqual(self.refused(FakeRequest()), "")
        request = self.passes(FakeRequest(), self.make(required=False))
        self.assertIsNone(request.claims)
        self.assertEqual(request.role, "")

    def test_other_schemes(self) -> None:
        """Other schemes are no bearer's: a challenge without an error, where a token is optional too."""
        for value in ("Basic YTpi", token(), "", "Bearerx y", f"Token {token()}", "Bearer\t" + token()):
            for required in (True, False):
                self.assertEqual(self.refused(FakeRequest(value), self.make(required)), "", value)

    def test_malformed(self) -> None:
        """What follows Bearer and is no token is an invalid one."""
        for value in ("Bearer", "Bearer x", "Bearer é", f"Bearer {token()} ", f"Bearer {token()}, Bearer {token()}"):
            self.assertEqual(
                self.refused(FakeRequest(value)), ' error="invalid_token", error_description="malformed"', value
            )

    def test_invalid(self) -> None:
        """A token that is not accepted is refused where one is optional too, and the challenge says why."""
        for required in (True, False):
            guard = self.make(required)
            self.assertIn('description="expired"', self.refused(FakeRequest(f"Bearer {token(exp=NOW - 60)}"), guard))
            forged = FakeRequest(f"Bearer {token(b'x' * 32)}")
            self.assertIn('description="bad signature"', self.refused(forged, guard))

    def test_repeated(self) -> None:
        """Authorization sent twice is refused, though one may be valid or empty."""
        for value in (f"Bearer {token()}, Bearer {token()}", f"Bearer {token()}, ", f", Bearer {token()}"):
            challenge = self.refused(FakeRequest(value, repeated=True))
            self.assertEqual(challenge, ' error="invalid_token", error_description="several tokens"')

    def test_invalid_answer(self) -> None:
        """The answer to a token that is not accepted has nothing of the token."""
        self.assertEqual(
            invalid("revoked").fields,
            (b'WWW-Authenticate: Bearer error="invalid_token", error_description="revoked"\r\n',),
        )


class WebSocketTests(AuthenticateCase):
    """The token in Sec-WebSocket-Protocol."""

    def test_subprotocol(self) -> None:
        """On a WebSocket route the token may be offered as a subprotocol."""
        request = self.passes(FakeRequest(websocket=True, offered=f"mcp, bearer.{token()}"))
        self.assertEqual(request.role, "user")

    def test_other_routes(self) -> None:
        """On other routes it is not looked for."""
        self.assertEqual(self.refused(FakeRequest(offered=f"bearer.{token()}")), "")

    def test_without(self) -> None:
        """Other offers, and none, make a guest."""
        for offered in (None, "mcp"):
            self.assertEqual(self.refused(FakeRequest(websocket=True, offered=offered)), "")
            self.passes(FakeRequest(websocket=True, offered=offered), self.make(required=False))

    def test_invalid(self) -> None:
        """What is offered and not accepted is refused, also when there are two, or one is empty."""
        for offered in ("bearer.", "bearer.x", f"bearer.{token(b'x' * 32)}", f"bearer.{token()}, bearer.{token()}"):
            challenge = self.refused(FakeRequest(websocket=True, offered=offered), self.make(required=False))
            self.assertIn('error="invalid_token"', challenge)

    def test_header_first(self) -> None:
        """When Authorization is there, it alone counts."""
        self.refused(FakeRequest("Bearer x", websocket=True, offered=f"bearer.{token()}"))


class RememberedTests(AuthenticateCase):
    """A token is verified once."""

    def test_once(self) -> None:
        """The second time only Authorization is read, and the verifier not asked."""
        text = token()
        for scheme in ("Bearer", "Bearer", "bearer"):
            request = self.passes(FakeRequest(f"{scheme} {text}"))
        self.passes(FakeRequest(websocket=True, offered=f"bearer.{text}"))
        self.assertEqual(self.verifier.asked, 1)
        request = self.passes(FakeRequest(f"Bearer {text}"))
        self.assertEqual(request.asked, [b"authorization"])

    def test_until_expiry(self) -> None:
        """After exp it is verified each time, and after the leeway refused."""
        request = FakeRequest(f"Bearer {token()}")
        self.passes(request)
        self.now += 100
        self.passes(request)
        self.passes(request)
        self.assertEqual(self.verifier.asked, 3)
        self.now += 20
        self.refused(FakeRequest(f"Bearer {token()}"))

    def test_no_scheme(self) -> None:
        """A token remembered from a subprotocol does not pass without its scheme."""
        self.passes(FakeRequest(websocket=True, offered=f"bearer.{token()}"))
        self.refused(FakeRequest(token()))

    def test_refused_ones_are_not(self) -> None:
        """A token that was refused is verified again."""
        for _ in range(2):
            self.refused(FakeRequest("Bearer x.y.z"))
        self.assertEqual(self.verifier.asked, 2)


class UnknownKeyTests(AuthenticateCase):
    """A token of a key that is not known waits for the newer keys."""

    def setUp(self) -> None:
        super().setUp()
        self.verifier = CountingVerifier(b"", ["EdDSA"])
        self.keys = FakeKeys()
        self.guard = self.make(keys=self.keys)

    def request(self, kid: str = "new", key: Any = PRIVATE) -> FakeRequest:
        return FakeRequest(f"Bearer {token(key, 'EdDSA', {'kid': kid})}")

    def waits(self, request: FakeRequest) -> Deferred[None]:
        """The guard waits for the keys."""
        asked: Any = request
        self.keys.waiting = Deferred()
        checked = self.guard.check(asked)
        assert checked is not None
        self.assertNoResult(checked)
        return checked

    def came(self) -> None:
        """The fetch is over."""
        assert self.keys.waiting is not None
        self.keys.waiting.callback(None)

    def test_newer_keys(self) -> None:
        """When the newer keys have its key, the token passes."""
        request = self.request()
        checked = self.waits(request)
        self.verifier.publish([PUBLIC])
        self.came()
        self.assertIsNone(self.successResultOf(checked))
        self.assertEqual(request.role, "user")

    def test_still_unknown(self) -> None:
        """When they do not, it is refused, and not waited for again."""
        request = self.request("other")
        checked = self.waits(request)
        self.verifier.publish([PUBLIC])
        self.came()
        error = self.failureResultOf(checked, Unauthorized).value
        self.assertIn(b'description="unknown kid"', error.fields[0])
        self.assertIsNone(request.claims)

    def test_forged(self) -> None:
        """A made-up signature is found out with the newer keys."""
        checked = self.waits(self.request(key=Ed25519PrivateKey.generate()))
        self.verifier.publish([PUBLIC])
        self.came()
        error = self.failureResultOf(checked, Unauthorized).value
        self.assertIn(b'description="bad signature"', error.fields[0])

    def test_too_early(self) -> None:
        """When it is too early to ask for keys again, the token is refused at once."""
        self.assertIn('description="unknown kid"', self.refused(self.request()))

    def test_other_faults_do_not_wait(self) -> None:
        """Only an unknown key is a reason to wait."""
        self.keys.waiting = Deferred()
        self.assertIn('description="malformed"', self.refused(FakeRequest("Bearer x")))
        self.assertIn('description="bad algorithm"', self.refused(FakeRequest(f"Bearer {token()}")))

    def test_no_keys_ever(self) -> None:
        """While no keys were ever had, nobody can tell: 503, and no word against the token."""
        self.keys.known = False
        asked: Any = self.request()
        self.assertRaises(Unavailable, self.guard.check, asked)
        checked = self.waits(self.request())
        self.came()
        self.failureResultOf(checked, Unavailable)

    def test_nobody_to_ask(self) -> None:
        """Without published keys an unknown key is an invalid token."""
        self.assertIn('description="unknown kid"', self.refused(self.request(), self.make()))


class RevocationTests(AuthenticateCase):
    """Users and keys that are revoked; single tokens are the store's."""

    def revoke(self, key: str, value: str = "1") -> None:
        self.revocations.tell(key, value, None, NOW)

    def test_a_user(self) -> None:
        """What was issued before that is refused, verified before or not; what is issued later passes."""
        for revoked in (token(iat=NOW - 1), token()):
            self.passes(FakeRequest("Bearer " + revoked))
        self.revoke("revoked:user:ann", str(NOW))
        for revoked in (token(iat=NOW - 1), token(), token(iat=NOW - 2)):
            challenge = self.refused(FakeRequest("Bearer " + revoked))
            self.assertEqual(challenge, ' error="invalid_token", error_description="revoked"')
        for _ in range(2):
            self.passes(FakeRequest("Bearer " + token(iat=NOW + 1)))

    def test_an_issuers_key(self) -> None:
        """All that it verified is refused, and nothing else."""
        self.verifier = CountingVerifier(b"", ["EdDSA"])
        self.verifier.publish([PUBLIC])
        guard, sent = self.make(), "Bearer " + token(PRIVATE, "EdDSA", {"kid": "new"})
        self.revoke("revoked:key:old")
        self.passes(FakeRequest(sent), guard)
        self.revoke("revoked:key:new")
        self.refused(FakeRequest(sent), guard)

    def test_a_configured_key(self) -> None:
        """It has no name, whatever its tokens say."""
        self.revoke("revoked:key:mine")
        self.passes(FakeRequest("Bearer " + token(head={"kid": "mine"})))


class CertificateTests(AuthenticateCase):
    """Clients that have shown a certificate."""

    def check(self, claims: Claims | None, authorization: str | None = None, **options: Any) -> FakeRequest:
        """What comes of a request on a connection whose certificate names somebody."""
        guard = self.make(**{"certificates": True} | options)
        request: Any = FakeRequest(authorization)
        request.transport = SimpleNamespace(certified=claims)
        guard.check(request)
        return request  # type: ignore[no-any-return]

    machine = Claims("machine", "service", "", NOW - 60, NOW + 60)

    def test_named(self) -> None:
        """The client is whom its certificate names."""
        request = self.check(self.machine)
        self.assertEqual((request.claims, request.role), (self.machine, "service"))

    def test_token_first(self) -> None:
        """A token counts instead, and one that is not valid is refused."""
        request = self.check(self.machine, f"Bearer {token()}")
        assert request.claims is not None
        self.assertEqual(request.claims.subject, "ann")
        self.assertRaises(Unauthorized, self.check, self.machine, "Bearer x.y.z")
        self.assertRaises(Unauthorized, self.check, self.machine, "Basic x")

    def test_nobody(self) -> None:
        """Without a certificate, or one that names somebody, it is a guest."""
        self.assertRaises(Unauthorized, self.check, None)
        self.assertIsNone(self.check(None, required=False).claims)

    def test_ended(self) -> None:
        """A certificate that ends while its connection is open is none any more."""
        for end in (NOW, NOW - 1):
            ended = Claims("machine", "service", "", NOW - 60, end)
            self.assertRaises(Unauthorized, self.check, ended)

    def test_revoked(self) -> None:
        """Nor is one that began before its subject was revoked."""
        self.revocations.tell("revoked:user:machine", str(NOW), None, NOW)
        self.assertRaises(Unauthorized, self.check, self.machine, required=False)
        later = Claims("machine", "service", "", NOW + 1, NOW + 60)
        self.assertEqual(self.check(later).claims, later)

    def test_not_asked_for(self) -> None:
        """Where the configuration does not ask for certificates they say nothing."""
        self.assertRaises(Unauthorized, self.check, self.machine, certificates=False)
