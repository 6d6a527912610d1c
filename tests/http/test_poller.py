"""Tests of gateway.http.poller: many sockets behind one entry of the reactor, read first and sent to afterwards."""

from __future__ import annotations

import errno
import socket as kernel
from typing import Any
from unittest.mock import Mock, patch

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from gateway.http.poller import LEAST_FOR_LOSSES, TURN, Poller
from gateway.http.transport import LEAST_READ, MOST_READ
from tests.http.sockets import Connecting, Recorder, SocketsTestCase


class Cutting(Recorder):
    """Cuts another connection when its own ends."""

    other: Any

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.other.connectionLost(Failure(ConnectionLost()))


class Failing(Recorder):
    """Fails when it reads, and when it is to produce."""

    def dataReceived(self, data: bytes) -> None:
        raise ValueError("reading")

    def resumeProducing(self) -> None:
        raise ValueError("producing")


class FailingLast(Recorder):
    """Fails when it is told that it has ended."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        raise ValueError("lost")


class Ending(Recorder):
    """Cuts another connection when it reads."""

    other: Any

    def dataReceived(self, data: bytes) -> None:
        self.other.abortConnection()


class Taking(Recorder):
    """Ends another connection when it is lost."""

    other: Any

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.other.connectionLost(reason)


class TurnTests(SocketsTestCase):
    """What happens in one turn."""

    def test_all_reads_come_before_all_sends(self) -> None:
        """That is what it is for."""
        sockets = [self.accept(Recorder(b"hello ", b"world"))[0] for _ in range(3)]
        for socket in sockets:
            socket.incoming = b"hi"
        self.reactor.turn()
        self.assertEqual([call for call, _, _ in self.calls], ["recv"] * 3 + ["send"] * 3)
        self.assertEqual([socket.sent for socket in sockets], [b"hello world"] * 3)

    def test_many_that_end_at_once(self) -> None:
        """They are told a few in a turn, in their order, so that the others do not wait for all of them."""
        told: list[int] = []
        reactor = self.reactor

        class Slow(Recorder):
            def __init__(self, number: int) -> None:
                super().__init__()
                self.number = number

            def connectionLost(self, reason: Failure = connectionDone) -> None:
                told.append(self.number)
                reactor.rightNow += LEAST_FOR_LOSSES / 2

        for number in range(5):
            self.accept(Slow(number))[0].eof = True
        live, protocol, _ = self.accept()
        live.incoming = b"hi"
        self.poller.doRead()
        self.assertEqual((told, protocol.events), ([0, 1], ["made", b"hi"]))
        live.incoming = b"there"
        self.poller.doRead()
        self.assertEqual((told, protocol.events[-1]), ([0, 1, 2, 3], b"there"))
        self.reactor.turn()
        self.assertEqual(told, [0, 1, 2, 3, 4])

    def test_one_that_ends_twice(self) -> None:
        """Who is cut before it is told that it has ended hears that once."""
        cutting = Cutting()
        first, second = self.accept(cutting), self.accept()
        cutting.other = second[2]
        first[0].eof = second[0].eof = True
        self.reactor.turn()
        self.assertEqual(second[1].events, ["made", ConnectionLost])

    def test_what_fails_when_it_is_told(self) -> None:
        """It is logged, and the others are told all the same."""
        first, second = self.accept(FailingLast()), self.accept()
        first[0].eof = second[0].eof = True
        self.reactor.turn()
        self.assertEqual((len(self.flushLoggedErrors(ValueError)), second[1].events[-1]), (1, ConnectionDone))

    def test_what_fails_when_its_send_fails(self) -> None:
        """The others of that turn send all the same."""
        first, second = self.accept(FailingLast(b"a")), self.accept(Recorder(b"b"))
        first[0].incoming = second[0].incoming = b"hi"
        with patch.object(first[0], "send", side_effect=OSError(errno.ECONNRESET, "reset")):
            self.reactor.turn()
        self.assertEqual(second[0].sent, b"b")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_what_fails_when_the_reactor_stops(self) -> None:
        """The others are told all the same."""

        protocols = [FailingLast(), FailingLast()]
        for protocol in protocols:
            self.accept(protocol)
        self.poller.connectionLost(Failure(ConnectionLost()))
        self.assertEqual([protocol.events for protocol in protocols], [["made", ConnectionLost]] * 2)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

    def test_those_that_have_ended_when_the_reactor_stops(self) -> None:
        """They are told why they ended, not that it stopped."""
        socket, protocol, _ = self.accept()
        socket.eof = True
        with patch.object(self.poller, "_tell"):
            self.poller.doRead()
        self.poller.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(protocol.events, ["made", ConnectionDone])

    def test_the_end_of_a_turn(self) -> None:
        """What is to be done then comes after all reads and before all sends; what fails keeps nothing else from it."""

        def fail() -> None:
            raise ValueError("at the end")

        class AtEnd(Recorder):
            def dataReceived(self, data: bytes) -> None:
                poller.at_end(fail)
                poller.at_end(lambda: transport.write(b"then"))
                transport.write(b"first ")

        poller = self.poller
        first, _, transport = self.accept(AtEnd())
        second = self.accept()[0]
        first.incoming = second.incoming = b"hi"
        self.reactor.turn()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual([call[0] for call in self.calls], ["recv", "recv", "send"])
        self.assertEqual(first.sent, b"first then")

    def test_the_end_outside_of_a_turn(self) -> None:
        """That is in the next one of the reactor."""
        called: list[str] = []
        self.poller.at_end(lambda: called.append("end"))
        self.assertEqual(called, [])
        self.reactor.turn()
        self.assertEqual(called, ["end"])

    def test_a_turn_in_which_nothing_is_written(self) -> None:
        """There is nothing to send."""
        self.accept()[0].incoming = b"hi"
        self.reactor.turn()
        self.assertEqual((self.asked("send"), self.reactor.getDelayedCalls()), ([], []))

    def test_reading_and_room_at_once(self) -> None:
        """A socket that was full is read and sent to in the same turn."""
        socket, protocol, transport = self.accept()
        socket.room = 0
        transport.write(b"hello")
        self.reactor.turn()
        socket.room, socket.incoming = 100, b"hi"
        self.reactor.turn()
        self.assertEqual((socket.sent, protocol.events), (b"hello", ["made", b"hi"]))

    def test_many_large_reads(self) -> None:
        """What a turn reads is bounded: many sockets that are read in large pieces share it."""
        sockets = [self.accept()[0] for _ in range(4)]
        for socket in sockets:
            socket.incoming = b"x" * MOST_READ * 4
        for _ in range(10):
            self.reactor.turn()
        self.assertEqual([size for _, size in self.asked("recv")[-4:]], [TURN // 4] * 4)

    def test_a_connection_that_another_one_ends(self) -> None:
        """It is not read any more, although its socket was ready."""
        first, second = Ending(), Recorder()
        first_socket, _, _ = self.accept(first)
        second_socket, _, first.other = self.accept(second)
        first_socket.incoming = second_socket.incoming = b"hi"
        self.reactor.turn()
        self.assertEqual(self.asked("recv"), [(10, LEAST_READ)])

    def test_a_connection_that_ends_before_its_bytes_are_sent(self) -> None:
        """They are dropped."""
        socket, protocol, transport = self.accept()
        transport.write(b"hello")
        socket.eof = True
        self.reactor.turn()
        self.assertEqual((protocol.events, self.asked("send")), (["made", ConnectionDone], []))

    def test_a_protocol_that_fails_to_read(self) -> None:
        """Its connection is lost, the log has why, and the others are served."""
        broken, whole = Failing(), Recorder()
        for protocol in (broken, whole):
            self.accept(protocol)[0].incoming = b"hi"
        self.reactor.turn()
        self.assertEqual((broken.events, whole.events), (["made", ValueError], ["made", b"hi"]))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_a_producer_that_fails(self) -> None:
        """The same when it fails to write."""
        broken = Failing()
        socket, _, transport = self.accept(broken)
        transport.registerProducer(broken, True)
        socket.room = 10
        transport.write(b"x" * 70000)
        self.reactor.turn()
        socket.room = float("inf")
        self.reactor.turn()
        self.assertEqual(broken.events, ["made", "pause", "stop", ValueError])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_a_socket_that_fails_as_nobody_foresaw(self) -> None:
        """At the end of a turn, too, that is the end of its own connection alone."""
        (socket, broken, transport), (other, _, second) = self.accept(), self.accept()

        def send(data: bytes) -> int:
            raise ValueError("sending")

        self.patch(socket, "send", send)
        transport.write(b"x")
        second.write(b"hello")
        self.reactor.turn()
        self.assertEqual((broken.events, other.sent), (["made", ValueError], b"hello"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_a_connection_that_takes_another_one_with_it(self) -> None:
        """What was to be sent there is dropped."""
        first = Taking()
        socket, _, transport = self.accept(first)
        other, protocol, first.other = self.accept()
        socket.broken = errno.EPIPE
        transport.write(b"x")
        first.other.write(b"hello")
        self.reactor.turn()
        self.assertEqual((protocol.events, other.sent), (["made", ConnectionLost], b""))

    def test_hanging_up(self) -> None:
        """A connection that is read has ended; of one that is paused nobody knows whether it was read to its end."""
        for paused, reason in ((False, ConnectionDone), (True, ConnectionLost)):
            socket, protocol, transport = self.accept()
            if paused:
                socket.room = 0
                transport.write(b"hello")
                self.reactor.turn()
                transport.pauseProducing()
            socket.hung_up = True
            self.reactor.turn()
            self.assertEqual(protocol.events, ["made", reason])


class ConnectTests(SocketsTestCase):
    """Outgoing connections."""

    def setUp(self) -> None:
        super().setUp()
        self.factory = Connecting()
        self.connector = self.poller.connectTCP("192.0.2.7", 3001, self.factory, 5.0)
        self.reactor.turn()
        self.made = self.sockets[10]

    def test_connects(self) -> None:
        """To the address it is given, and then reads and writes."""
        self.assertEqual((self.made.address, self.factory.made), (("192.0.2.7", 3001), []))
        self.made.connecting = False
        self.reactor.turn()
        protocol = self.factory.made[0]
        protocol.transport.write(b"hello")  # type: ignore[union-attr]
        self.made.incoming = b"hi"
        self.reactor.turn()
        self.assertEqual((self.made.sent, protocol.events), (b"hello", ["made", b"hi"]))

    def test_lost(self) -> None:
        """What was made for it is let go, and does not wait until garbage is collected."""
        self.made.connecting = False
        self.reactor.turn()
        self.made.eof = True
        self.reactor.turn()
        self.assertEqual((self.factory.made[0].events[-1], self.connector.transport), (ConnectionDone, None))

    def test_refused(self) -> None:
        """The factory is told."""
        self.made.hung_up = True
        self.reactor.turn()
        self.assertEqual((self.factory.failed, self.factory.made), ([ConnectError], []))
        self.assertEqual((self.made.closed, self.epoll.registered), (True, {}))

    def test_too_late(self) -> None:
        """The attempt ends after its time."""
        self.reactor.advance(4.9)
        self.assertEqual(self.factory.failed, [])
        self.reactor.advance(0.2)
        self.assertEqual((self.factory.failed, self.factory.made), ([TimeoutError], []))
        self.assertTrue(self.made.closed)


class PollerTests(SocketsTestCase):
    """The poller itself."""

    def test_stands_for_the_reactor(self) -> None:
        """Whatever it does not do itself."""
        self.assertTrue(IReactorTime.providedBy(self.poller))
        self.reactor.advance(7)
        self.assertEqual(self.poller.seconds(), 7)
        self.assertEqual((self.poller.fileno(), self.poller.logPrefix()), (3, "-"))

    def test_closing(self) -> None:
        """It leaves the reactor."""
        self.poller.close()
        self.assertEqual((self.reactor.readers, self.epoll.closed), ([], True))

    def test_the_reactor_stops(self) -> None:
        """Everybody is told."""
        connections = [self.accept(), self.accept()]
        self.poller.connectionLost(Failure(ConnectionDone()))
        self.assertEqual([protocol.events for _, protocol, _ in connections], [["made", ConnectionDone]] * 2)
        self.assertEqual(self.epoll.registered, {})

    def test_asking_twice(self) -> None:
        """Waiting for what is waited for, and giving up what is not, changes nothing."""
        _, _, transport = self.accept()
        transport.resumeProducing()
        self.assertEqual(len(self.epoll.registered), 1)
        transport.pauseProducing()
        transport.pauseProducing()
        self.assertEqual(self.epoll.registered, {})


class JoinedTests(SynchronousTestCase):
    """A real reactor, whose loop waits by the poller."""

    def setUp(self) -> None:
        self.reactor = EPollReactor()
        self.poller = Poller(self.reactor)

    def pair(self) -> tuple[kernel.socket, kernel.socket]:
        """Two connected sockets."""
        ends = kernel.socketpair()
        for end in ends:
            end.setblocking(False)
            self.addCleanup(end.close)
        return ends

    def accept(self, poller: Poller) -> tuple[kernel.socket, Recorder]:
        """The client's end, and the protocol of the other."""
        ours, theirs = self.pair()
        protocol = Recorder(b"answer")
        protocol.makeConnection(poller.accept(ours, protocol, ("192.0.2.1", 4000), None, 1, None))
        return theirs, protocol

    def test_connections(self) -> None:
        """What comes is read and answered in one turn of the loop."""
        client, protocol = self.accept(self.poller)
        client.send(b"hello")
        self.reactor.doIteration(0)
        self.assertEqual((protocol.events, client.recv(100)), (["made", b"hello"], b"answer"))

    def test_the_reactors_own(self) -> None:
        """Its descriptors are served in the same turn."""
        ours, theirs = self.pair()
        reader = Mock(fileno=ours.fileno, doRead=lambda: ours.recv(100) and None)
        self.reactor.addReader(reader)
        theirs.send(b"hello")
        self.reactor.doIteration(0)
        self.assertRaises(BlockingIOError, ours.recv, 100)

    def test_own_turn_fails(self) -> None:
        """That is logged, and the next turn is as any."""
        self.poller.close()
        with patch.object(EPollReactor, "doIteration", autospec=True, side_effect=[ValueError("once"), None]) as turn:
            self.poller = Poller(self.reactor)
            self.reactor.wakeUp()
            self.reactor.doIteration(0)
            self.reactor.doIteration(0)
        self.assertEqual((turn.call_count, len(self.flushLoggedErrors(ValueError))), (2, 1))

    def test_closing(self) -> None:
        """The loop waits by itself again."""
        self.poller.close()
        self.assertNotIn("doIteration", vars(self.reactor))

    def test_another_one(self) -> None:
        """It is a descriptor of the reactor's, and works as well."""
        client, protocol = self.accept(Poller(self.reactor))
        client.send(b"hello")
        self.reactor.doIteration(0)
        self.assertEqual((protocol.events, client.recv(100)), (["made", b"hello"], b"answer"))

    def test_the_reactor_stops(self) -> None:
        """Everybody is told."""
        _, protocol = self.accept(self.poller)
        self.reactor.fireSystemEvent("shutdown")
        self.assertEqual(protocol.events, ["made", ConnectionLost])
        self.reactor.doIteration(0)
