"""Tests of gateway.http.connections: who is let in, and who makes room."""

from __future__ import annotations

from ipaddress import ip_network
from unittest.mock import Mock

from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.addresses import Networks
from gateway.http.connections import Connections


class Connection:
    """A client's connection, which closes when it is told."""

    def __init__(self, connections: Connections, peer: str, idle: float | None = None) -> None:
        self.peer = peer
        self.idle = idle
        self._connections = connections
        connections.add(self)

    def idle_since(self) -> float | None:
        return self.idle

    def close_when_idle(self) -> None:
        self._connections.remove(self)


class ConnectionsTests(SynchronousTestCase):
    """At most 64 connections, 2 of each client; 10.0.0.0/8 are proxies."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.connections = Connections(self.clock, 64, 2, Networks([ip_network("10.0.0.0/8")]))

    def many(self, count: int, idle: float | None = None) -> list[Connection]:
        """Connections of as many clients."""
        begin = len(self.connections.open)
        return [Connection(self.connections, f"192.0.2.{begin + number}", idle) for number in range(count)]

    def test_each_client(self) -> None:
        """A client may have so many; when one of its connections has ended it may have another."""
        first = Connection(self.connections, "192.0.2.1")
        Connection(self.connections, "192.0.2.1")
        self.assertFalse(self.connections.admits("192.0.2.1"))
        self.assertTrue(self.connections.admits("192.0.2.2"))
        self.connections.remove(first)
        self.assertTrue(self.connections.admits("192.0.2.1"))
        self.assertEqual(self.connections.refused, {"total": 0, "client": 1})

    def test_nobody_is_remembered(self) -> None:
        """Clients without a connection take no memory."""
        for connection in self.many(50):
            self.connections.remove(connection)
            self.connections.remove(connection)
        self.assertEqual((self.connections.open, self.connections._clients), (set(), {}))

    def test_a_client_of_ipv6(self) -> None:
        """Its whole /56 counts; IPv4 in IPv6 is IPv4."""
        Connection(self.connections, "2001:db8::1")
        Connection(self.connections, "2001:db8:0:ff::1")
        self.assertFalse(self.connections.admits("2001:db8:0:1::9"))
        self.assertTrue(self.connections.admits("2001:db8:0:100::9"))
        Connection(self.connections, "192.0.2.1")
        Connection(self.connections, "192.0.2.1")
        self.assertFalse(self.connections.admits("::ffff:192.0.2.1"))

    def test_who_speaks_for_many(self) -> None:
        """Trusted proxies and local sockets have as many as they like."""
        for peer in ("10.1.2.3", ""):
            for _ in range(5):
                self.assertTrue(self.connections.admits(peer))
                Connection(self.connections, peer)
        self.connections.remove(next(each for each in self.connections.open if not each.peer))

    def test_all_taken(self) -> None:
        """When none is idle, new ones are not taken, proxies' neither; that is logged once a minute."""
        told = EventLoggingObserver()
        globalLogPublisher.addObserver(told)
        self.addCleanup(globalLogPublisher.removeObserver, told)
        self.many(64)
        for _ in range(3):
            self.assertFalse(self.connections.admits("198.51.100.1"))
            self.assertFalse(self.connections.admits("10.0.0.1"))
        self.assertEqual((self.connections.refused["total"], len(told)), (6, 1))
        self.clock.advance(60)
        self.connections.admits("198.51.100.1")
        self.assertEqual(len(told), 2)

    def test_idle_ones_make_room(self) -> None:
        """Shortly before all are taken, those that have been idle longest are closed."""
        busy = self.many(40)
        longest, later = self.many(3, idle=10), self.many(17, idle=20)
        self.assertTrue(self.connections.admits("198.51.100.1"))
        self.assertEqual(self.connections.open, {*busy, *longest, *later})
        newest = self.many(1, idle=30)
        self.assertTrue(self.connections.admits("198.51.100.1"))
        self.assertEqual(self.connections.open, {*busy, *later, *newest})

    def test_looking_for_idle_ones_is_rare(self) -> None:
        """It takes time, which a storm of connections must not be able to take."""
        self.many(63)
        connections = tuple(self.connections.open)
        looked = Mock(return_value=None)
        for connection in connections:
            connection.idle_since = looked
        for _ in range(100):
            self.connections.admits("198.51.100.1")
        self.assertEqual(looked.call_count, 63)
        self.clock.advance(0.1)
        self.connections.admits("198.51.100.1")
        self.assertEqual(looked.call_count, 126)
