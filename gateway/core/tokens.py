"""Access tokens: what a valid one says, how one is verified, and those already verified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import jwt

MAX_TOKEN = 8192
MAX_CLAIM = 256
_CACHE_SIZE = 10_000


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says; times in seconds since the epoch."""

    subject: str
    role: str
    token_id: str
    issued_at: float
    expires: float


class InvalidToken(Exception):
    """A token that is not accepted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        """A short label, fit for a metric."""


def bearer_subprotocol(value: bytes) -> str | None:
    """The token in a Sec-WebSocket-Protocol value that offers ``bearer.<token>``, where a browser can put one."""
    for offer in value.split(b","):
        offer = offer.strip()
        if offer.startswith(b"bearer.") and offer.isascii():
            return offer[7:].decode("ascii")
    return None


class TokenVerifier:
    """Verifies tokens against one key (RFC 7519, RFC 8725).

    :param key: the shared secret, or a public key.
    :param algorithms: those the key is for; what the token says only picks among them.
    :param leeway: seconds by which clocks may differ.
    """

    def __init__(
        self,
        key: Any,
        algorithms: Sequence[str],
        issuer: str = "",
        audience: str = "",
        role_claim: str = "role",
        leeway: float = 60.0,
    ) -> None:
        self._key = key
        self._algorithms = list(algorithms)
        self._issuer = issuer
        self._audience = audience
        self._role_claim = role_claim
        self._leeway = leeway

    def verify(self, token: str, now: float) -> Claims:
        """The claims of ``token`` at ``now``.

        :raises InvalidToken: whatever is wrong with it.
        """
        if len(token) > MAX_TOKEN:
            raise InvalidToken("too_long")
        options: Any = {f"verify_{name}": False for name in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")}
        try:
            payload = jwt.decode(token, self._key, algorithms=self._algorithms, options=options)
        except jwt.InvalidSignatureError:
            raise InvalidToken("bad_signature") from None
        except jwt.InvalidAlgorithmError:
            raise InvalidToken("bad_algorithm") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise InvalidToken("malformed") from None
        return self._claims(payload, now)

    def _claims(self, payload: dict[str, Any], now: float) -> Claims:
        expires = _time(payload.get("exp"))
        if expires is None:
            raise InvalidToken("no_expiry")
        if expires + self._leeway <= now:
            raise InvalidToken("expired")
        for name in ("nbf", "iat"):
            if name in payload:
                moment = _time(payload[name])
                if moment is None or moment - self._leeway > now:
                    raise InvalidToken("not_yet_valid")
        if self._issuer and payload.get("iss") != self._issuer:
            raise InvalidToken("wrong_issuer")
        if self._audience:
            audience = payload.get("aud")
            if self._audience not in (audience if isinstance(audience, list) else [audience]):
                raise InvalidToken("wrong_audience")
        subject, token_id = payload.get("sub"), payload.get("jti", "")
        if not _text(subject) or not subject or not _text(token_id):
            raise InvalidToken("bad_claims")
        role = payload.get(self._role_claim)
        return Claims(
            subject=str(subject),
            role=role if _text(role) else "",
            token_id=token_id,
            issued_at=_time(payload.get("iat")) or 0.0,
            expires=expires,
        )


class TokenCache:
    """Tokens that were verified before, each until it expires; the oldest half goes when it is full."""

    def __init__(self, size: int = _CACHE_SIZE) -> None:
        self._size = size
        self._known: dict[bytes, Claims] = {}

    def get(self, credentials: bytes, now: float) -> Claims | None:
        """The claims of exactly these credentials, unless they have expired."""
        claims = self._known.get(credentials)
        return claims if claims is not None and claims.expires > now else None

    def put(self, credentials: bytes, claims: Claims) -> None:
        """Remember verified credentials."""
        if len(self._known) >= self._size:
            for old in list(self._known)[: self._size // 2]:
                del self._known[old]
        self._known[credentials] = claims

    def clear(self) -> None:
        """Forget all: the keys have changed."""
        self._known.clear()


def _time(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e12 and isfinite(value) else None


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_CLAIM and (value.isprintable() or not value)
