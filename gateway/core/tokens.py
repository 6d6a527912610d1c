"""Access tokens: what a valid one says, how one is verified, and those already verified."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NoReturn

from jwt import InvalidSignatureError, PyJWS, PyJWTError

from gateway.core.keys import ASYMMETRIC, SYMMETRIC, Key, configured_key

MAX_TOKEN: Final = 8192
"""The longest token looked at, in characters."""
MAX_NAME: Final = 255
"""The longest ``sub``, ``jti`` and role, in characters."""
LATEST: Final = 253_402_300_800.0
"""The end of the year 9999, in seconds since the epoch: beyond it nothing is a time."""
BY_ROLE: Final = 0
"""A limit that is the role's."""

_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_CACHE_SIZE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says, or the record of an API key; times in seconds since the epoch."""

    subject: str
    role: str
    """``""`` when the token names none."""
    token_id: str
    """Its ``jti``, ``""`` when it has none and so cannot be revoked alone."""
    issued_at: float
    """0 when it does not say."""
    expires: float
    """Its ``exp``, as it stands there: without leeway."""
    key_id: str = ""
    """The ``kid`` of the published key it was verified with; ``""`` for the configured one."""
    limit: int | None = BY_ROLE
    """Requests in a window; None is no limit."""
    api_key: str = ""
    """The digest of the API key it stands for, ``""`` for a token."""


class InvalidToken(Exception):
    """A token that is not accepted.

    :param reason: a short label in snake_case, fit for a metric; it holds nothing of the token.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UnknownKey(InvalidToken):
    """No key is known under the token's ``kid``: a newer key set may have it."""

    def __init__(self) -> None:
        super().__init__("unknown_kid")


def bearer_subprotocol(value: bytes) -> str | None:
    """The token in a Sec-WebSocket-Protocol value that offers ``bearer.<token>``, where a browser can put one.

    :returns: None when no offer is a bearer's; ``""``, or text that is no token, when the offer has none.
    :raises InvalidToken: for several of them.
    """
    found = [name[7:] for offer in value.split(b",") if (name := offer.strip(b" \t")).startswith(b"bearer.")]
    if len(found) > 1:
        raise InvalidToken("several_tokens")
    return found[0].decode("latin-1") if found else None


