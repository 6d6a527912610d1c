"""How many requests a role may make in a window, and how an answer says so."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import ceil

_REMEMBERED = 16384


class Limits:
    """How many requests each role may make in one window; None is no limit.

    :param default: for guests and for roles that are not in ``roles``.
    :param window: seconds.
    """

    __slots__ = ("_default", "_roles", "window")

    def __init__(self, default: int | None, roles: Mapping[str, int | None], window: float) -> None:
        self._default = default
        self._roles = dict(roles)
        self.window = window

    def for_role(self, role: str) -> int | None:
        """How many requests ``role`` may make in a window; None when it is not limited."""
        return self._roles.get(role, self._default)

    def lines(self, limit: int, hits: int, reset: float) -> bytes:
        """The header lines that tell a client what it has left (draft-ietf-httpapi-ratelimit-headers-06).

        :param limit: requests that a window allows.
        :param hits: requests counted in this window, the one being answered included.
        :param reset: seconds until the window ends.
        """
        return _lines(limit, limit - hits if hits < limit else 0, ceil(reset), ceil(self.window))


@lru_cache(_REMEMBERED)
def _lines(limit: int, remaining: int, reset: int, window: int) -> bytes:
    return b"RateLimit-Policy: %d;w=%d\r\nRateLimit-Limit: %d\r\nRateLimit-Remaining: %d\r\nRateLimit-Reset: %d\r\n" % (
        limit,
        window,
        limit,
        remaining,
        reset,
    )
