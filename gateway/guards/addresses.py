"""Which addresses may come in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import implementer

from gateway.core.addresses import Networks
from gateway.core.errors import Forbidden
from gateway.interfaces import IGuard

if TYPE_CHECKING:
    from gateway.http.request import Request


@implementer(IGuard)
class AddressGuard:
    """Refuses clients of denied networks, and, where some are allowed, of all others; deny wins."""

    name = "addresses"

    def __init__(self, allow: Networks, deny: Networks) -> None:
        self._allow = allow
        self._deny = deny

    def check(self, request: Request) -> None:
        """:raises Forbidden: for an address that may not come in."""
        remote = request.remote
        if (self._deny and remote in self._deny) or (self._allow and remote not in self._allow):
            raise Forbidden("This address may not use this service")
