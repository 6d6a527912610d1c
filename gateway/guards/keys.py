"""The keys an issuer publishes: fetched ahead of need, kept while no newer ones can be had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, ResponseDone
from twisted.web.http import PotentialDataLoss

from gateway.core.keys import Key, published_keys

MAX_AGE: Final = 600.0
"""Seconds after which the key set is fetched anew."""
MIN_INTERVAL: Final = 10.0
"""Seconds between the starts of two fetches: what tokens with made-up key ids can cost the issuer."""
TIMEOUT: Final = 5.0
"""Seconds a whole fetch may take."""
MAX_SIZE: Final = 256 * 1024
"""The largest key set taken, in bytes."""


class FetchFailed(Exception):
    """The key set could not be had; the text says why."""


def fetching_client(reactor: Any) -> HTTPClient:
    """A client that verifies https servers against the platform's certificates and keeps no connection."""
    verified = BrowserLikePolicyForHTTPS()
    return HTTPClient(Agent(reactor, verified, connectTimeout=TIMEOUT))


class PublishedKeys:
    """A JWK set behind a URL (RFC 7517).

    :param client: what fetches; redirects are not followed.
    :param reactor: for the time and timers.
    :param algorithms: which keys of the set are of use.
    :param changed: called with the keys of each set that differs from the one before.
    """

    _log = Logger()

    def __init__(
        self,
        client: HTTPClient,
        reactor: Any,
        url: str,
        algorithms: Sequence[str],
        changed: Callable[[tuple[Key, ...]], None],
    ) -> None:
        self._client = client
        self._reactor = reactor
        self._url = url
        self._algorithms = algorithms
        self._changed = changed
        self._document: bytes | None = None
        self._fetching: Deferred[None] | None = None
        self._waiting: list[Deferred[None]] = []
        self._started = float("-inf")
        self._next = MAX_AGE
        self._timer: IDelayedCall | None = None
        self._running = False

    @property
    def known(self) -> bool:
        """Whether a key set was ever had."""
        return self._document is not None

    def start(self) -> Deferred[None]:
        """Fetch now, and go on doing so; fires, always with None, when the first fetch is over, well or not."""
        self._running = True
        return self._fetch()

    def stop(self) -> None:
        """Fetch no more; those who wait for a fetch are released."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._fetching is not None:
            self._fetching.cancel()

    def refresh(self) -> Deferred[None] | None:
        """What to wait for before a token with an unknown key is tried again.

        :returns: fires, always with None, when the fetch under way is over; None when it is too early for another.
        """
        if self._fetching is None and (not self._running or self._reactor.seconds() - self._started < MIN_INTERVAL):
            return None
        return self._fetch()

    def _fetch(self) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        if self._fetching is None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._started = self._reactor.seconds()
            self._next = MAX_AGE
            fetching = self._fetching = Deferred.fromCoroutine(self._replace())
            fetching.addTimeout(TIMEOUT, self._reactor)
            fetching.addErrback(self._failed)
            fetching.addCallback(self._done)
        return waiting

    async def _replace(self) -> None:
        response = await self._client.get(self._url, allow_redirects=False, unbuffered=True)
        body = _Body()
        response.deliverBody(body)
        document = await body.whole
        if response.code != 200:
            raise FetchFailed(f"the answer was {response.code}")
        if document != self._document:
            keys = published_keys(document, self._algorithms)
            self._changed(keys)
            self._document = document
            self._log.info("The issuer publishes {count} keys that can be used", count=len(keys))

    def _failed(self, failure: Failure) -> None:
        if self._running:
            why = f"{type(failure.value).__name__} {failure.getErrorMessage()}"
            self._log.warn("The issuer's keys could not be fetched, those known are kept: {why}", why=why)
            self._next = MIN_INTERVAL

    def _done(self, _: None) -> None:
        self._fetching = None
        if self._running:
            self._timer = self._reactor.callLater(self._next, self._due)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    def _due(self) -> None:
        self._timer = None
        self._fetch()


class _Body(Protocol):
    """Collects a body of limited size; cancelling ``whole`` gives it up and closes the connection."""

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred(self._give_up)
        self._pieces: list[bytes] = []
        self._size = 0

    def _give_up(self, _: Deferred[bytes]) -> None:
        assert self.transport is not None
        self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        if self.whole.called:
            return
        self._size += len(data)
        self._pieces.append(data)
        if self._size > MAX_SIZE:
            self.whole.errback(FetchFailed(f"the key set is larger than {MAX_SIZE} bytes"))
            self._give_up(self.whole)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        if isinstance(reason.value, ResponseDone | PotentialDataLoss):
            self.whole.callback(b"".join(self._pieces))
        else:
            self.whole.errback(reason)
