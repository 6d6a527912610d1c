"""Tests of gateway.http.proxy_protocol."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.addresses import Networks
from gateway.http.proxy_protocol import ProxyProtocolFactory
from tests.logs import observed

LINE = b"PROXY TCP4 198.51.100.7 192.0.2.1 4000 443\r\n"


class Served(Protocol):
    """Who serves the client."""

    def __init__(self) -> None:
        self.received = b""
        self.peer: Any = None

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self.peer = transport.getPeer()

    def dataReceived(self, data: bytes) -> None:
        self.received += data


class Inner(Factory):
    """Serves clients until it is told to serve none."""

    protocol = Served
    refuses = False
    running = 0

    def startFactory(self) -> None:
        self.running += 1

    def stopFactory(self) -> None:
        self.running -= 1

    def buildProtocol(self, addr: Any) -> Any:
        self.asked = addr
        return None if self.refuses else super().buildProtocol(addr)


class ProxyProtocolTests(SynchronousTestCase):
    """Connections that begin with a header."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.inner = Inner()
        self.inner.noisy = False
        self.log = observed(self)
        proxies = Networks([ip_network("10.0.0.0/8")])
        self.factory = ProxyProtocolFactory(self.inner, proxies, self.clock, 10)

    def connect(self, address: Any = None) -> Any:
        address = address or IPv4Address("TCP", "10.0.0.1", 5000)
        transport: Any = StringTransport(peerAddress=address)
        protocol = self.factory.buildProtocol(address)
        assert protocol is not None
        transport.protocol = protocol
        protocol.makeConnection(transport)
        return transport

    def said(self) -> list[tuple[object, ...]]:
        return [(event["peer"], event["why"]) for event in self.log]

    def test_handed_on(self) -> None:
        """Behind the header, in whatever pieces that comes, the connection is the client's."""
        for pieces in ((LINE + b"GET /",), (LINE[:9], LINE[9:] + b"GET", b" /"), (LINE, b"GET /")):
            transport = self.connect()
            for piece in pieces:
                transport.protocol.dataReceived(piece)
            self.assertEqual(transport.protocol.received, b"GET /")
            self.assertEqual(transport.protocol.peer, IPv4Address("TCP", "198.51.100.7", 4000))
            self.assertEqual(self.inner.asked, transport.protocol.peer)
        self.clock.advance(11)
        self.assertFalse(transport.disconnecting)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_ipv6(self) -> None:
        """Whatever family the proxy's own address is of."""
        transport = self.connect()
        transport.protocol.dataReceived(b"PROXY TCP6 2001:db8::7 2001:db8::1 4000 443\r\n")
        self.assertEqual((transport.protocol.peer.host, transport.protocol.peer.port), ("2001:db8::7", 4000))

    def test_a_proxy_for_itself(self) -> None:
        """Then the peer is the proxy."""
        transport = self.connect()
        transport.protocol.dataReceived(b"PROXY UNKNOWN\r\n")
        self.assertEqual(transport.protocol.peer.host, "10.0.0.1")

    def test_unix_socket(self) -> None:
        """Whoever can open it is a proxy."""
        transport = self.connect(UNIXAddress(None))
        transport.protocol.dataReceived(LINE)
        self.assertEqual(transport.protocol.peer.host, "198.51.100.7")
        transport = self.connect(UNIXAddress(None))
        transport.protocol.dataReceived(b"GET / HTTP/1.1")
        self.assertEqual(self.said(), [("a Unix socket", "there is no PROXY header")])

    def test_strangers(self) -> None:
        """Anybody else is not listened to; of many the log tells once a second."""
        for _ in range(9):
            self.assertIsNone(self.factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 5000)))
            self.clock.advance(0.125)
        why = "server.trusted_proxies does not have its address"
        self.assertEqual(self.said(), [("192.0.2.1", why), ("192.0.2.1", why)])

    def test_malformed(self) -> None:
        """Without a header that can be read the connection is cut."""
        transport = self.connect()
        transport.protocol.dataReceived(b"GET / HTTP/1.1\r\n")
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.said(), [("10.0.0.1", "there is no PROXY header")])

    def test_too_slow(self) -> None:
        """The whole header must come in time, however often a piece of it does."""
        transport = self.connect()
        for index in range(9):
            transport.protocol.dataReceived(LINE[index : index + 1])
            self.clock.advance(1)
        self.assertFalse(transport.disconnecting)
        self.clock.advance(1)
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.said(), [("10.0.0.1", "its PROXY header did not come in time")])

    def test_gone(self) -> None:
        """Who leaves before is forgotten."""
        self.connect().protocol.connectionLost()
        self.clock.advance(11)
        self.assertEqual(self.said(), [])

    def test_not_served(self) -> None:
        """A client that nobody serves is let go."""
        self.inner.refuses = True
        transport = self.connect()
        transport.protocol.dataReceived(LINE)
        self.assertTrue(transport.disconnecting)

    def test_life(self) -> None:
        """Who serves them begins and ends with the listener."""
        self.factory.doStart()
        self.assertEqual(self.inner.running, 1)
        self.factory.doStop()
        self.assertEqual(self.inner.running, 0)
