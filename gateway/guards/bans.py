"""Who is banned: the first question of all, since it costs least."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from zope.interface import implementer

from gateway.core.bans import BanList
from gateway.core.errors import Banned
from gateway.interfaces import IGuard

if TYPE_CHECKING:
    from gateway.http.request import Request


@implementer(IGuard)
class BanGuard:
    """Refuses banned clients whose connection could not be refused: one of a proxy, which has others as well."""

    name = "bans"

    def __init__(self, banned: BanList) -> None:
        self._banned = banned

    def check(self, request: Request) -> None:
        """:raises Banned: for a client that is."""
        ban = self._banned.find(request.remote, request.received)
        if ban is not None:
            raise Banned(
                fields=() if ban.until is None else (b"Retry-After: %d\r\n" % ceil(ban.until - request.received),)
            )
