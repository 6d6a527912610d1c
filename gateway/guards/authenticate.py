"""Who asks: the bearer token of a request, verified."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from zope.interface import implementer

from gateway.core.errors import Unauthorized
from gateway.core.tokens import InvalidToken, TokenCache, TokenVerifier, bearer_subprotocol
from gateway.interfaces import IGuard

if TYPE_CHECKING:
    from gateway.http.request import Request

_MISSING = (b"WWW-Authenticate: Bearer\r\n",)


def invalid(reason: str) -> Unauthorized:
    """401 for a token that was sent but is not accepted (RFC 6750 section 3.1)."""
    challenge = f'WWW-Authenticate: Bearer error="invalid_token", error_description="{reason}"\r\n'
    return Unauthorized("The access token is not valid", (challenge.encode(),))


@implementer(IGuard)
class AuthenticateGuard:
    """Sets ``claims`` and ``role`` from the bearer token (RFC 6750 section 2.1).

    :param required: whether guests are refused.
    :param now: the time in seconds since the epoch.
    """

    name = "authenticate"

    def __init__(self, verifier: TokenVerifier, cache: TokenCache, required: bool, now: Callable[[], float]) -> None:
        self._verifier = verifier
        self._cache = cache
        self._required = required
        self._now = now

    def check(self, request: Request) -> None:
        """:raises Unauthorized: with a challenge, when the token is missing where it must be, or not valid."""
        credentials = request.field(b"authorization")
        if credentials is None:
            offered = request.field(b"sec-websocket-protocol") if request.upgrading else None
            token = bearer_subprotocol(offered) if offered is not None else None
            if token is None:
                if self._required:
                    raise Unauthorized(fields=_MISSING)
                return
            credentials = b"Bearer " + token.encode()
        now = self._now()
        claims = self._cache.get(credentials, now)
        if claims is None:
            if b"authorization" in request.repeated:
                raise invalid("more than one was sent")
            scheme, _, encoded = credentials.partition(b" ")
            if scheme.lower() != b"bearer" or not encoded.isascii():
                raise Unauthorized(fields=_MISSING)
            try:
                claims = self._verifier.verify(encoded.strip().decode("ascii"), now)
            except InvalidToken as error:
                raise invalid(error.reason.replace("_", " ")) from None
            self._cache.put(credentials, claims)
        request.claims = claims
        request.role = claims.role
