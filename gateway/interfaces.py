"""The seams of the gateway: what a guard, a store and records are to everybody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from gateway.http.request import Request


class IGuard(Interface):
    """One rule in front of a leaf of the tree."""

    name: str = Attribute("What the access log and the metrics call this guard.")

    def check(request: Request) -> Deferred[None] | None:
        """Pass the request on, or refuse it.

        A guard that can tell at once returns None, or raises; only one that must wait returns a Deferred.

        :raises GatewayError: (or the Deferred fails with one) when the request is refused.
        """


class Verdict(NamedTuple):
    """What the store knows about one request."""

    revoked: bool
    """Whether the token is on the blacklist."""
    hits: int
    """How many requests the bucket has counted in its window, this one included; 0 when none was asked about."""
    reset: float
    """Seconds until the bucket's window ends."""


REVOKED: Final = Verdict(True, 0, 0.0)
NOTHING: Final = Verdict(False, 0, 0.0)
"""The verdicts on a token that is revoked, and on one that is not when nobody was counted."""


class IStore(Interface):
    """What gateways share about tokens and clients."""

    degraded: bool = Attribute("Whether some of what is shared cannot be reached, and is answered from here instead.")

    def ask(token_id: str, bucket: str) -> Deferred[Verdict]:
        """Count one request and look its token up, in one question.

        :param token_id: the token's ``jti``, or ``""`` to ask about no token.
        :param bucket: who is counted, or ``""`` to count nobody.
        """

    def ping() -> Deferred[bool]:
        """Whether the store answers now; never fails."""

    def close() -> Deferred[None]:
        """Let go of connections and timers."""


Watcher = Callable[[str, str | None, float | None], None]
"""Told of a record: its key, its value (None when it is gone), and the seconds it has left (None when it stays)."""


class IRecords(Interface):
    """Small facts that gateways share, each under a key; a gateway keeps what it watches, and so knows it at once.

    The Deferreds fail when the store cannot be reached.
    """

    loaded: bool = Attribute("Whether everything that is watched was told at least once.")
    trouble: str = Attribute(
        "Why they cannot be read now, and where, in words; empty when nothing is known to be wrong."
    )

    def watch(prefix: str, watcher: Watcher) -> None:
        """Tell ``watcher`` of every record whose key begins with ``prefix``: those there are, and each change.

        After a time without a connection everything is told anew, and what is gone meanwhile as gone. A record that
        ends by itself need not be told: watchers hold its seconds against their own clock.
        """

    def get(key: str) -> Deferred[str | None]:
        """The value of a record, or None."""

    def put(key: str, value: str, seconds: float | None = None) -> Deferred[None]:
        """Write a record that ends after ``seconds``, or stays."""

    def extend(key: str, value: str, seconds: float | None = None) -> Deferred[bool]:
        """Write a record as :meth:`put` does, unless there is one that ends later; whether it was written."""

    def delete(key: str) -> Deferred[bool]:
        """Remove a record; whether there was one."""

    def add(key: str, amount: int, seconds: float) -> Deferred[int]:
        """Add to a counter, which begins at 0 and ends ``seconds`` after its beginning; returns what it is then."""

    def close() -> Deferred[None]:
        """Let go of connections and timers."""
