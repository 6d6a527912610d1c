"""Whether this request may pass now: its token not revoked, its client within the limit."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from zope.interface import implementer

from gateway.core.addresses import bucket
from gateway.core.errors import RateLimited, Unavailable
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
    :param sure: whether no token passes whose revocation nobody could hear of now; about each that has an id the store
        is asked anyway.
    """

    name = "admit"

    def __init__(self, store: IStore, limits: Limits, counts: bool, sure: bool = False) -> None:
        self._store = store
        self._limits = limits
        self._counts = counts
        self._sure = sure

    def check(self, request: Request) -> Deferred[None] | None:
        """Let a request pass, once the store has been asked where there is something to ask.

        :raises Unauthorized: (the Deferred fails with it) for a revoked token; RateLimited over the limit.
        :raises Unavailable: when it cannot be told whether the credentials are revoked, and that must be sure.
        """
        claims = request.claims
        limit = self._limits.for_role(request.role) if self._counts else None
        if claims is None:
            if limit is None:
                return None
            asked = self._store.ask("", "ip:" + bucket(request.remote))
        else:
            if self._sure and not claims.token_id and self._store.degraded:
                raise Unavailable
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
