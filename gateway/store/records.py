"""Records in Redis, those that are watched known here as soon as anybody writes them.

One connection in RESP3 does it all: Redis pushes the names of the keys that change below the watched prefixes (client
tracking in broadcast mode), and what they hold now is fetched in batches. It matters to nobody who wrote them, and how.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import ceil
from typing import Any, Final

from hiredis import PushNotification
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, fail
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from txredisapi import RedisError, ResponseError
from zope.interface import implementer

from gateway.interfaces import IRecords, Watcher
from gateway.store.address import PATIENCE, Address
from gateway.store.link import Link, Links, NoAnswer
from gateway.store.script import ADD, EXTEND, READ
from gateway.store.watched import MOST, Watched

PAGE: Final = 500
"""Records in one round trip, about."""
STALE: Final = 10_000
"""Changed keys that wait to be fetched, at most; when more have changed everything is loaded anew."""
EARLY: Final = 1_000
"""Commands that wait for the first connection, at most."""
BEAT: Final = 1.0
"""Seconds between two looks at whether the connection still is one, and whether everything must be loaded anew."""
RESCAN: Final = 5.0
"""Seconds between two loads from a Redis that does not tell what changes."""


class _PushedLink(Link):
    """A connection on which Redis speaks unasked."""

    def replyReceived(self, reply: Any) -> None:
        """Pushed messages answer no command."""
        if type(reply) is PushNotification:
            self.factory.owner.pushed(reply)
        else:
            super().replyReceived(reply)


class _PushedLinks(Links):
    protocol = _PushedLink


@implementer(IRecords)
class RedisRecords:
    """Records on one Redis.

    It connects as soon as ``clock``, the reactor, runs. What is asked before waits for the connection; without one, or
    when Redis refuses, it fails with :exc:`NoAnswer`: reading after ``timeout``, writing after a second at the latest.

    :param address: where that is.
    :param timeout: seconds that reading a record may take.
    :param endpoint: used instead of what ``address`` says.
    :param most: records of each watched prefix that are known, at most.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        address: Address,
        timeout: float,
        endpoint: IStreamClientEndpoint | None = None,
        most: int = MOST,
    ) -> None:
        self.loaded = True
        self._clock = clock
        self._timeout = timeout
        self._watched = Watched(most)
        self._stale: dict[bytes, None] = {}
        self._reload = False
        self._link: Any = None
        self._away = False
        self._early: list[Deferred[Any]] = []
        self._following: Deferred[None] | None = None
        self._fetching = False
        self._complaint = ""
        self._links = _PushedLinks(self, clock, address, endpoint)

    @property
    def trouble(self) -> str:
        """See :attr:`IRecords.trouble`."""
        return self._links.trouble or self._complaint

    # -- what anybody asks ------------------------------------------------------------------------------------------

    def watch(self, prefix: str, watcher: Watcher) -> None:
        """See :meth:`IRecords.watch`."""
        self._watched.add(prefix, watcher)
        self.loaded = False
        if self._link is not None:
            self._follow(self._link)

    def get(self, key: str) -> Deferred[str | None]:
        """See :meth:`IRecords.get`."""
        return self._ask(self._timeout, "GET", _bytes(key)).addCallback(lambda value: value and _text(value))

    def put(self, key: str, value: str, seconds: float | None = None) -> Deferred[None]:
        """See :meth:`IRecords.put`; a record that has ended already ends in a millisecond."""
        end = () if seconds is None else ("PX", _milliseconds(seconds))
        return self._ask(PATIENCE, "SET", _bytes(key), _bytes(value), *end).addCallback(lambda _: None)

    def extend(self, key: str, value: str, seconds: float | None = None) -> Deferred[bool]:
        """See :meth:`IRecords.extend`."""
        end = () if seconds is None else (_milliseconds(seconds),)
        return self._ask(PATIENCE, "EVAL", EXTEND, 1, _bytes(key), _bytes(value), *end).addCallback(bool)

    def delete(self, key: str) -> Deferred[bool]:
        """See :meth:`IRecords.delete`."""
        return self._ask(PATIENCE, "DEL", _bytes(key)).addCallback(bool)

    def add(self, key: str, amount: int, seconds: float) -> Deferred[int]:
        """See :meth:`IRecords.add`; also fails when the record is no counter."""
        return self._ask(PATIENCE, "EVAL", ADD, 1, _bytes(key), amount, _milliseconds(seconds))

    def close(self) -> Deferred[None]:
        """See :meth:`IRecords.close`."""
        done = self._links.close()
        self.lost(None)
        return done

    def _ask(self, seconds: float, *command: Any) -> Deferred[Any]:
        if self._link is not None:
            done: Deferred[Any] = self._link.execute_command(*command)
        elif self._away or len(self._early) >= EARLY:
            return fail(NoAnswer("Redis is away"))
        else:
            done = Deferred()
            self._early.append(done)
            done.addCallback(lambda link: link.execute_command(*command))
        return done.addTimeout(seconds, self._clock).addErrback(self._unanswered)

    def _unanswered(self, failure: Failure) -> None:
        self._away = self._link is None
        if self._link is not None and "READONLY" in failure.getErrorMessage():
            self._link.transport.loseConnection()  # whoever writes may be elsewhere now
        why = "not in time" if failure.check(TimeoutError) else failure.getErrorMessage()
        raise NoAnswer(f"Redis did not answer: {self._links.trouble or why}")

    # -- the connection ---------------------------------------------------------------------------------------------

    def connected(self, link: Any) -> None:
        """A connection is there: what waited leaves, and what is watched is loaded."""
        self._link = link
        early, self._early = self._early, []
        for waiting in early:
            if not waiting.called:
                waiting.callback(link)
        self._follow(link)

    def lost(self, _: Any) -> None:
        """It is gone; what was told stays as it is."""
        self._link = None
        self._away = True
        self._stale.clear()
        if self._following is not None:
            self._following.cancel()
        early, self._early = self._early, []
        for waiting in early:
            if not waiting.called:
                waiting.errback(NoAnswer("Redis is away"))

    def pushed(self, message: Sequence[Any]) -> None:
        """Redis names keys that have changed, or None for all of them."""
        if message[0] != b"invalidate":
            return
        if message[1] is None or len(self._stale) + len(message[1]) > STALE:
            self._stale.clear()
            self._reload = True
            return
        self._stale.update(dict.fromkeys(message[1]))
        if not self._fetching and self._link is not None:
            self._fetching = True
            Deferred.fromCoroutine(self._refresh(self._link)).addErrback(self._missed)

    def _follow(self, link: Any) -> None:
        if self._following is not None:
            self._following.cancel()
        if self._watched.prefixes:
            self._following = Deferred.fromCoroutine(self._keep_up(link))
            self._following.addErrback(lambda failure: failure.trap(CancelledError, RedisError) and None)

    # -- keeping up with what is watched ----------------------------------------------------------------------------

    async def _keep_up(self, link: Any) -> None:
        """For as long as the connection lasts."""
        tracked = await self._track(link)
        self._reload = True
        while True:
            try:
                if self._reload:
                    self._reload = False
                    await self._load(link)
                    self.loaded = True
                    if tracked:
                        self._complaint = ""
                else:
                    await link.execute_command("PING")  # without an answer the connection is cut
            except ResponseError as error:  # it may still be loading, or its administrator at work
                self._complain(f"Redis does not let records be read: {error}")
                self._reload = True
            await deferLater(self._clock, BEAT if tracked else RESCAN)
            self._reload = self._reload or not tracked

    async def _track(self, link: Any) -> bool:
        """Ask Redis to tell what changes; whether it will."""
        prefixes = [part for prefix in self._watched.prefixes for part in ("PREFIX", _bytes(prefix))]
        try:
            await link.execute_command("HELLO", 3)
            await link.execute_command("CLIENT", "TRACKING", "OFF")
            await link.execute_command("CLIENT", "TRACKING", "ON", "BCAST", *prefixes)
        except ResponseError as error:
            self._complain(f"Redis does not tell what changes, so it is asked every {RESCAN:.0f} s: {error}")
            return False
        return True

    async def _load(self, link: Any) -> None:
        """Tell everything there is, and what is no longer."""
        self._watched.begin()
        for prefix in self._watched.prefixes:
            pattern = re.sub(rb"([*?\[\]\\])", rb"\\\1", _bytes(prefix)) + b"*"
            cursor = b"0"
            while True:
                cursor, keys = await link.execute_command("SCAN", cursor, "MATCH", pattern, "COUNT", PAGE)
                await self._fetch(link, keys)
                if cursor == b"0":
                    break
            self._watched.end(prefix)

    async def _refresh(self, link: Any) -> None:
        """Fetch what has changed, until nothing has."""
        while self._stale and link is self._link:
            keys = list(self._stale)[:PAGE]
            for key in keys:
                del self._stale[key]
            await self._fetch(link, keys)
        self._fetching = False

    def _missed(self, failure: Failure) -> None:
        self._fetching = False
        self._reload = True
        failure.trap(RedisError)

    async def _fetch(self, link: Any, keys: list[bytes]) -> None:
        for first in range(0, len(keys), PAGE):
            page = keys[first : first + PAGE]
            reply = iter(await link.execute_command("EVAL", READ, len(page), *page))
            for key, value, left in zip(page, reply, reply, strict=True):
                if left == -2:  # there is no such key
                    self._watched.gone(_text(key))
                else:
                    self._watched.tell(_text(key), _text(value or b""), None if left == -1 else left / 1000)

    def _complain(self, why: str) -> None:
        """Say a thing once."""
        if why != self._complaint:
            self._complaint = why
            self._log.warn("{why}", why=why)


def _bytes(text: str) -> bytes:
    """As the store spells it; JSON can hold half a surrogate pair."""
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:  # nothing of ours
        return data.decode("utf-8", "replace")


def _milliseconds(seconds: float) -> int:
    return max(1, ceil(seconds * 1000))
