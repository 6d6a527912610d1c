"""Who clients are: what all routes verify tokens with, and who fetches its keys."""

from __future__ import annotations

from typing import Any

from gateway.config import Settings
from gateway.core.keys import Key
from gateway.core.tokens import TokenCache, TokenVerifier
from gateway.guards.authenticate import AuthenticateGuard
from gateway.guards.keys import PublishedKeys, fetching_client


class Identity:
    """The verifier of ``[jwt]``, its cache and its keys: shared by all routes that ask for tokens.

    :ivar keys: who fetches published keys; None where there are none to fetch.
    """

    def __init__(self, settings: Settings, reactor: Any) -> None:
        jwt = settings.jwt
        self._now = reactor.seconds
        self._cache = TokenCache()
        self._verifier: TokenVerifier | None = None
        self.keys: PublishedKeys | None = None
        if any(route.auth != "none" for route in settings.routes):
            self._verifier = TokenVerifier(
                jwt.key(), jwt.algorithms, jwt.issuer, jwt.audience, jwt.role_claim, jwt.leeway
            )
            if jwt.jwks_url:
                client = fetching_client(reactor)
                self.keys = PublishedKeys(client, reactor, jwt.jwks_url, jwt.algorithms, self._changed)

    def _changed(self, keys: tuple[Key, ...]) -> None:
        assert self._verifier is not None
        self._verifier.publish(keys)
        self._cache.clear()

    def guard(self, required: bool) -> AuthenticateGuard:
        """The guard of a route that verifies tokens.

        :param required: whether it refuses guests.
        """
        assert self._verifier is not None
        return AuthenticateGuard(self._verifier, self._cache, required, self._now, self.keys)
