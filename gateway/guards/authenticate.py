"""Who asks: the bearer token of a request, verified."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from zope.interface import implementer

from gateway.core.errors import GatewayError, Unauthorized, Unavailable
from gateway.core.revocations import Revocations
from gateway.core.tokens import InvalidToken, TokenCache, TokenVerifier, UnknownKey, bearer_subprotocol
from gateway.interfaces import IGuard

if TYPE_CHECKING:
    from gateway.core.tokens import Claims
    from gateway.guards.keys import PublishedKeys
    from gateway.http.request import Request

CHALLENGE = b"WWW-Authenticate: Bearer\r\n"
"""For a request that came without a token: no error is named (RFC 6750 section 3.1)."""


REVOKED = "revoked"


def invalid(reason: str) -> Unauthorized:
    """401 for a token that was sent but is not accepted (RFC 6750 section 3.1); ``reason`` is for people."""
    return Unauthorized("The access token is not valid", (_challenge(reason),))


def withdrawn() -> Unauthorized:
    """What ends an answer in progress when its token is revoked meanwhile."""
    return Unauthorized("The access token was revoked", (_challenge(REVOKED),))


def _challenge(reason: str) -> bytes:
    return f'WWW-Authenticate: Bearer error="invalid_token", error_description="{reason}"\r\n'.encode()


@implementer(IGuard)
class AuthenticateGuard:
    """Sets ``claims`` and ``role`` from the bearer token (RFC 6750 section 2.1), for WebSockets from a subprotocol too.

    :param cache: shared by all that verify with ``verifier``.
    :param required: whether guests are refused; a token that is not valid always is.
    :param now: the time in seconds since the epoch.
    :param revocations: those of users and issuer keys; about a single token the store is asked.
    :param keys: who can fetch newer keys for ``verifier``, or None.
    :param certificates: whether a client without a token may be who its TLS certificate says.
    """

    name = "authenticate"

    def __init__(
        self,
        verifier: TokenVerifier,
        cache: TokenCache,
        required: bool,
        now: Callable[[], float],
        revocations: Revocations,
        keys: PublishedKeys | None,
        certificates: bool,
    ) -> None:
        self._verifier = verifier
        self._cache = cache
        self._required = required
        self._now = now
        self._revocations = revocations
        self._keys = keys
        self._certificates = certificates

    def check(self, request: Request) -> Deferred[None] | None:
        """Let a request with a valid token pass, at once when the token was verified before.

        :raises Unauthorized: with a challenge, when the token is missing where it must be, not valid, or revoked.
        :raises Unavailable: when no keys were ever had to verify it with.
        """
        credentials = request.field(b"authorization")
        now = self._now()
        claims = self._cache.get(credentials, now)
        if claims is None:
            return self._read(request, credentials)
        revocations = self._revocations
        if (revocations.users or revocations.keys) and revocations.revoked(claims, now):
            raise invalid(REVOKED)
        request.claims = claims
        request.role = claims.role
        return None

    def _read(self, request: Request, credentials: bytes | None) -> Deferred[None] | None:
        """What is not remembered: find the token and verify it, if need be once more when newer keys came."""
        try:
            token = bearer(request, credentials)
        except InvalidToken as error:
            raise self._refused(error) from error
        if token is None:
            if self._certificates and credentials is None and self._certified(request):
                return None
            if self._required or credentials is not None:
                raise Unauthorized(fields=(CHALLENGE,))
            return None
        try:
            self._verify(request, token)
        except InvalidToken as error:
            newer = self._keys.refresh() if self._keys is not None and isinstance(error, UnknownKey) else None
            if newer is None:
                raise self._refused(error) from error
            return newer.addCallback(self._again, request, token)
        return None

    def _certified(self, request: Request) -> bool:
        """Take the client for whom its certificate names, as long as that is good."""
        claims: Claims | None = getattr(request.transport, "certified", None)
        now = self._now()
        if claims is None or claims.expires <= now:
            return False
        if self._revocations.revoked(claims, now):
            raise Unauthorized("The certificate's subject is revoked", (CHALLENGE,))
        request.claims = claims
        request.role = claims.role
        return True

    def _again(self, _: None, request: Request, token: str) -> None:
        try:
            self._verify(request, token)
        except InvalidToken as error:
            raise self._refused(error) from error

    def _verify(self, request: Request, token: str) -> None:
        credentials = b"Bearer " + token.encode()
        now = self._now()
        claims = self._cache.get(credentials, now)
        if claims is None:
            claims = self._verifier.verify(token, now)
            self._cache.put(credentials, claims)
        if self._revocations.revoked(claims, now):
            raise InvalidToken(REVOKED)
        request.claims = claims
        request.role = claims.role

    def _refused(self, error: InvalidToken) -> GatewayError:
        if isinstance(error, UnknownKey) and self._keys is not None and not self._keys.known:
            return Unavailable("The keys to verify access tokens with are not known yet")
        return invalid(error.reason.replace("_", " "))


def bearer(request: Request, credentials: bytes | None) -> str | None:
    """The token sent, or None: from Authorization, or on a WebSocket route where there is none, from a subprotocol.

    :raises InvalidToken: when more than one was sent.
    """
    if credentials is None:
        offered = request.field(b"sec-websocket-protocol") if request.route.websocket else None
        return bearer_subprotocol(offered) if offered is not None else None
    if b"authorization" in request.repeated:
        raise InvalidToken("several_tokens")
    scheme, _, token = credentials.partition(b" ")
    return token.lstrip(b" ").decode("latin-1") if scheme.lower() == b"bearer" else None
