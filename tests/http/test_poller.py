"""Tests of gateway.http.poller: many sockets behind one entry of the reactor, read first and sent to afterwards."""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from gateway.http.poller import TURN
from gateway.http.transport import LEAST_READ, MOST_READ
from tests.http.sockets import Connecting, Recorder, SocketsTestCase


class Failing(Recorder):
    """Fails when it reads, and when it is to produce."""

    def dataReceived(self, data: bytes) -> None:
        raise ValueError("reading")

    def resumeProducing(self) -> None:
        raise ValueError("producing")


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
        self.poller.connectTCP("192.0.2.7", 3001, self.factory, 5.0)
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
