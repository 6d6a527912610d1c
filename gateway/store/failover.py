"""What holds when Redis does not answer: requests go on, limits are counted here, known revocations stay refused."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway.core.errors import Unavailable
from gateway.interfaces import IStore, Verdict
from gateway.store.memory import MemoryStore

PAUSE = 0.25
"""Seconds after a failure in which nobody waits for the primary; then one question goes there to see if it is back."""
REMEMBERED = 100_000
"""Revoked tokens that are remembered, at most."""

_REVOKED = Verdict(True, 0, 0.0)
_PASS = Verdict(False, 0, 0.0)


@implementer(IStore)
class ResilientStore:
    """Asks ``primary``; while it fails, answers by the two policies of the configuration.

    :param local: counts in this process.
    :param on_failure: limits: ``local`` counts in this process, ``open`` lets pass, ``closed`` refuses with 503.
    :param revocation_on_failure: tokens: ``known`` refuses those this process knows to be revoked, ``open`` none,
        ``closed`` all, with 503.

    :ivar degraded: whether the primary failed and was not heard of since.
    """

    _log = Logger()

    def __init__(
        self,
        primary: IStore,
        local: MemoryStore,
        on_failure: str,
        revocation_on_failure: str,
        clock: IReactorTime,
    ) -> None:
        self.primary = primary
        self.degraded = False
        self._local = local
        self._on_failure = on_failure
        self._revocation = revocation_on_failure
        self._clock = clock
        self._known: dict[str, None] = {}
        self._paused_until = 0.0
        self._probing = False

    def ask(self, token_id: str, bucket: str) -> Deferred[Verdict]:
        """See :meth:`IStore.ask`; fails with :exc:`Unavailable` where a policy is ``closed``, and never else."""
        if self.degraded:
            if self._probing or self._clock.seconds() < self._paused_until:
                return self._without(token_id, bucket)
            self._probing = True
        return self.primary.ask(token_id, bucket).addCallbacks(
            self._answered, self._failed, callbackArgs=(token_id,), errbackArgs=(token_id, bucket)
        )

    def _answered(self, verdict: Verdict, token_id: str) -> Verdict:
        if self.degraded:
            self.degraded = self._probing = False
            self._log.info("The store answers again")
        if verdict[0]:
            self._remember(token_id)
        return verdict

    def _failed(self, failure: Failure, token_id: str, bucket: str) -> Failure | Deferred[Verdict]:
        self._probing = False
        if failure.check(CancelledError):  # nobody waits any longer, which says nothing about the store
            return failure
        if not self.degraded:
            self.degraded = True
            self._log.warn("The store does not answer: {why}", why=failure.getErrorMessage())
        self._paused_until = self._clock.seconds() + PAUSE
        return self._without(token_id, bucket)

    def _without(self, token_id: str, bucket: str) -> Deferred[Verdict]:
        if token_id:
            if self._revocation == "closed":
                return fail(Unavailable())
            if self._revocation == "known" and token_id in self._known:
                return succeed(_REVOKED)
        if not bucket or self._on_failure == "open":
            return succeed(_PASS)
        if self._on_failure == "closed":
            return fail(Unavailable())
        return self._local.ask("", bucket)

    def _remember(self, token_id: str) -> None:
        self._known.pop(token_id, None)
        if len(self._known) >= REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[token_id] = None

    def revoke(self, token_id: str, seconds: float) -> Deferred[None]:
        """See :meth:`IStore.revoke`; remembered here at once, fails when the primary did not take it."""
        self._remember(token_id)
        return self.primary.revoke(token_id, seconds)

    def ping(self) -> Deferred[bool]:
        """Whether the primary answers."""
        return self.primary.ping()

    def close(self) -> Deferred[None]:
        """Close the primary."""
        return self.primary.close()
