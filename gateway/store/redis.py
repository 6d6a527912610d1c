"""What gateways share, in Redis: one script answers everything all requests of a moment ask, in one round trip."""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import unquote, urlsplit

import txredisapi
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway.interfaces import IStore, Verdict

BATCH = 512
QUEUE = 20_000

SCRIPT = """
local answers = {}
for i = 1, #KEYS, 2 do
  local token, bucket = KEYS[i], KEYS[i + 1]
  local hits, left = 0, 0
  if token ~= '' and redis.call('EXISTS', token) == 1 then
    hits = -1
  elseif bucket ~= '' then
    hits = redis.call('INCR', bucket)
    left = redis.call('PTTL', bucket)
    if left < 0 then
      left = tonumber(ARGV[1])
      redis.call('PEXPIRE', bucket, left)
    end
  end
  answers[#answers + 1] = hits
  answers[#answers + 1] = left
end
return answers
"""
"""For each pair of keys: -1 when the token is revoked, else how often the bucket was hit; and its milliseconds left."""

_SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


class StoreFailed(Exception):
    """Redis did not answer, or not in time."""


@implementer(IStore)
class RedisStore:
    """Asks in batches: the questions of one turn of the reactor leave together, the next batch when the last is back.

    :param url: ``redis://[user:password@]host:port/db``.
    :param window: seconds a bucket counts.
    :param timeout: seconds a batch may take.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, url: str, prefix: str, window: float, timeout: float) -> None:
        parts = urlsplit(url)
        self._clock = clock
        self._prefix = prefix.encode()
        self._window_ms = max(1, int(window * 1000))
        self._timeout = timeout
        self._queue: list[tuple[bytes, bytes, Deferred[Verdict]]] = []
        self._flying: list[tuple[bytes, bytes, Deferred[Verdict]]] | None = None
        self._timer: IDelayedCall | None = None
        self._scheduled = False
        self.round_trips = self.asks = self.errors = 0
        self.seconds = 0.0
        self._connection: Any = txredisapi.lazyConnection(
            parts.hostname or "127.0.0.1",
            parts.port or 6379,
            dbid=int(parts.path.strip("/") or 0),
            reconnect=True,
            password=unquote(parts.password) if parts.password else None,
            charset=None,
        )
        self._connection._factory.maxDelay = 1

    def ask(self, token_id: str, bucket: str) -> Deferred[Verdict]:
        answer: Deferred[Verdict] = Deferred()
        if len(self._queue) >= QUEUE:
            answer.errback(Failure(StoreFailed("too many questions wait")))
            return answer
        self._queue.append(
            (
                b"blacklist:" + token_id.encode() if token_id else b"",
                self._prefix + bucket.encode() if bucket else b"",
                answer,
            )
        )
        if self._flying is None and not self._scheduled:
            self._scheduled = True
            self._clock.callLater(0, self._flush)
        return answer

    def _flush(self) -> None:
        self._scheduled = False
        if self._flying is not None or not self._queue:
            return
        batch, self._queue = self._queue[:BATCH], self._queue[BATCH:]
        self._flying = batch
        self.round_trips += 1
        self.asks += len(batch)
        self._timer = self._clock.callLater(self._timeout, self._back, StoreFailed("no answer in time"), batch)
        self._send("EVALSHA", _SHA, batch, self._clock.seconds())

    def _send(self, command: str, script: str, batch: list[Any], began: float) -> None:
        keys = [key for token, bucket, _ in batch for key in (token, bucket)]
        sent = self._connection.execute_command(command, script, len(keys), *keys, self._window_ms)
        sent.addCallbacks(
            self._answered, self._failed, callbackArgs=(batch, began), errbackArgs=(command, batch, began)
        )

    def _answered(self, answers: list[int], batch: list[Any], began: float) -> None:
        self.seconds += self._clock.seconds() - began
        self._back(answers, batch)

    def _failed(self, failure: Failure, command: str, batch: list[Any], began: float) -> None:
        if command == "EVALSHA" and "NOSCRIPT" in failure.getErrorMessage():
            self._send("EVAL", SCRIPT, batch, began)
        else:
            self._back(StoreFailed(failure.getErrorMessage()), batch)

    def _back(self, outcome: Any, batch: list[Any]) -> None:
        """A batch has its answers, or will not get them; a late answer finds it gone."""
        if self._flying is not batch:
            return
        self._flying = None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if isinstance(outcome, Exception):
            self.errors += 1
            for _, _, answer in batch:
                answer.errback(Failure(outcome))
        else:
            index = 0
            for _, _, answer in batch:
                hits = outcome[index]
                answer.callback(Verdict(True, 0, 0.0) if hits < 0 else Verdict(False, hits, outcome[index + 1] / 1000))
                index += 2
        if self._queue and not self._scheduled:
            self._flush()

    def revoke(self, token_id: str, seconds: float) -> Deferred[None]:
        done: Deferred[Any] = self._connection.set(b"blacklist:" + token_id.encode(), b"1", pexpire=int(seconds * 1000))
        return done.addCallback(lambda _: None)

    def ping(self) -> Deferred[bool]:
        answer: Deferred[Any] = self._connection.ping()
        answer.addTimeout(self._timeout * 4, self._clock)
        return answer.addCallbacks(lambda _: True, lambda _: False)

    def close(self) -> Deferred[None]:
        self._connection._factory.stopTrying()
        done: Deferred[Any] = self._connection.disconnect()
        return done.addCallbacks(lambda _: None, lambda _: None)
