"""The connections of clients: so many in all, so many of each client, and the idle ones make room for new ones."""

from __future__ import annotations

from typing import Any, Final, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from gateway.core.addresses import Networks, bucket, normal
from gateway.http.seldom import Seldom

HEADROOM: Final = 32
"""One connection in so many is kept free: when they are taken, as many idle ones are closed."""

SCAN_PERIOD: Final = 0.1
"""Seconds between two looks for idle connections: each looks at all there are."""

TELL_PERIOD: Final = 60.0
"""Seconds between two lines in the log about connections that were not taken."""


class Connection(Protocol):
    """What is asked of a client's connection."""

    peer: str

    def idle_since(self) -> float | None:
        """Since when it waits for its next request; None when it does not, or has not had its first."""

    def close_when_idle(self) -> None:
        """Take no more requests, and close after the last one."""


class Connections:
    """Who is connected, and who may.

    :param most: connections at a time.
    :param most_per_client: of one client, which is an IPv4 address or an IPv6 /56.
    :param exempt: addresses that may have any number: proxies, who speak for many clients. So may local sockets.
    :ivar refused: how many connections were not taken, by reason.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, most: int, most_per_client: int, exempt: Networks) -> None:
        self.most = most
        self.open: set[Any] = set()
        self.refused = {"total": 0, "client": 0}
        self._clock = clock
        self._most_per_client = most_per_client
        self._exempt = exempt
        self._clients: dict[str, int] = {}
        self._scanned = float("-inf")
        self._told = Seldom(clock, TELL_PERIOD)

    @property
    def room(self) -> float:
        """For how many more there is room, as a part of all."""
        return 1 - len(self.open) / self.most

    def admits(self, address: str) -> bool:
        """Whether a connection from ``address`` may be taken now."""
        address = normal(address)
        if len(self.open) >= self.most - self.most // HEADROOM - 1:
            self._close_idle()
            if len(self.open) >= self.most:
                self._refuse("total", "All {most} connections are taken", most=self.most)
                return False
        if self._clients.get(bucket(address), 0) >= self._most_per_client and address not in self._exempt:
            self._refuse("client", "{address} has {most} connections", address=address, most=self._most_per_client)
            return False
        return True

    def add(self, connection: Connection) -> None:
        """A connection was taken."""
        self.open.add(connection)
        if connection.peer:
            client = bucket(connection.peer)
            self._clients[client] = self._clients.get(client, 0) + 1

    def remove(self, connection: Connection) -> None:
        """A connection has ended; harmless when that was said before."""
        if connection not in self.open:
            return
        self.open.remove(connection)
        if connection.peer:
            client = bucket(connection.peer)
            left = self._clients[client] - 1
            if left:
                self._clients[client] = left
            else:
                del self._clients[client]

    def _close_idle(self) -> None:
        """Close those that have been idle longest."""
        now = self._clock.seconds()
        if now - self._scanned < SCAN_PERIOD:
            return
        self._scanned = now
        idle = [(since, id(each), each) for each in self.open if (since := each.idle_since()) is not None]
        idle.sort()
        for _, _, connection in idle[: self.most // HEADROOM + 1]:
            connection.close_when_idle()

    def _refuse(self, reason: str, text: str, **values: Any) -> None:
        self.refused[reason] += 1
        if (silent := self._told.due()) is not None:
            text += ": new ones are closed ({silent} more were since the last line)"
            self._log.warn(text, silent=silent, **values)
