"""One connection to Redis, made again for ever when it is lost."""

from __future__ import annotations

from typing import Any, Protocol

import txredisapi
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway.store.address import PATIENCE, Address


class NoAnswer(Exception):
    """Redis did not answer: it is away, too slow, or refused."""


class Owner(Protocol):
    """Who uses the connection."""

    def connected(self, link: Link) -> None:
        """It is there, and Redis has answered on it."""

    def lost(self, _: Any) -> None:
        """It is gone."""


class Link(txredisapi.RedisProtocol):
    """A connection whose replies are taken as hiredis reads them."""

    def tryConvertData(self, data: Any) -> Any:
        """Leave them: a look at every integer of an answer would cost more than the rest."""
        return data


@implementer(IStreamClientEndpoint)
class Links(txredisapi.RedisFactory):
    """Keeps one connection to Redis, from the next turn of the reactor on, and tells its owner when it comes and goes.

    :param endpoint: how to connect, where that is not to ``address`` itself; one that has a ``close`` is closed.
    :ivar trouble: why there is no connection, and to whom; empty while there is one.
    """

    protocol: type[Link] = Link
    initialDelay = 0.05
    maxDelay = 0.6  # its jitter included, well below a second
    _log = Logger()

    def __init__(
        self, owner: Owner, clock: IReactorTime, address: Address, endpoint: IStreamClientEndpoint | None = None
    ) -> None:
        super().__init__(
            address.name,
            address.database,  # always selected: Redis has answered before a connection counts as one
            1,
            charset=None,
            username=address.user,
            password=address.password,
            replyTimeout=PATIENCE,
        )
        self.owner = owner
        self.trouble = ""
        self._name = address.name
        self._clock = clock
        self._complaint = ""
        self._endpoint = endpoint or address.at(clock, address.host, address.port)
        self._begin = clock.callLater(0, self.startConnecting, self)

    def close(self) -> Deferred[Any]:
        """Cut the connection, which a Redis that hangs would not let close, and make no other."""
        if self._begin.active():
            self._begin.cancel()
        done: Deferred[Any] = self.disconnect()
        for link in tuple(self.pool):
            link.transport.abortConnection()
        done.addBoth(lambda _: getattr(self._endpoint, "close", lambda: None)())
        return done.addErrback(lambda _: None)

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        """Connect once; what fails is remembered."""
        return self._endpoint.connect(factory).addErrback(self._failed)

    def _failed(self, failure: Failure) -> Failure:
        self.trouble = f"{self._name}: {failure.getErrorMessage()}"
        return failure

    def buildProtocol(self, addr: Any) -> Any:
        link = super().buildProtocol(addr)
        link.callLater = self._clock.callLater
        return link

    def addConnection(self, link: Any) -> None:
        """It is ready: authenticated, its database selected."""
        super().addConnection(link)
        if link in self.pool:
            self._complaint = self.trouble = ""
            link.whenDisconnected().addCallback(self.owner.lost)
            self.owner.connected(link)

    def stopTrying(self) -> Deferred[None]:
        """txredisapi would give up for good when Redis refuses the password; it may be mended there."""
        return succeed(None)

    def connectionError(self, why: str) -> None:
        """Say once why Redis does not let us in."""
        self.trouble = f"{self._name}: {why}"
        if why != self._complaint:
            self._complaint = why
            self._log.error("{why}", why=why)
