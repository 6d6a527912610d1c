"""How many requests a role may make, and how the answer says so."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

_LINES = b"RateLimit-Policy: %d;w=%d\r\nRateLimit-Limit: %d\r\nRateLimit-Remaining: %d\r\nRateLimit-Reset: %d\r\n"


class Limits:
    """Requests allowed in a window, by role; None is unlimited.

    :param window: seconds.
    """

    def __init__(self, default: int | None, roles: Mapping[str, int | None], window: float) -> None:
        self._default = default
        self._roles = dict(roles)
        self.window = window

    def for_role(self, role: str) -> int | None:
        """The limit of ``role``; guests and roles that nobody configured get the default."""
        return self._roles.get(role, self._default)

    def lines(self, limit: int, hits: int, reset: float) -> bytes:
        """The RateLimit fields (draft-ietf-httpapi-ratelimit-headers-06), as header lines."""
        return _LINES % (
            limit,
            ceil(self.window),
            limit,
            limit - hits if hits < limit else 0,
            ceil(reset),
        )
