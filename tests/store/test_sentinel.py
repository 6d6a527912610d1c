"""Tests of gateway.store.sentinel on connections in memory."""

from __future__ import annotations

from typing import Any

import txredisapi
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from gateway.store.address import Address
from gateway.store.link import NoAnswer
from gateway.store.sentinel import DISCOVERY, WATCH, SentinelEndpoint
from tests.store.lines import Line

ASKED = [[b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", b"m"]]


class SentinelEndpointTests(SynchronousTestCase):
    """Two Sentinels and the master they name."""

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.patch(txredisapi, "reactor", self.reactor)
        self.endpoint = self.make()

    def make(self, **credentials: str) -> SentinelEndpoint:
        address = Address.parse("sentinel://127.0.0.1:7001,127.0.0.1:7002/m")
        return SentinelEndpoint(self.reactor, address, **credentials)

    def connect(self) -> Deferred[Any]:
        return self.endpoint.connect(Factory.forProtocol(Protocol))

    def take(self, port: int) -> Line:
        """Whoever is there takes the last connection."""
        _, to, factory, *_ = next(client for client in reversed(self.reactor.tcpClients) if client[1] == port)
        self.assertEqual(to, port)
        line = Line()
        line.link = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", port))
        line.link.makeConnection(line)
        self.reactor.advance(0)
        return line

    def sentinels(self) -> list[Line]:
        """Both are there; nobody could be asked before."""
        self.failureResultOf(self.connect(), NoAnswer)
        self.reactor.advance(0)
        return [self.take(port) for port in (7001, 7002)]

    def name(self, line: Line, port: int) -> None:
        """A Sentinel that was asked names the master."""
        self.assertEqual(line.said(), ASKED)
        line.reply(b"*2\r\n$9\r\n127.0.0.1\r\n$4\r\n%d\r\n" % port)

    def connected(self) -> tuple[list[Line], Line]:
        """The Sentinels, and the connection to the master that the first of them names."""
        sentinels = self.sentinels()
        done = self.connect()
        self.name(sentinels[0], 6001)
        line = self.take(6001)
        self.successResultOf(done)
        return sentinels, line

    def test_asks_for_the_master(self) -> None:
        """The first Sentinel is asked, and what it names connected to; the next time it is the other's turn."""
        sentinels, _ = self.connected()
        self.connect()
        self.assertEqual(sentinels[0].said(), [])
        self.name(sentinels[1], 6002)
        self.take(6002)

    def test_a_sentinel_that_does_not_know(self) -> None:
        """It is passed over, as is one that hangs, one that refuses and one that is away; then there is no answer."""
        first, second = self.sentinels()
        done = self.connect()
        self.reactor.advance(DISCOVERY)
        self.name(second, 6001)
        self.take(6001)
        self.successResultOf(done)
        first.reply(b"*-1\r\n")
        done = self.connect()
        first.said()
        second.said()
        second.reply(b"*-1\r\n")
        first.reply(b"-ERR no\r\n")
        self.failureResultOf(done, NoAnswer)
        done = self.connect()
        first.lose()
        second.lose()
        self.failureResultOf(done, NoAnswer)
        self.failureResultOf(self.connect(), NoAnswer)

    def test_a_master_that_moved(self) -> None:
        """The connection to what was the master is cut as soon as another one is named."""
        sentinels, line = self.connected()
        self.reactor.advance(WATCH)
        self.name(sentinels[1], 6001)
        self.assertFalse(line.disconnected)
        self.reactor.advance(WATCH)
        sentinels[1].lose()
        self.name(sentinels[0], 6001)
        sentinels[0].said()
        self.reactor.advance(WATCH)
        self.name(sentinels[0], 6002)
        self.assertTrue(line.disconnecting or line.disconnected)

    def test_nobody_can_tell_whether_it_moved(self) -> None:
        """The connection stays."""
        sentinels, line = self.connected()
        for sentinel in sentinels:
            sentinel.lose()
        self.reactor.advance(WATCH)
        self.assertFalse(line.disconnecting or line.disconnected)

    def test_looks_once_at_a_time(self) -> None:
        """A Sentinel that hangs is not asked again meanwhile."""
        sentinels, _ = self.connected()
        self.reactor.advance(WATCH)
        self.endpoint._look()
        self.assertEqual(sentinels[1].said(), ASKED)

    def test_authenticates(self) -> None:
        """With what the Sentinels ask for, which is not what Redis does; a Sentinel has no databases to select."""
        self.endpoint = self.make(user="ann", password="pw")
        first, _ = self.sentinels()
        self.assertEqual(first.said(), [[b"AUTH", b"ann", b"pw"]])
        first.reply(b"+OK\r\n")
        self.assertEqual(first.said(), [])

    def test_closes(self) -> None:
        """Nothing is left; one that never connected too."""
        self.make().close()
        self.connected()
        self.endpoint.close()
        self.reactor.advance(0)
        self.assertEqual([call for call in self.reactor.getDelayedCalls() if call.active()], [])
