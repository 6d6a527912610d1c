"""The seams of the gateway: what a guard, a balancer and a store are to everybody else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from gateway.http.request import Request

T = TypeVar("T")


class IGuard(Interface):
    """One rule in front of a leaf of the tree."""

    name: str = Attribute("What the access log and the metrics call this guard.")

    def check(request: Request) -> Deferred[None] | None:
        """Pass the request on, or refuse it.

        A guard that can tell at once returns None, or raises; only one that must wait returns a Deferred.

        :raises GatewayError: (or the Deferred fails with one) when the request is refused.
        """


class IBalancer(Interface):
    """How one instance is picked from many."""

    def pick(instances: Sequence[Any]) -> Any:
        """One of ``instances``, a non-empty sequence of objects with ``active`` (requests in flight)."""


class Verdict(NamedTuple):
    """What the store knows about one request."""

    revoked: bool
    """Whether the token is on the blacklist."""
    hits: int
    """How many requests the bucket has counted in its window, this one included; 0 when none was asked about."""
    reset: float
    """Seconds until the bucket's window ends."""


class IStore(Interface):
    """What gateways share about tokens and clients."""

    def ask(token_id: str, bucket: str) -> Deferred[Verdict]:
        """Count one request and look its token up, in one question.

        :param token_id: the token's ``jti``, or ``""`` to ask about no token.
        :param bucket: who is counted, or ``""`` to count nobody.
        """

    def revoke(token_id: str, seconds: float) -> Deferred[None]:
        """Put a token on the blacklist for the ``seconds`` it has left to live."""

    def ping() -> Deferred[bool]:
        """Whether the store answers now; never fails."""

    def close() -> Deferred[None]:
        """Let go of connections and timers."""
