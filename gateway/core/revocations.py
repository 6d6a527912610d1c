"""Which tokens count no longer: one by its ``jti``, a user's that were issued before a time, all of an issuer's key."""

from __future__ import annotations

from math import inf, isfinite
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from gateway.core.tokens import Claims

BLACKLIST: Final = "blacklist:"
"""Before a ``jti``; the value says nothing."""
USERS: Final = "revoked:user:"
"""Before a ``sub``; the value is a time in seconds since the epoch."""
KEYS: Final = "revoked:key:"
"""Before the ``kid`` of an issuer's key; the value says nothing."""
REMEMBERED: Final = 100_000


class _Revocation(NamedTuple):
    before: float
    """What was issued earlier is revoked."""
    until: float
    """When the record ends."""


class Revocations:
    """The revocations that are known here, told by the records under :data:`BLACKLIST`, :data:`USERS` and :data:`KEYS`.

    :param size: how many of each kind are remembered; beyond it the one told first is forgotten.

    :ivar tokens: by ``jti``.
    :ivar users: by ``sub``.
    :ivar keys: by ``kid``.
    """

    __slots__ = ("_size", "keys", "tokens", "users")

    def __init__(self, size: int = REMEMBERED) -> None:
        self._size = size
        self.tokens: dict[str, _Revocation] = {}
        self.users: dict[str, _Revocation] = {}
        self.keys: dict[str, _Revocation] = {}

    def tell(self, key: str, value: str | None, seconds: float | None, now: float) -> None:
        """A record was written, or is gone.

        :param value: what it says; None when it is gone. A time that cannot be read revokes whatever was issued.
        :param seconds: what it has left; None when it stays.
        """
        for prefix, revoked in ((BLACKLIST, self.tokens), (USERS, self.users), (KEYS, self.keys)):
            name = key[len(prefix) :]
            if key.startswith(prefix) and name:
                revoked.pop(name, None)
                if value is not None:
                    if len(revoked) >= self._size:
                        del revoked[next(iter(revoked))]
                    before = issued_before(value) if revoked is self.users else inf
                    revoked[name] = _Revocation(before, inf if seconds is None else now + seconds)

    def blacklisted(self, token_id: str, now: float) -> bool:
        """Whether the one token with this ``jti`` is revoked."""
        return token_id in self.tokens and now < self.tokens[token_id].until

    def revoked(self, claims: Claims, now: float) -> bool:
        """Whether ``claims`` count no longer; a token that does not say when it was issued was issued long ago."""
        for revocation in (
            self.tokens.get(claims.token_id),
            self.users.get(claims.subject),
            self.keys.get(claims.key_id),
        ):
            if revocation is not None and claims.issued_at < revocation.before and now < revocation.until:
                return True
        return False


def issued_before(value: str) -> float:
    """What the record of a user says; a time that cannot be read revokes whatever was issued."""
    try:
        time = float(value)
    except ValueError:
        return inf
    return time if isfinite(time) else inf
