"""Where the master is: Sentinel is asked anew for each connection, and whether it is still there while there is one.

txredisapi's own discovery would ask Sentinels that are down as well, and keep each of these questions for ever.
"""

from __future__ import annotations

from typing import Any, Final, cast

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall, IProtocolFactory, IStreamClientEndpoint
from txredisapi import RedisError
from zope.interface import implementer

from gateway.store.address import Address
from gateway.store.link import Links, NoAnswer

DISCOVERY: Final = 0.3
"""Seconds that a Sentinel has to name the master, before the next one is asked."""
WATCH: Final = 0.5
"""Seconds between two looks at whether the master is still the same."""


class _Sentinel:
    """The connection to one of them."""

    def __init__(self, reactor: Any, host: str, port: int, user: str | None, password: str | None) -> None:
        self.link: Any = None
        self.links = Links(self, reactor, Address(host, port, None, user, password, False))

    def connected(self, link: Any) -> None:
        """It may be asked."""
        self.link = link

    def lost(self, _: Any) -> None:
        """It may not."""
        self.link = None


@implementer(IStreamClientEndpoint)
class SentinelEndpoint:
    """Connects to the master that the Sentinels name at this moment, and lets go of it when they name another one.

    :param address: with the Sentinels and the master's name.
    :param user: as whom to speak to the Sentinels, or ``""``; the same for all of them.
    :param password: theirs, or ``""``.
    """

    def __init__(self, reactor: Any, address: Address, user: str = "", password: str = "") -> None:
        self._reactor = reactor
        self._address = address
        self._credentials = user or None, password or None
        self._sentinels: list[_Sentinel] = []
        self._place: tuple[str, int] | None = None
        self._connection: Any = None
        self._watch: IDelayedCall | None = None
        self._looking = False

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        """See :class:`IStreamClientEndpoint`; fails with :exc:`NoAnswer` when no Sentinel can be asked now."""
        if not self._sentinels:
            self._sentinels = [
                _Sentinel(self._reactor, host, port, *self._credentials) for host, port in self._address.sentinels
            ]
            self._look_later()
        return Deferred.fromCoroutine(self._connect(factory))

    async def _connect(self, factory: IProtocolFactory) -> Any:
        self._connection = None
        self._place = place = await self._master()
        # Another one is asked the next time: this one may be cut off from the others.
        self._sentinels.append(self._sentinels.pop(0))
        self._connection = await cast(Deferred[Any], self._address.at(self._reactor, *place).connect(factory))
        return self._connection

    async def _master(self) -> tuple[str, int]:
        """Where the first Sentinel that can tell says it is."""
        for sentinel in tuple(self._sentinels):
            if sentinel.link is not None:
                asked = sentinel.link.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._address.service)
                try:
                    place = await asked.addTimeout(DISCOVERY, self._reactor)
                except (RedisError, TimeoutError):
                    continue
                if place is not None:
                    return place[0].decode(), int(place[1])
        raise NoAnswer(f"no Sentinel knows where {self._address.service} is")

    def _look_later(self) -> None:
        self._watch = self._reactor.callLater(WATCH, self._look)

    def _look(self) -> None:
        self._look_later()
        if not self._looking and self._connection is not None:
            self._looking = True
            Deferred.fromCoroutine(self._compare()).addErrback(lambda failure: failure.trap(NoAnswer) and None)

    async def _compare(self) -> None:
        try:
            connection, place = self._connection, await self._master()
            if place != self._place and connection is self._connection:
                connection.transport.abortConnection()
        finally:
            self._looking = False

    def close(self) -> None:
        """Let go of the Sentinels."""
        if self._watch is not None:
            self._watch.cancel()
        for sentinel in self._sentinels:
            sentinel.links.close()
