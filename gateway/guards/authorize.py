"""What a role may do: by route and method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from zope.interface import implementer

from gateway.core.errors import Forbidden, MethodNotAllowed
from gateway.interfaces import IGuard

if TYPE_CHECKING:
    from gateway.http.request import Request


@implementer(IGuard)
class AuthorizeGuard:
    """Lets the named roles pass.

    :param roles: those who may; by method, with ``*`` for the others; None for everybody.
    :param methods: those the route takes; empty for all.
    """

    name = "authorize"

    def __init__(self, roles: Sequence[str] | Mapping[str, Sequence[str]] | None, methods: Sequence[str]) -> None:
        table = roles if isinstance(roles, Mapping) else {} if roles is None else {"*": roles}
        self._roles = {method.encode(): frozenset(names) for method, names in table.items()}
        self._methods = frozenset(method.encode() for method in methods)
        self._allow = (f"Allow: {', '.join(methods)}\r\n".encode(),)

    def check(self, request: Request) -> None:
        """:raises Forbidden: for a role that may not; MethodNotAllowed for a method nobody may use."""
        method = request.method
        if self._methods and method not in self._methods:
            raise MethodNotAllowed(fields=self._allow)
        if self._roles:
            allowed = self._roles.get(method, self._roles.get(b"*"))
            if allowed is not None and request.role not in allowed:
                raise Forbidden("Your role may not do this")