class TokenVerifier:
    """Verifies JWTs in the compact form of JWS (RFC 7519, RFC 7515), by the advice of RFC 8725.

    :param key: the shared secret, or a public key in PEM; ``b""`` when all keys are published ones.
    :param algorithms: those that are accepted; what a token's head says only picks among those of its key.
    :param issuer: what ``iss`` must be; ``""`` for anything.
    :param audience: what ``aud`` must be or contain; ``""`` for anything.
    :param role_claim: which claim has the role.
    :param leeway: seconds by which clocks may differ.
    :raises ValueError: for an unknown algorithm, or a key that fits none.
    """

    def __init__(
        self,
        key: bytes,
        algorithms: Sequence[str],
        issuer: str = "",
        audience: str = "",
        role_claim: str = "role",
        leeway: float = 60.0,
    ) -> None:
        unknown = set(algorithms).difference(SYMMETRIC, ASYMMETRIC)
        if unknown:
            raise ValueError(f"unknown algorithms: {', '.join(sorted(unknown))}")
        self._jws = PyJWS(algorithms)
        self._algorithms = frozenset(algorithms)
        self._configured = (configured_key(key, algorithms),) if key else ()
        self._keys: tuple[Key, ...] = self._configured
        self._issuer = issuer
        self._audience = audience
        self._role_claim = role_claim
        self._leeway = leeway

    def publish(self, keys: Iterable[Key]) -> None:
        """Verify with these published keys from now on, in place of those published before."""
        self._keys = (*self._configured, *keys)

    def verify(self, token: str, now: float) -> Claims:
        """The claims of ``token`` at ``now``, in seconds since the epoch.

        :raises UnknownKey: when no key is known under its ``kid``.
        :raises InvalidToken: whatever else is wrong with it.
        """
        if len(token) > MAX_TOKEN:
            raise InvalidToken("too_long")
        if _COMPACT.fullmatch(token) is None:
            raise InvalidToken("malformed")
        encoded = token.partition(".")[0]
        try:
            head = _json_object(urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
        except ValueError:
            raise InvalidToken("malformed") from None
        key, algorithm = self._key_for(head)
        try:
            payload = self._jws.decode_complete(token, key.material, [algorithm])["payload"]
        except InvalidSignatureError:
            raise InvalidToken("bad_signature") from None
        except (PyJWTError, ValueError):
            raise InvalidToken("malformed") from None
        try:
            said = _json_object(payload)
        except ValueError:
            raise InvalidToken("bad_payload") from None
        return self._claims(said, now, key.id or "")

    def _key_for(self, head: dict[str, Any]) -> tuple[Key, str]:
        """The key and the algorithm to verify with; of the head only ``alg`` and ``kid`` are heeded."""
        if "crit" in head or head.get("b64", True) is not True:
            raise InvalidToken("critical_header")
        algorithm, key_id = head.get("alg"), head.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise InvalidToken("bad_algorithm")
        if key_id is not None and not isinstance(key_id, str):
            raise InvalidToken("malformed")
        named = [key for key in self._keys if key_id is None or key.id is None or key.id == key_id]
        fitting = [key for key in named if algorithm in key.algorithms]
        if not fitting:
            if key_id is not None and any(key.id == key_id for key in named):
                raise InvalidToken("bad_algorithm")
            raise UnknownKey
        exact = [key for key in fitting if key.id == key_id]
        if not exact and len(fitting) > 1:
            raise InvalidToken("missing_kid")
        return (exact or fitting)[0], algorithm

    def _claims(self, said: dict[str, Any], now: float, key_id: str) -> Claims:
        expires, begins, issued = _date(said, "exp"), _date(said, "nbf"), _date(said, "iat")
        if expires is None:
            raise InvalidToken("no_expiry")
        if expires + self._leeway <= now:
            raise InvalidToken("expired")
        if max(begins or 0.0, issued or 0.0) - self._leeway > now:
            raise InvalidToken("not_yet_valid")
        if self._issuer and said.get("iss") != self._issuer:
            raise InvalidToken("wrong_issuer")
        if self._audience:
            audience = said.get("aud")
            if self._audience not in (audience if isinstance(audience, list) else [audience]):
                raise InvalidToken("wrong_audience")
        role = said.get(self._role_claim)
        return Claims(
            subject=_name(said.get("sub"), "bad_subject"),
            role=_name(role, "bad_role") if isinstance(role, str) and role else "",
            token_id=_name(said["jti"], "bad_token_id") if "jti" in said else "",
            issued_at=issued or 0.0,
            expires=expires,
            key_id=key_id,
        )


class TokenCache:
    """Tokens that were verified before, none past its ``exp``; the oldest half goes when it is full.

    :param size: how many are kept.
    """

    def __init__(self, size: int = _CACHE_SIZE) -> None:
        self._size = size
        self._known: dict[bytes | None, Claims] = {}

    def get(self, credentials: bytes | None, now: float) -> Claims | None:
        """The claims of exactly these credentials, unless they have expired; None for None."""
        claims = self._known.get(credentials)
        return claims if claims is not None and claims.expires > now else None

    def put(self, credentials: bytes, claims: Claims) -> None:
        """Remember verified credentials."""
        if len(self._known) >= self._size:
            self._known = dict(islice(self._known.items(), (self._size + 1) // 2, None))
        self._known[credentials] = claims

    def clear(self) -> None:
        """Forget all: the keys have changed."""
        self._known = {}


def _json_object(data: bytes) -> dict[str, Any]:
    """A JSON object in which no name stands twice (RFC 7519 section 4), in UTF-8.

    :raises ValueError: for anything else.
    """
    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name stands twice")
    return members


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _date(said: dict[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519 section 2), or None where there is none."""
    if name not in said:
        return None
    value = said[name]
    if type(value) not in (int, float) or not 0 <= value < LATEST:
        raise InvalidToken(f"bad_{name}")
    return float(value)


def _name(value: Any, reason: str) -> str:
    """Text that can stand in a log line, a header and a key: short, and without control characters."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME or not value.isprintable():
        raise InvalidToken(reason)
    return value
