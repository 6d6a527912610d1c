"""What holds when Redis does not answer: requests go on, limits are counted here, known revocations stay refused."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway.core.errors import Unavailable
from gateway.interfaces import IStore, Verdict
from gateway.store.memory import MemoryStore

PAUSE = 0.25
"""Seconds after a failure in which only one question goes to Redis, to see whether it is back."""
REMEMBERED = 100_000


@implementer(IStore)
class ResilientStore:
    """Asks ``primary``; when it fails, answers by the two policies of the configuration.

    :param on_failure: limits: ``local`` counts in this process, ``open`` lets pass, ``closed`` refuses with 503.
    :param revocation_on_failure: tokens: ``known`` refuses those seen revoked, ``open`` none, ``closed`` all.
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
        self._local = local
        self._on_failure = on_failure
        self._revocation = revocation_on_failure
        self._clock = clock
        self._known: dict[str, None] = {}
        self._paused_until = 0.0
        self.degraded = False

    def ask(self, token_id: str, bucket: str) -> Deferred[Verdict]:
        if self.degraded:
            now = self._clock.seconds()
            if now < self._paused_until:
                return self._fallback(token_id, bucket)
            self._paused_until = now + PAUSE
        answer = self.primary.ask(token_id, bucket)
        answer.addCallbacks(self._good, self._bad, callbackArgs=(token_id,), errbackArgs=(token_id, bucket))
        return answer

    def _good(self, verdict: Verdict, token_id: str) -> Verdict:
        if self.degraded:
            self.degraded = False
            self._log.info("Redis answers again")
        if verdict.revoked and token_id not in self._known:
            if len(self._known) >= REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[token_id] = None
        return verdict

    def _bad(self, failure: Failure, token_id: str, bucket: str) -> Deferred[Verdict]:
        if not self.degraded:
            self.degraded = True
            self._log.warn("Redis does not answer: {why}", why=failure.getErrorMessage())
        self._paused_until = self._clock.seconds() + PAUSE
        return self._fallback(token_id, bucket)

    def _fallback(self, token_id: str, bucket: str) -> Deferred[Verdict]:
        answer: Deferred[Verdict] = Deferred()
        refused = token_id and self._revocation == "closed" or bucket and self._on_failure == "closed"
        if refused:
            answer.errback(Failure(Unavailable()))
        elif token_id in self._known and self._revocation == "known":
            answer.callback(Verdict(True, 0, 0.0))
        else:
            counted = bucket if self._on_failure == "local" else ""
            answer.callback(self._local.answer("", counted))
        return answer

    def revoke(self, token_id: str, seconds: float) -> Deferred[None]:
        return self.primary.revoke(token_id, seconds)

    def ping(self) -> Deferred[bool]:
        return self.primary.ping()

    def close(self) -> Deferred[None]:
        return self.primary.close()
