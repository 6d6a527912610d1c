"""Connections that begin with a PROXY header: believed from listed proxies, and from nobody else."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from gateway.core.addresses import Networks, normal
from gateway.core.proxy_protocol import Source, parse
from gateway.http.seldom import Seldom
from gateway.http.timeouts import Timeouts


class ProxyProtocolFactory(Factory):
    """Reads the PROXY header of each connection, then hands the connection on as if its client had made it.

    A connection without a header is closed, and so is one from anybody but the proxies; whoever can open a Unix socket
    is taken for one.

    :param inner: who serves the connections; TLS begins behind the header.
    :param proxies: whose headers are believed.
    :param timeout: seconds in which the whole header must come.
    """

    noisy = False
    _log = Logger()

    def __init__(self, inner: Any, proxies: Networks, clock: IReactorTime, timeout: float) -> None:
        self.inner = inner
        self._proxies = proxies
        self.waiting: Timeouts[ProxyHeader] = Timeouts(clock, timeout, ProxyHeader.late)
        self._refusals = Seldom(clock)

    def doStart(self) -> None:
        super().doStart()
        self.inner.doStart()

    def doStop(self) -> None:
        super().doStop()
        self.inner.doStop()

    def buildProtocol(self, addr: IAddress | None) -> ProxyHeader | None:
        host = getattr(addr, "host", None)
        if host is not None and normal(host) not in self._proxies:
            self.refused(host, "server.trusted_proxies does not have its address")
            return None
        return ProxyHeader(self)

    def refused(self, peer: str, why: str) -> None:
        """Say so, though not of each in a flood of them."""
        if (silent := self._refusals.due()) is not None:
            text = "A connection from {peer} was closed: {why} ({silent} more like it since the last time)"
            self._log.warn(text, peer=peer, why=why, silent=silent)


class ProxyHeader(Protocol):
    """A connection until its header has come."""

    def __init__(self, factory: ProxyProtocolFactory) -> None:
        self.factory: Any = factory
        self._data = b""

    def connectionMade(self) -> None:
        self.factory.waiting.start(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.waiting.stop(self)

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        try:
            header = parse(self._data)
        except ValueError as error:
            self._refuse(str(error))
            return
        if header is not None:
            self.factory.waiting.stop(self)
            self._hand_on(header.source, self._data[header.size :])

    def late(self) -> None:
        """The header takes too long."""
        self._refuse("its PROXY header did not come in time")

    def _hand_on(self, source: Source | None, rest: bytes) -> None:
        """From now on another protocol has the transport, which says that its peer is the client."""
        transport: Any = self.transport
        if source is not None:
            kind = IPv6Address if ":" in source.host else IPv4Address
            address = kind("TCP", source.host, source.port)
            transport.getPeer = lambda: address
        protocol = self.factory.inner.buildProtocol(transport.getPeer())
        if protocol is None:
            transport.loseConnection()
            return
        transport.protocol = protocol
        protocol.makeConnection(transport)
        if rest:
            protocol.dataReceived(rest)

    def _refuse(self, why: str) -> None:
        transport: Any = self.transport
        self.factory.refused(getattr(transport.getPeer(), "host", "a Unix socket"), why)
        self._data = b""
        transport.abortConnection()
