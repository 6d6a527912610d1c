"""How large a request's body may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import implementer

from gateway.interfaces import IGuard

if TYPE_CHECKING:
    from gateway.http.request import Request


@implementer(IGuard)
class SizeGuard:
    """Refuses a body that says it is too large at once; one that does not say is counted while it comes."""

    name = "size"

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def check(self, request: Request) -> None:
        """:raises BodyTooLarge: when the limit in bytes is known to be passed."""
        request.limit_body(self._limit)
