"""What a role may do: by route and method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from zope.interface import implementer

from gateway.core.errors import Forbidden, MethodNotAllowed, Unauthorized
from gateway.guards.authenticate import CHALLENGE
from gateway.interfaces import IGuard

if TYPE_CHECKING:
    from gateway.http.request import Request

ANY = "*"
"""In a table of roles: every method it does not name."""


@implementer(IGuard)
class AuthorizeGuard:
    """Lets the named roles pass, by the methods the route takes.

    HEAD is allowed what GET is, unless it is named itself (RFC 9110 section 9.3.2). A table of roles lets nobody use a
    method that it does not name, when it has no ``*``.

    :param roles: those who may; by method, with ``*`` for the others; None for everybody.
    :param methods: those the route takes; empty for all.
    """

    name = "authorize"

    def __init__(self, roles: Sequence[str] | Mapping[str, Sequence[str]] | None, methods: Sequence[str] = ()) -> None:
        table = roles if isinstance(roles, Mapping) else {} if roles is None else {ANY: roles}
        self._everybody = roles is None
        self._roles = {method.encode(): frozenset(names) for method, names in table.items()}
        self._others = self._roles.pop(ANY.encode(), frozenset())
        if b"GET" in self._roles:
            self._roles.setdefault(b"HEAD", self._roles[b"GET"])
        taken = [*methods, "HEAD"] if "GET" in methods and "HEAD" not in methods else methods
        self._methods = frozenset(method.encode() for method in taken)
        self._allow = f"Allow: {', '.join(taken)}\r\n".encode()

    def check(self, request: Request) -> None:
        """Look the role up.

        :raises MethodNotAllowed: for a method the route does not take.
        :raises Forbidden: for a role that may not.
        :raises Unauthorized: for a guest who may not: a token could help.
        """
        method = request.method
        if self._methods and method not in self._methods:
            raise MethodNotAllowed(fields=(self._allow,))
        if self._everybody or request.role in self._roles.get(method, self._others):
            return
        if request.claims is None:
            raise Unauthorized(fields=(CHALLENGE,))
        raise Forbidden("Your role may not do this")
