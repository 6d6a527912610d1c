"""What gateways share, in one Redis: a script answers all that the requests of a moment ask, in one round trip.

While Redis is away, hangs, is too slow or refuses to write, every question is answered by a stand-in: those that were
asked already as soon as that is clear, the others at once. A probe of the store's own finds out when Redis is back, so
that no client waits for that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import sha1
from typing import Any, Final, cast

from hiredis import pack_command
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger
from zope.interface import implementer

from gateway.core.errors import Unavailable
from gateway.core.revocations import BLACKLIST
from gateway.interfaces import REVOKED, IStore, Verdict
from gateway.store.address import PATIENCE, Address
from gateway.store.failover import StandIn
from gateway.store.link import Links
from gateway.store.script import ASK

BATCH: Final = 512
"""Questions in one round trip, at most."""
QUEUE: Final = 16_384
"""Questions that wait for the next round trips, at most."""
GRACE: Final = 0.01
"""Seconds more that a late answer gets: this process may be the slow one, and the answer unread."""
PAUSE: Final = 0.25
"""Seconds between two probes of a Redis that is away."""
PROBE: Final = "probe"
"""The bucket a probe counts: only who can write is back."""

_SHA: Final = sha1(ASK, usedforsecurity=False).hexdigest()
_verdict: Final = tuple.__new__  # half the time that calling the class takes


@implementer(IStore)
class RedisStore:
    """Asks in batches: what is asked in one turn of the reactor leaves together, the next batch when the last is back.

    It connects as soon as ``clock``, the reactor, runs. Until that was tried, questions wait.

    :param address: where Redis is.
    :param prefix: goes before a bucket's name to make its key.
    :param window: seconds that a bucket's window lasts, from its first hit.
    :param timeout: seconds until a question is answered by the stand-in.
    :param stand_in: answers for Redis.
    :param endpoint: used instead of what ``address`` says.
    :param at_end: calls what it is given when the turn is over; without it, that is in the clock's next one.

    :ivar round_trips: sent to Redis.
    :ivar asks: questions sent with them.
    :ivar errors: batches without an answer.
    :ivar seconds: spent waiting for answers.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        address: Address,
        prefix: str,
        window: float,
        timeout: float,
        stand_in: StandIn,
        endpoint: IStreamClientEndpoint | None = None,
        at_end: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self._clock = clock
        self._name = address.name
        self._prefix = prefix
        self._arguments = round(window * 1000), BLACKLIST, prefix
        self._timeout = timeout
        self._stand_in = stand_in
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
        self._refused = False  # the last answer was that it may not write
        self._at_end = at_end or partial(clock.callLater, 0)
        self._leaving = False  # the next batch does, when this turn is over
        self._watch: IDelayedCall | None = None  # for what waits too long
        self._spared = -1.0  # since when the batch waits that was given one more turn
        self._probing: IDelayedCall | None = None  # the next probe
        self._abandonment: IDelayedCall | None = None
        self._links = Links(self, clock, address, endpoint)

    @property
    def degraded(self) -> bool:
        """See :class:`IStore`."""
        return self._away or self._link is None

    def ask(self, token_id: str, bucket: str) -> Deferred[Verdict]:
        """See :meth:`IStore.ask`; fails with :exc:`Unavailable` where a policy is ``closed``, and never else."""
        waiting = self._waiting
        if not waiting:
            if self._away:
                return self._instead(token_id, bucket)
            self._waiting_since = self._clock.seconds()
            if self._watch is None:
                self._watch = self._clock.callLater(self._timeout, self._look)
            if self._asked is None:
                self._leave_soon()
        elif len(waiting) >= QUEUE:
            return self._instead(token_id, bucket)
        answer: Deferred[Verdict] = Deferred()
        waiting.append(answer)
        self._keys += (BLACKLIST + token_id, self._prefix + bucket)
        return answer

    def ping(self) -> Deferred[bool]:
        """See :meth:`IStore.ping`; the answer may take four times the timeout of a question. After that a question is
        asked, which has its own patience: where nobody else asks one, nobody finds out that Redis is away.
        """
        if self.degraded:
            return succeed(False)
        done: Deferred[Any] = self._link.execute_command("PING")
        done.addTimeout(4 * self._timeout, self._clock, self._doubt)
        return done.addCallbacks(lambda _: True, lambda _: False)

    def _doubt(self, cancelled: Any, _: float) -> Any:
        self.ask("", "").addErrback(lambda _: None)
        return cancelled

    def close(self) -> Deferred[None]:
        """See :meth:`IStore.close`; what still waits is answered."""
        if self._watch is not None and self._watch.active():
            self._watch.cancel()
        self._watch = None
        self._away = True
        done = self._links.close()
        self.lost(None)
        if self._probing is not None:
            self._probing.cancel()
            self._probing = None
        return done

    # -- a round trip ---------------------------------------------------------------------------------------------

    def _leave_soon(self) -> None:
        if not self._leaving:
            self._leaving = True
            self._at_end(self._leave)

    def _leave(self) -> None:
        self._leaving = False
        if self._link is not None and self._asked is None and self._waiting:
            self._send()

    def _send(self) -> None:
        waiting, keys = self._waiting, self._keys
        self._waiting, self._keys = waiting[BATCH:], keys[2 * BATCH :]
        self._asked, self._asked_keys = waiting[:BATCH], keys[: 2 * BATCH]
        self._asked_since = self._waiting_since
        self.asks += len(self._asked)
        self._transmit("EVALSHA", _SHA)

    def _transmit(self, command: str, script: str | bytes) -> None:
        keys, link = self._asked_keys, self._link
        try:
            packed = _pack(command, script, len(keys), *keys, *self._arguments)
        except UnicodeEncodeError:  # JSON can spell half a surrogate pair
            packed = _pack(
                command, script, len(keys), *(key.encode("utf-8", "surrogatepass") for key in keys), *self._arguments
            )
        self._sent_at = self._clock.seconds()
        self.round_trips += 1
        link.transport.write(packed)
        link.replyQueue.get().addCallback(self._answered, link)

    def _answered(self, reply: Any, link: Any) -> None:
        if link is not self._link:
            return
        batch, keys, now = self._asked, self._asked_keys, self._clock.seconds()
        if batch and isinstance(reply, Exception) and str(reply).startswith("NOSCRIPT"):
            self._transmit("EVAL", ASK)
            return
        self._asked = None
        self.seconds += now - self._sent_at
        if not batch:  # too late: Redis is not back before it answers a probe in time
            self._forgive()
        elif isinstance(reply, list):
            if self._away:
                self._back()
            elif self._waiting:
                self._leave_soon()
            seen, milliseconds = self._stand_in.seen(), int(now * 1000)
            numbers = iter(reply)
            for answer, counter, hits, left in zip(batch, keys[1::2], numbers, numbers, strict=True):
                if hits >= 0:
                    seen[counter] = hits, milliseconds + left
                    answer.callback(_verdict(Verdict, (False, hits, left / 1000)))
                else:
                    answer.callback(REVOKED)
        else:
            self._refused = "READONLY" in str(reply)
            self._asked = batch
            self._fail(str(reply))
            self._asked = None

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
        self._fail("it did not answer in time")

    def _fail(self, why: str) -> None:
        """Redis is away: answer all questions without it; the batch at Redis, if there is one, becomes a late one."""
        if not self._away:
            self._away = True
            self._log.warn("Redis {name} is away: {why}", name=self._name, why=why)
        asked, waiting = self._asked or (), self._waiting
        keys = [*(self._asked_keys if asked else ()), *self._keys]
        self._asked = None if self._asked is None else []
        self._waiting, self._keys = [], []
        if self._probing is None and self._link is not None:
            self._probing = self._clock.callLater(PAUSE, self._probe)
        if asked or waiting:
            self.errors += 1
            for answer, token, counter in zip([*asked, *waiting], keys[::2], keys[1::2], strict=True):
                try:
                    bucket = "" if counter == self._prefix else counter
                    verdict = self._stand_in.answer(token[len(BLACKLIST) :], bucket)
                except Unavailable:
                    answer.errback()
                else:
                    answer.callback(verdict)

    def _instead(self, token_id: str, bucket: str) -> Deferred[Verdict]:
        try:
            return succeed(self._stand_in.answer(token_id, self._prefix + bucket if bucket else ""))
        except Unavailable as error:
            return fail(error)

    # -- and when it does ---------------------------------------------------------------------------------------------

    def _probe(self) -> None:
        """See whether Redis is back; where it refuses to write, whoever writes may be elsewhere now."""
        self._probing = None
        if self._link is None or not self._away:
            return
        self._probing = self._clock.callLater(PAUSE, self._probe)
        if self._refused:
            self._refused = False
            self._link.transport.abortConnection()
        elif self._asked is None:
            probe: Deferred[Verdict] = Deferred()
            probe.addErrback(lambda _: None)
            self._asked, self._asked_keys = [probe], [BLACKLIST, self._prefix + PROBE]
            self._asked_since = self._clock.seconds()
            if self._watch is None:
                self._watch = self._clock.callLater(self._timeout, self._look)
            self._transmit("EVALSHA", _SHA)

    def _back(self) -> None:
        self._away = False
        self._log.info("Redis {name} is back", name=self._name)

    def connected(self, link: Any) -> None:
        """A connection is there: what waited leaves; when there was none, a probe goes first."""
        self._link = link
        if self._away:
            if self._probing is not None:
                self._probing.cancel()
            self._probe()
        elif self._waiting:
            self._send()

    def lost(self, _: Any) -> None:
        """It is gone: what was asked is answered without it."""
        self._forgive()
        self._link = None
        self._fail("the connection was lost")
        self._asked = None

    def _forgive(self) -> None:
        """No late answer is waited for any longer."""
        if self._abandonment is not None and self._abandonment.active():
            self._abandonment.cancel()
        self._abandonment = None


def _pack(*parts: str | bytes | int) -> bytes:
    """A command as Redis reads it."""
    return cast(bytes, pack_command(cast(Any, parts)))
