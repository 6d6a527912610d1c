"""API keys: what one looks like, what is written down of it, and those that are known here."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from hashlib import sha256
from math import inf
from typing import Any, Final

from gateway.core.tokens import BY_ROLE, LATEST, MAX_NAME, Claims

API_KEYS: Final = "apikey:"
"""Before the SHA-256 of a whole key, in hex; the value is an :class:`ApiKey` as JSON."""
REMEMBERED: Final = 100_000
MAX_LIMIT: Final = 2**31 - 1
UNLIMITED: Final = "unlimited"

_FORM: Final = re.compile(rb"sg_[0-9a-f]{12}_[0-9A-Za-z_-]{43}")


class InvalidApiKey(Exception):
    """An API key that is not accepted; its text says why, and holds nothing of the key."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is written down of a key; times in seconds since the epoch."""

    id: str
    name: str
    """What it is for, in words for people."""
    subject: str
    role: str
    limit: int | None = BY_ROLE
    """Requests in a window; None is no limit."""
    created: float = 0.0
    expires: float = inf

    def dump(self) -> str:
        """As a record's value; what goes without saying is left out."""
        said: dict[str, Any] = {"id": self.id, "name": self.name, "subject": self.subject, "role": self.role}
        if self.limit != BY_ROLE:
            said["limit"] = UNLIMITED if self.limit is None else self.limit
        said["created"] = self.created
        if self.expires < inf:
            said["expires"] = self.expires
        return json.dumps(said)

    @classmethod
    def parse(cls, value: str) -> ApiKey:
        """Read a record's value.

        :raises ValueError: when it is not one.
        """
        try:
            said = json.loads(value)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not isinstance(said, dict):
            raise ValueError("not an object")
        key_id, limit = _text(said, "id"), said.get("limit", BY_ROLE)
        if limit == UNLIMITED:
            limit = None
        elif type(limit) is not int or not BY_ROLE <= limit <= MAX_LIMIT:
            raise ValueError("limit")
        return cls(
            key_id,
            _text(said, "name", key_id),
            _text(said, "subject", subject_of(key_id)),
            _text(said, "role", ""),
            limit,
            _time(said, "created", 0.0),
            _time(said, "expires", inf),
        )


def subject_of(key_id: str) -> str:
    """Who the client of a key is when nobody else is named."""
    return f"key:{key_id}"


def new_key() -> tuple[str, str]:
    """A new key's id and the whole key, ``sg_<id>_<secret>`` with 256 random bits."""
    key_id = secrets.token_hex(6)
    return key_id, f"sg_{key_id}_{secrets.token_urlsafe(32)}"


def digest(key: bytes) -> str:
    """What a key is known by: it cannot be found from this, since nobody can try 2**256 secrets."""
    return sha256(key).hexdigest()


class ApiKeys:
    """The keys that are known here, told by the records under :data:`API_KEYS`.

    :param size: how many are known at most; those told beyond it are not taken.
    """

    def __init__(self, size: int = REMEMBERED) -> None:
        self._size = size
        self._known: dict[str, tuple[Claims, float]] = {}  # digest -> claims, end of the record

    def tell(self, key: str, value: str | None, seconds: float | None, now: float) -> None:
        """A record was written, or is gone; one that cannot be read is no key.

        :param seconds: what it has left; None when it stays.
        """
        name = key[len(API_KEYS) :]
        self._known.pop(name, None)
        if value is None or len(self._known) >= self._size:
            return
        try:
            said = ApiKey.parse(value)
        except ValueError:
            return
        claims = Claims(
            subject=said.subject,
            role=said.role,
            token_id="",
            issued_at=said.created,
            expires=said.expires,
            limit=said.limit,
            api_key=name,
        )
        self._known[name] = claims, inf if seconds is None else now + seconds

    def claims(self, key: bytes, now: float) -> Claims:
        """Who sends ``key``.

        :raises InvalidApiKey: when nobody may.
        """
        if _FORM.fullmatch(key) is None:
            raise InvalidApiKey("malformed")
        known = self._known.get(digest(key))
        if known is None:
            raise InvalidApiKey("unknown")
        claims, end = known
        if now >= min(claims.expires, end):
            raise InvalidApiKey("expired")
        return claims

    def holds(self, claims: Claims) -> bool:
        """Whether the key that ``claims`` came from is still known, and says the same."""
        return self._known.get(claims.api_key, (None,))[0] == claims


def _text(said: dict[str, Any], name: str, default: str | None = None) -> str:
    value = said.get(name, default)
    if not isinstance(value, str) or len(value) > MAX_NAME or not value.isprintable() or not (value or default == ""):
        raise ValueError(name)
    return value


def _time(said: dict[str, Any], name: str, default: float) -> float:
    value = said.get(name, default)
    if type(value) not in (int, float) or not value >= 0:
        raise ValueError(name)
    return inf if value >= LATEST else float(value)
