"""Whether this request may pass now: its token not revoked, its client within the limit."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from zope.interface import implementer

from gateway.core.addresses import bucket
from gateway.core.errors import RateLimited
from gateway.core.limits import Limits
from gateway.core.tokens import BY_ROLE
from gateway.guards.authenticate import REVOKED, invalid
from gateway.interfaces import IGuard, IStore, Verdict

if TYPE_CHECKING:
    from gateway.http.request import Request


@implementer(IGuard)
class AdmitGuard:
    """Asks the store once about token and client.

    :param counts: whether requests of this route are counted.
    """

    name = "admit"

    def __init__(self, store: IStore, limits: Limits, counts: bool) -> None:
        self._store = store
        self._limits = limits
        self._counts = counts

    def check(self, request: Request) -> Deferred[None] | None:
        """:raises Unauthorized: (the Deferred fails with it) for a revoked token; RateLimited over the limit."""
        claims = request.claims
        limit = self._limits.for_role(request.role) if self._counts else None
        if claims is None:
            if limit is None:
                return None
            asked = self._store.ask("", "ip:" + bucket(request.remote))
        else:
            counted = "user:" + claims.subject
            if claims.limit != BY_ROLE and self._counts:
                limit, counted = claims.limit, "key:" + claims.api_key
            if limit is None:
                counted = ""
            if not counted and not claims.token_id:
                return None
            asked = self._store.ask(claims.token_id, counted)
        return asked.addCallback(self._judge, request, limit)

    def _judge(self, verdict: Verdict, request: Request, limit: int | None) -> None:
        if verdict.revoked:
            raise invalid(REVOKED)
        if limit is not None and verdict.hits:
            request.answer_fields.append(self._limits.lines(limit, verdict.hits, verdict.reset))
            if verdict.hits > limit:
                raise RateLimited(fields=(b"Retry-After: %d\r\n" % ceil(verdict.reset),))
