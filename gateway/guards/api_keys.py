"""Who asks, where machines may send an API key in place of a bearer token."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from zope.interface import implementer

from gateway.core.api_keys import ApiKeys, InvalidApiKey
from gateway.core.errors import Unauthorized, Unavailable
from gateway.core.revocations import Revocations
from gateway.core.tokens import InvalidToken
from gateway.guards.authenticate import CHALLENGE, REVOKED, AuthenticateGuard, bearer
from gateway.interfaces import IGuard

if TYPE_CHECKING:
    from gateway.http.request import Request


def refused(reason: str, message: str = "The API key is not valid") -> Unauthorized:
    """401 with both ways to ask again; ``reason`` is for people."""
    challenge = f'WWW-Authenticate: ApiKey error="invalid_key", error_description="{reason}"\r\n'
    return Unauthorized(message, (CHALLENGE, challenge.encode()))


def withdrawn() -> Unauthorized:
    """What ends an answer in progress when its API key is revoked or changed meanwhile."""
    return refused(REVOKED, "The API key was revoked")


@implementer(IGuard)
class ConcealApiKeyGuard:
    """Takes API keys out of requests that nobody asks for one: no upstream ever sees a key.

    :param header: the field that keys come in.
    """

    name = "authenticate"

    def __init__(self, header: str) -> None:
        self._field = header.lower().encode()

    def check(self, request: Request) -> None:
        """Never refuses."""
        _taken(request, self._field)


@implementer(IGuard)
class ApiKeyGuard:
    """Sets ``claims`` and ``role`` from an API key; a request without one is left to ``tokens``.

    :param header: the field that keys come in.
    :param keys: those known.
    :param loaded: whether all of them were ever told.
    :param tokens: what reads bearer tokens on this route.
    :param now: the time in seconds since the epoch.
    :param revocations: those of users count for their keys as well.
    """

    name = "authenticate"

    def __init__(
        self,
        header: str,
        keys: ApiKeys,
        loaded: Callable[[], bool],
        tokens: AuthenticateGuard,
        now: Callable[[], float],
        revocations: Revocations,
    ) -> None:
        self._field = header.lower().encode()
        self._keys = keys
        self._loaded = loaded
        self._tokens = tokens
        self._now = now
        self._revocations = revocations

    def check(self, request: Request) -> Deferred[None] | None:
        """Let a request pass whose key is known, at once; one without a key as :class:`AuthenticateGuard` does.

        :raises Unauthorized: for a key that is not valid, or not the only credentials.
        :raises Unavailable: when the keys were never told.
        """
        key = _taken(request, self._field)
        if key is None:
            return self._tokens.check(request)
        if self._field in request.repeated or _has_token(request):
            raise refused("several credentials")
        now = self._now()
        try:
            claims = self._keys.claims(key, now)
        except InvalidApiKey as error:
            if not self._loaded():
                raise Unavailable("The API keys are not known yet") from error
            raise refused(str(error)) from error
        if self._revocations.revoked(claims, now):
            raise refused(REVOKED)
        request.claims = claims
        request.role = claims.role
        return None


def _taken(request: Request, field: bytes) -> bytes | None:
    """The key that came, which is now no longer part of what passes on; None when there is none."""
    key = request.field(field)
    if key is not None:
        request.raw_fields = [pair for pair in request.raw_fields if pair[0].lower != field]
    return key


def _has_token(request: Request) -> bool:
    try:
        return request.field(b"authorization") is not None or bearer(request, None) is not None
    except InvalidToken:
        return True
