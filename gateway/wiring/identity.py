"""Who clients are: what all routes verify tokens and API keys with, who fetches the keys, and whom nobody knows now."""

from __future__ import annotations

from typing import Any, Final

from gateway.config import Settings
from gateway.core.api_keys import API_KEYS, ApiKeys
from gateway.core.errors import GatewayError
from gateway.core.keys import Key
from gateway.core.revocations import BLACKLIST, KEYS, USERS, Revocations
from gateway.core.tokens import Claims, TokenCache, TokenVerifier
from gateway.guards import api_keys, authenticate
from gateway.guards.api_keys import ApiKeyGuard, ConcealApiKeyGuard
from gateway.guards.authenticate import AuthenticateGuard
from gateway.guards.keys import PublishedKeys, fetching_client
from gateway.http.sweep import Sweep
from gateway.interfaces import IGuard, IRecords

_WATCHED: Final = (BLACKLIST, USERS, KEYS)


class Identity:
    """The verifier of ``[jwt]``, its cache and its keys, the API keys and the revocations: shared by all routes.

    :ivar keys: who fetches published keys; None where there are none to fetch.
    :ivar sweep: what ends answers in progress of clients whose credentials were revoked.
    """

    def __init__(self, settings: Settings, reactor: Any, records: IRecords, revocations: Revocations) -> None:
        jwt = settings.jwt
        self._now = reactor.seconds
        self._settings = settings.api_keys
        self._records = records
        self._certificates = settings.tls.client_auth != "none"
        self._cache = TokenCache()
        self._revocations = revocations
        self._api_keys = ApiKeys()
        self.sweep = Sweep(reactor, self._refusal)
        self._verifier: TokenVerifier | None = None
        self.keys: PublishedKeys | None = None
        if any(route.auth != "none" for route in settings.routes):
            self._verifier = TokenVerifier(
                jwt.key(), jwt.algorithms, jwt.issuer, jwt.audience, jwt.role_claim, jwt.leeway
            )
            if jwt.jwks_url:
                client = fetching_client(reactor)
                self.keys = PublishedKeys(client, reactor, jwt.jwks_url, jwt.algorithms, self._changed)
            for prefix in _WATCHED:
                records.watch(prefix, self._revoked)
            if settings.api_keys.enabled:
                records.watch(API_KEYS, self._api_key_changed)

    def _changed(self, keys: tuple[Key, ...]) -> None:
        assert self._verifier is not None
        self._verifier.publish(keys)
        self._cache.clear()

    def _revoked(self, key: str, value: str | None, seconds: float | None) -> None:
        if value is not None:
            self.sweep.soon()

    def _api_key_changed(self, key: str, value: str | None, seconds: float | None) -> None:
        self._api_keys.tell(key, value, seconds, self._now())
        self.sweep.soon()

    def _refusal(self, claims: Claims) -> GatewayError | None:
        """Why a client that was let in may have nothing more."""
        revoked = self._revocations.revoked(claims, self._now())
        if claims.api_key:
            return api_keys.withdrawn() if revoked or not self._api_keys.holds(claims) else None
        return authenticate.withdrawn() if revoked else None

    def guards(self, auth: str) -> list[IGuard]:
        """The guards that find out who asks on a route.

        :param auth: what the route says: ``none``, ``optional`` or ``required``.
        """
        of = self._settings
        if auth == "none":
            return [ConcealApiKeyGuard(of.header)] if of.enabled else []
        assert self._verifier is not None
        tokens = AuthenticateGuard(
            self._verifier,
            self._cache,
            auth == "required",
            self._now,
            self._revocations,
            self.keys,
            self._certificates,
        )
        if not of.enabled:
            return [tokens]
        return [
            ApiKeyGuard(of.header, self._api_keys, lambda: self._records.loaded, tokens, self._now, self._revocations)
        ]
