"""Tests of gateway.upstreams.probes."""

from __future__ import annotations

from itertools import repeat
from typing import Any

from twisted.internet.error import ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from gateway.upstreams.cluster import Cluster
from gateway.upstreams.health import ClusterHealth
from gateway.upstreams.instance import Instance
from gateway.upstreams.probes import Probe, Probes, Probing
from tests.upstreams.network import Network, Transport

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class ProbeTests(SynchronousTestCase):
    """One instance, asked every 5 s for 2 s; the dice fall in the middle."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.network = Network(self.reactor)
        self.instance = Instance(self.reactor, "http://192.0.2.1:8080")
        self.told: list[tuple[bool, str]] = []
        self.probe = Probe(
            self.reactor, self.instance, Probing("/health", 5, 2), lambda *what: self.told.append(what), lambda: 0.5
        )
        self.probe.start()

    def asked(self) -> Transport:
        """The next probe's connection, which the instance takes."""
        known = len(self.network.attempts)
        while len(self.network.attempts) == known:
            self.reactor.advance(0.5)
        return self.network.attempts[-1].accepted()

    def answered(self, data: bytes) -> Transport:
        """What the instance says to the next probe."""
        transport = self.asked()
        transport.protocol.dataReceived(data)
        return transport

    def test_request(self) -> None:
        """A GET of the path, on a connection of its own."""
        head = self.asked().value()
        self.assertEqual(
            head, b"GET /health HTTP/1.1\r\nHost: 192.0.2.1:8080\r\nUser-Agent: smartgate\r\nConnection: close\r\n\r\n"
        )

    def test_good(self) -> None:
        """2xx; the connection is cut and not kept."""
        transport = self.answered(GOOD)
        self.assertEqual((self.told, transport.aborted), ([(True, "")], True))
        transport.lost()
        self.assertIsNone(self.instance.take())
        self.assertEqual(len(self.told), 1)

    def test_head_alone(self) -> None:
        """Nobody waits for its body."""
        self.assertTrue(self.answered(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n").aborted)
        self.assertEqual(self.told, [(True, "")])

    def test_interim_answer(self) -> None:
        """It is no answer yet."""
        transport = self.answered(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        self.assertEqual(self.told, [])
        transport.protocol.dataReceived(GOOD)
        self.assertEqual(self.told, [(True, "")])

    def test_bad(self) -> None:
        """Any other status, and redirects are not followed."""
        for status in (301, 404, 500, 503):
            self.answered(b"HTTP/1.1 %d No\r\nLocation: http://192.0.2.9/\r\n\r\n" % status)
        self.assertEqual(self.told, [(False, f"it answers {status}") for status in (301, 404, 500, 503)])
        self.assertEqual(set(self.network.hosts), {"192.0.2.1"})

    def test_no_http(self) -> None:
        """Neither is what is not HTTP, or too much of it."""
        for answer in (b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000):
            self.assertTrue(self.answered(answer).aborted)
        self.assertEqual([good for good, _ in self.told], [False, False])

    def test_lost(self) -> None:
        """A connection that is closed without an answer."""
        self.asked().lost()
        self.assertEqual([good for good, _ in self.told], [False])

    def test_refused(self) -> None:
        """No connection."""
        self.reactor.advance(2.5)
        self.network.attempts[0].failIfNotConnected(ConnectionRefusedError())
        self.assertEqual([good for good, _ in self.told], [False])

    def test_silent(self) -> None:
        """No answer within 2 s, or no connection: one bad probe, and whatever it was is given up."""
        transport = self.asked()
        self.reactor.advance(2)
        self.assertEqual((self.told, transport.aborted), ([(False, "no answer in time")], True))
        self.reactor.advance(3)
        self.reactor.advance(2)
        self.assertEqual(len(self.told), 2)
        self.assertEqual(self.network.attempts[1].state, "disconnected")

    def test_interval(self) -> None:
        """Every 5 s from beginning to beginning, whatever came of it."""
        self.reactor.advance(2.5)
        for count in range(1, 5):
            self.assertEqual(len(self.network.attempts), count)
            if count % 2:
                self.network.attempts[-1].failIfNotConnected(ConnectionRefusedError())
                self.reactor.pump((1, 3))
            else:
                self.reactor.pump((2, 2))
            self.assertEqual(len(self.network.attempts), count)
            self.reactor.advance(1)

    def test_jitter(self) -> None:
        """Give or take a tenth."""
        for chance, wait in ((0.0, 4.5), (0.75, 5.25)):
            reactor = MemoryReactorClock()
            Network(reactor)
            drawn = repeat(chance)
            probe = Probe(
                reactor, Instance(reactor, "http://192.0.2.1"), Probing("/", 5, 1), lambda *what: None, drawn.__next__
            )
            probe.start()
            reactor.advance(5 * chance)
            reactor.advance(1)
            (call,) = reactor.getDelayedCalls()
            self.assertAlmostEqual(call.getTime() - 5 * chance, wait)

    def test_stop(self) -> None:
        """No timer and no connection is left, whenever."""
        self.probe.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.probe.start()
        self.reactor.advance(2.5)
        self.probe.stop()
        self.assertEqual((self.reactor.getDelayedCalls(), self.network.attempts[0].state), ([], "disconnected"))
        self.probe.start()
        transport = self.asked()
        self.probe.stop()
        self.assertEqual((self.reactor.getDelayedCalls(), transport.aborted, self.told), ([], True, []))

    def test_nothing_to_send(self) -> None:
        """A transport that is full and empty again does not matter."""
        transport = self.asked()
        transport.protocol.pauseProducing()
        transport.protocol.resumeProducing()
        transport.protocol.dataReceived(GOOD)
        self.assertEqual(self.told, [(True, "")])


class ProbesTests(SynchronousTestCase):
    """All instances of an upstream."""

    def test_follow(self) -> None:
        """Those that come are probed, those that go are not, and those that stay are not disturbed."""
        reactor = MemoryReactorClock()
        probed: dict[str, list[str]] = {}

        class Told:
            def __init__(self, instance: Instance) -> None:
                self.log = probed.setdefault(instance.name, [])

            def start(self) -> None:
                self.log.append("start")

            def stop(self) -> None:
                self.log.append("stop")

        make: Any = Told
        probes = Probes(make)
        one, two, three = (Instance(reactor, f"http://{name}:1") for name in ("one", "two", "three"))
        health = ClusterHealth("core", reactor)
        cluster = Cluster("core", [one, two], "round-robin", health, probes=probes)
        self.assertEqual(probed, {})
        cluster.start()
        cluster.update([two, three])
        self.assertEqual(probed, {"one:1": ["start", "stop"], "two:1": ["start"], "three:1": ["start"]})
        cluster.close()
        self.assertEqual({log[-1] for log in probed.values()}, {"stop"})
