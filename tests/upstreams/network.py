"""A network in memory: connection attempts and name look-ups that end as a test says."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.base import BaseConnector
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHostnameResolver, IResolutionReceiver
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer


class Transport(StringTransport):
    """An established connection, as an instance's side sees it."""

    protocol: Any
    aborted = False
    half_closed = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        """There is nothing to delay."""

    def loseWriteConnection(self) -> None:
        """Half of it ends."""
        self.half_closed = True

    def abortConnection(self) -> None:
        self.aborted = True

    def lost(self, error: Exception | None = None) -> None:
        """The connection has ended."""
        self.protocol.connectionLost(Failure(error or ConnectionDone()))


class Attempt(BaseConnector):
    """A connector of Twisted's, without a socket."""

    def __init__(self, host: str, port: int, factory: Any, timeout: float, reactor: Any) -> None:
        super().__init__(factory, timeout, reactor)
        self.host, self.port = host, port

    def _makeTransport(self) -> Any:
        return self

    def failIfNotConnected(self, error: Exception) -> None:
        """What a transport does that gives up before it is connected."""
        self.connectionFailed(Failure(error))

    def accepted(self) -> Transport:
        """The instance takes the connection."""
        transport = Transport()
        self.transport = transport  # type: ignore[assignment]
        transport.protocol = self.buildProtocol(IPv4Address("TCP", self.host, self.port))
        transport.protocol.makeConnection(transport)
        return transport


class Network:
    """Where a reactor's connections are attempted, and what was.

    :param reactor: its ``connectTCP`` comes here from now on.
    """

    def __init__(self, reactor: Any) -> None:
        self.attempts: list[Attempt] = []
        self._reactor = reactor
        reactor.connectTCP = self.connect

    def connect(self, host: str, port: int, factory: Any, timeout: float) -> Attempt:
        """Attempt a connection."""
        attempt = Attempt(host, port, factory, timeout, self._reactor)
        self.attempts.append(attempt)
        attempt.connect()
        return attempt

    @property
    def hosts(self) -> list[str]:
        """Where connections were attempted, in this order."""
        return [attempt.host for attempt in self.attempts]


@implementer(IHostnameResolver)
class Resolver:
    """Name look-ups that end when a test says so."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._receivers: list[IResolutionReceiver] = []

    def resolveHostName(self, receiver: IResolutionReceiver, hostName: str, portNumber: int = 0, *_: Any) -> Any:
        self.asked.append(hostName)
        self._receivers.append(receiver)
        receiver.resolutionBegan(self)  # type: ignore[arg-type]
        return self

    def found(self, *addresses: str) -> None:
        """The oldest look-up under way is over."""
        receiver = self._receivers.pop(0)
        for address in addresses:
            receiver.addressResolved((IPv6Address if ":" in address else IPv4Address)("TCP", address, 80))
        receiver.resolutionComplete()
