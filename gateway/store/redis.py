"""What gateways share, in Redis: one script answers all that the requests of a moment ask, in one round trip."""

from __future__ import annotations

from hashlib import sha1
from math import ceil
from typing import Any, Final, cast

from hiredis import pack_command
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway.interfaces import IStore, Verdict
from gateway.store.address import PATIENCE, Address
from gateway.store.link import Links, NoAnswer
from gateway.store.script import ASK

BLACKLIST: Final = "blacklist:"
BATCH: Final = 512
"""Questions in one round trip, at most."""
QUEUE: Final = 16_384
"""Questions that wait for the next round trips, at most."""
GRACE: Final = 0.01
"""Seconds more that a late answer gets: this process may be the slow one, and the answer unread."""

_SHA: Final = sha1(ASK, usedforsecurity=False).hexdigest()
_REVOKED: Final = Verdict(True, 0, 0.0)
_verdict: Final = tuple.__new__  # half the time that calling the class takes


@implementer(IStore)
class RedisStore:
    """Asks in batches: what is asked in one turn of the reactor leaves together, the next batch when the last is back.

    It connects as soon as ``clock``, the reactor, runs. Until that was tried, questions wait; afterwards a question
    without a connection, or behind an answer that is too late, fails at once with :exc:`NoAnswer`.

    :param url: see :meth:`Address.parse`.
    :param prefix: goes before a bucket's name to make its key.
    :param window: seconds that a bucket's window lasts, from its first hit.
    :param timeout: seconds until a question fails.
    :param endpoint: used instead of what ``url`` says.
    :raises ValueError: when ``url`` is none.

    :ivar round_trips: sent to Redis.
    :ivar asks: questions sent with them.
    :ivar errors: batches without an answer.
    :ivar seconds: spent waiting for answers.
    """

    def __init__(
        self,
        clock: IReactorTime,
        url: str,
        prefix: str,
        window: float,
        timeout: float,
        endpoint: IStreamClientEndpoint | None = None,
    ) -> None:
        address = Address.parse(url)
        self._clock = clock
        self._prefix = prefix
        self._window = round(window * 1000)
        self._timeout = timeout
        self.round_trips = self.asks = self.errors = 0
        self.seconds = 0.0
        # What waits for the next batch; a question is one item of ``_waiting`` and two of ``_keys``.
        self._keys: list[str] = []
        self._waiting: list[Deferred[Verdict]] = []
        self._waiting_since = 0.0
        # The batch at Redis: None when there is none, empty when nobody waits for its answer any longer.
        self._asked: list[Deferred[Verdict]] | None = None
        self._asked_keys: list[str] = []
        self._asked_since = 0.0
        self._sent_at = 0.0
        self._link: Any = None
        self._away = False
        self._leaving: IDelayedCall | None = None  # the next batch, when this turn is over
        self._watch: IDelayedCall | None = None  # for what waits too long
        self._spared = -1.0  # since when the batch waits that was given one more turn
        self._abandonment: IDelayedCall | None = None
        self._links = Links(self, clock, address)
        self._start: IDelayedCall = clock.callLater(0, self._links.startConnecting, endpoint or address.endpoint(clock))

    def ask(self, token_id: str, bucket: str) -> Deferred[Verdict]:
        """See :meth:`IStore.ask`; fails with :exc:`NoAnswer`."""
        waiting = self._waiting
        if not waiting:
            if self._away:
                return fail(NoAnswer("Redis is away"))
            self._waiting_since = self._clock.seconds()
            if self._watch is None:
                self._watch = self._clock.callLater(self._timeout, self._look)
            if self._asked is None and self._leaving is None:
                self._leaving = self._clock.callLater(0, self._leave)
        elif len(waiting) >= QUEUE:
            return fail(NoAnswer("too many questions wait"))
        answer: Deferred[Verdict] = Deferred()
        waiting.append(answer)
        self._keys += (BLACKLIST + token_id if token_id else "", self._prefix + bucket if bucket else "")
        return answer

    def revoke(self, token_id: str, seconds: float) -> Deferred[None]:
        """See :meth:`IStore.revoke`; fails when Redis did not take it."""
        if seconds <= 0:
            return succeed(None)
        if self._link is None:
            return fail(NoAnswer("Redis is away"))
        key = (BLACKLIST + token_id).encode("utf-8", "surrogatepass")
        done: Deferred[Any] = self._link.execute_command("SET", key, b"1", "PX", ceil(seconds * 1000))
        return done.addCallback(lambda _: None)

    def ping(self) -> Deferred[bool]:
        """See :meth:`IStore.ping`; the answer may take four times the timeout of a question."""
        if self._link is None:
            return succeed(False)
        done: Deferred[Any] = self._link.execute_command("PING")
        return done.addTimeout(4 * self._timeout, self._clock).addCallbacks(lambda _: True, lambda _: False)

    def close(self) -> Deferred[None]:
        """See :meth:`IStore.close`; what still waits fails."""
        link = self._link
        for timer in (self._start, self._watch):
            if timer is not None and timer.active():
                timer.cancel()
        self._watch = None
        done: Deferred[Any] = self._links.disconnect()
        if link is not None:
            link.transport.abortConnection()  # a Redis that hangs would not let it close
        self.lost(None)
        return done.addBoth(lambda _: None)

    # -- a round trip ---------------------------------------------------------------------------------------------

    def _leave(self) -> None:
        self._leaving = None
        if self._link is not None and self._asked is None and self._waiting:
            self._send()

    def _send(self) -> None:
        waiting, keys = self._waiting, self._keys
        self._waiting, self._keys = waiting[BATCH:], keys[2 * BATCH :]
        self._asked, self._asked_keys = waiting[:BATCH], keys[: 2 * BATCH]
        self._asked_since = self._waiting_since
        self.asks += len(self._asked)
        self._sent_at = self._clock.seconds()
        self._transmit("EVALSHA", _SHA)

    def _transmit(self, command: str, script: str | bytes) -> None:
        keys, link = self._asked_keys, self._link
        try:
            packed = _pack(command, script, len(keys), *keys, self._window)
        except UnicodeEncodeError:  # JSON can spell half a surrogate pair
            packed = _pack(
                command, script, len(keys), *(key.encode("utf-8", "surrogatepass") for key in keys), self._window
            )
        self.round_trips += 1
        link.transport.write(packed)
        link.replyQueue.get().addCallback(self._answered, link)

    def _answered(self, reply: Any, link: Any) -> None:
        if link is not self._link:
            return
        batch = self._asked
        if batch and isinstance(reply, Exception) and str(reply).startswith("NOSCRIPT"):
            self._transmit("EVAL", ASK)
            return
        self._asked = None
        self.seconds += self._clock.seconds() - self._sent_at
        if not batch:
            self._back()
            return
        if self._waiting:
            self._send()
        if isinstance(reply, list):
            numbers = iter(reply)
            for answer, hits, left in zip(batch, numbers, numbers, strict=True):
                answer.callback(_verdict(Verdict, (False, hits, left / 1000)) if hits >= 0 else _REVOKED)
        else:
            self.errors += 1
            _fail(batch, str(reply))

    # -- when it does not come back ---------------------------------------------------------------------------------

    def _look(self) -> None:
        """Whether the question that waits longest waits too long."""
        self._watch = None
        if self._asked:
            since = self._asked_since
        elif self._waiting:
            since = self._waiting_since
        else:
            return
        left = since + self._timeout - self._clock.seconds()
        if left <= 0:
            if self._spared == since:
                self._give_up()
                return
            self._spared, left = since, GRACE
        self._watch = self._clock.callLater(left, self._look)

    def _give_up(self) -> None:
        if self._asked is not None:
            self._abandonment = self._clock.callLater(PATIENCE, self._link.transport.abortConnection)
        self._away = self._asked is not None or self._link is None
        self._drop("Redis did not answer in time")

    def _drop(self, why: str) -> None:
        """Fail all questions; the batch at Redis, if there is one, becomes a late one."""
        dropped = [*(self._asked or ()), *self._waiting]
        self._asked = None if self._asked is None else []
        self._waiting, self._keys = [], []
        if dropped:
            self.errors += 1
            _fail(dropped, why)

    def connected(self, link: Any) -> None:
        """A connection is there: what waited leaves."""
        self._link = link
        self._away = False
        if self._waiting:
            self._send()

    def lost(self, _: Any) -> None:
        """It is gone: what was asked fails."""
        self._back()
        self._link = None
        self._away = True
        self._drop("the connection to Redis was lost")
        self._asked = None

    def _back(self) -> None:
        """No late answer is waited for any longer."""
        self._away = False
        if self._abandonment is not None and self._abandonment.active():
            self._abandonment.cancel()
        self._abandonment = None


def _pack(*parts: str | bytes | int) -> bytes:
    """A command as Redis reads it."""
    return cast(bytes, pack_command(cast(Any, parts)))


def _fail(answers: list[Deferred[Verdict]], why: str) -> None:
    failure = Failure(NoAnswer(why))
    for answer in answers:
        answer.errback(failure)
