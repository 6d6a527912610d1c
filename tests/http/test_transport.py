"""Tests of gateway.http.transport: how much is read, when it is written, and what Twisted promises of both."""

from __future__ import annotations

import errno
import sys
from socket import TCP_NOTSENT_LOWAT

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.protocol import Factory
from twisted.internet.testing import StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory

from gateway.http import transport
from gateway.http.transport import GATHERED, LEAST_READ, LONG, MOST_READ, SMALLEST_READ, TAKEN, quiet, unsent
from tests.http.sockets import Recorder, SocketsTestCase


class ReadingTests(SocketsTestCase):
    """What comes."""

    def test_reads(self) -> None:
        """It is handed on."""
        socket, protocol, _ = self.accept()
        socket.incoming = b"hello"
        self.reactor.turn()
        self.assertEqual(protocol.events, ["made", b"hello"])

    def test_large_reads(self) -> None:
        """Reads grow as long as they come back full, up to a bound, and shrink when little comes."""
        socket, protocol, _ = self.accept()
        socket.incoming = b"x" * (MOST_READ * 4)
        while socket.incoming:
            self.reactor.turn()
        socket.incoming = b"little"
        self.reactor.turn()
        socket.incoming = b"less"
        self.reactor.turn()
        sizes = [size for _, size in self.asked("recv")]
        self.assertEqual(sizes[:5], [LEAST_READ << step for step in range(5)])
        self.assertEqual((max(sizes), sizes[-1]), (MOST_READ, LEAST_READ))
        self.assertEqual(len(b"".join(protocol.events[1:])), MOST_READ * 4 + 10)

    def test_reads_that_take_long(self) -> None:
        """Of what takes long to be worked off less is read at once, so that all others have their turn."""
        reactor, each = self.reactor, LONG * 1.1

        class Slow(Recorder):
            def dataReceived(self, data: bytes) -> None:
                reactor.rightNow += each

        socket, _, _ = self.accept(Slow())
        socket.incoming = b"x" * LEAST_READ * 100
        for _ in range(8):
            self.reactor.turn()
        sizes = [size for _, size in self.asked("recv")]
        self.assertEqual(sizes[:3], [LEAST_READ, LEAST_READ // 4, LEAST_READ // 16])
        self.assertEqual(sizes[-1], SMALLEST_READ)
        each = 0.0
        for _ in range(3):
            self.reactor.turn()
        self.assertEqual([size for _, size in self.asked("recv")][-2:], [SMALLEST_READ * 2, SMALLEST_READ * 4])

    def test_a_reader_that_is_paused(self) -> None:
        """It reads less than before from then on: who takes it is slower than who sends it."""
        socket, _, transport = self.accept()
        socket.incoming = b"x" * MOST_READ * 2
        for _ in range(5):
            self.reactor.turn()
        transport.pauseProducing()
        self.reactor.turn()
        transport.resumeProducing()
        self.reactor.turn()
        self.assertEqual([size for _, size in self.asked("recv")][-2:], [LEAST_READ * 16, LEAST_READ * 16])

    def test_nothing_to_read_after_all(self) -> None:
        """That may happen, and means nothing."""
        _, protocol, transport = self.accept()
        self.assertIsNone(transport.doRead())
        self.assertEqual(protocol.events, ["made"])

    def test_the_end(self) -> None:
        """A peer that closes ends the connection cleanly."""
        socket, protocol, _ = self.accept()
        socket.eof = True
        self.reactor.turn()
        self.assertEqual(protocol.events, ["made", ConnectionDone])
        self.assertTrue(socket.closed)
        self.assertEqual(self.epoll.registered, {})

    def test_a_broken_connection(self) -> None:
        """A reset is no clean end."""
        socket, protocol, _ = self.accept()
        socket.incoming, socket.broken = b"x", errno.ECONNRESET
        self.reactor.turn()
        self.assertEqual(protocol.events, ["made", ConnectionLost])

    def test_pausing(self) -> None:
        """Nothing is read until reading is resumed."""
        socket, protocol, transport = self.accept()
        transport.pauseProducing()
        socket.incoming = b"hello"
        self.reactor.turn()
        self.assertEqual(protocol.events, ["made"])
        transport.resumeProducing()
        self.reactor.turn()
        self.assertEqual(protocol.events, ["made", b"hello"])


class WritingTests(SocketsTestCase):
    """What goes."""

    def test_what_is_written_in_one_turn(self) -> None:
        """It leaves in one call, at the end of the turn."""
        socket, _, transport = self.accept()
        transport.write(b"hello ")
        transport.write(b"")
        transport.writeSequence([b"wor", b"ld"])
        self.assertEqual(socket.sent, b"")
        self.reactor.turn()
        self.assertEqual((socket.sent, len(self.asked("send"))), (b"hello world", 1))
        self.reactor.turn()
        self.assertEqual(len(self.asked("send")), 1)

    def test_very_many_pieces(self) -> None:
        """More than one call takes follow in the next."""
        socket, _, transport = self.accept()
        pieces = [b"%d " % number for number in range(GATHERED * 2 + 5)]
        for piece in pieces:
            transport.write(piece)
        for _ in range(3):
            self.reactor.turn()
        self.assertEqual(socket.sent, b"".join(pieces))

    def test_a_client_that_takes_much(self) -> None:
        """The kernel keeps little for it until it has made room often."""
        socket, _, transport = self.accept()
        socket.room = 0
        transport.write(bytes(TAKEN))
        for _ in range(TAKEN):
            self.assertNotIn((10, TCP_NOTSENT_LOWAT), self.asked("setsockopt"))
            self.reactor.turn()
            socket.room = 1
        self.reactor.turn()
        self.assertEqual(self.asked("setsockopt").count((10, TCP_NOTSENT_LOWAT)), 1)

    def test_a_socket_that_takes_a_part(self) -> None:
        """The rest follows when there is room, and nothing overtakes it."""
        socket, _, transport = self.accept()
        socket.room = 3
        transport.write(b"hello ")
        self.reactor.turn()
        transport.write(b"world")
        self.reactor.turn()
        self.assertEqual((socket.sent, len(self.asked("send"))), (b"hel", 1))
        socket.room = 100
        self.reactor.turn()
        self.assertEqual(socket.sent, b"hello world")
        transport.write(b"!")
        self.reactor.turn()
        self.assertEqual(socket.sent, b"hello world!")

    def test_a_socket_that_is_full(self) -> None:
        """Everything waits, without asking again and again."""
        socket, _, transport = self.accept()
        socket.room = 0
        transport.write(b"hello")
        for _ in range(5):
            self.reactor.turn()
        self.assertEqual(len(self.asked("send")), 1)
        socket.room = 100
        self.reactor.turn()
        self.assertEqual(socket.sent, b"hello")

    def test_a_socket_that_is_broken(self) -> None:
        """The protocol hears of it from a clean stack, not from within its own write."""
        socket, protocol, transport = self.accept()
        socket.broken = errno.EPIPE
        transport.write(b"hello")
        self.assertEqual(protocol.events, ["made"])
        self.reactor.turn()
        self.assertEqual(protocol.events, ["made", ConnectionLost])
        transport.write(b"late")
        self.reactor.turn()
        self.assertEqual(len(self.asked("send")), 1)

    def test_a_socket_that_breaks_while_it_is_full(self) -> None:
        """The same."""
        socket, protocol, transport = self.accept()
        socket.room = 0
        transport.write(b"hello")
        self.reactor.turn()
        socket.room, socket.broken = 1, errno.EPIPE
        self.reactor.turn()
        self.assertEqual(protocol.events, ["made", ConnectionLost])

    def test_producers(self) -> None:
        """They are paused when too much waits, and resumed when it is sent."""
        socket, protocol, transport = self.accept()
        transport.registerProducer(protocol, True)
        socket.room = 10
        transport.write(b"x" * 70000)
        self.reactor.turn()
        self.assertEqual(protocol.events[1:], ["pause"])
        socket.room = float("inf")
        self.reactor.turn()
        self.assertEqual((protocol.events[1:], len(socket.sent)), (["pause", "resume"], 70000))

    def test_producers_that_write_on(self) -> None:
        """What is written while the socket is full counts, too."""
        socket, protocol, transport = self.accept()
        transport.registerProducer(protocol, True)
        socket.room = 0
        transport.write(b"x" * 40000)
        self.reactor.turn()
        self.assertEqual(protocol.events[1:], [])
        transport.write(b"x" * 40000)
        self.assertEqual(protocol.events[1:], ["pause"])
        socket.room = 100000
        self.reactor.turn()
        self.reactor.turn()
        self.assertEqual((protocol.events[1:], len(socket.sent)), (["pause", "resume"], 80000))


class ClosingTests(SocketsTestCase):
    """How a connection ends from this side."""

    def test_closing(self) -> None:
        """What was written is sent first."""
        socket, protocol, transport = self.accept()
        transport.write(b"hello")
        transport.loseConnection()
        self.reactor.turn()
        self.reactor.turn()
        self.assertEqual((socket.sent, protocol.events), (b"hello", ["made", ConnectionDone]))
        self.assertEqual((socket.closed, self.epoll.registered), (True, {}))

    def test_closing_without_a_word(self) -> None:
        """There is nothing to wait for."""
        _, protocol, transport = self.accept()
        transport.loseConnection()
        self.reactor.turn()
        self.assertEqual(protocol.events, ["made", ConnectionDone])

    def test_closing_behind_a_full_socket(self) -> None:
        """It waits until all is sent."""
        socket, protocol, transport = self.accept()
        socket.room = 3
        transport.write(b"hello ")
        transport.loseConnection()
        transport.write(b"world")
        self.reactor.turn()
        self.assertEqual((socket.sent, protocol.events), (b"hel", ["made"]))
        socket.room = 100
        self.reactor.turn()
        self.reactor.turn()
        self.assertEqual((socket.sent, protocol.events), (b"hello world", ["made", ConnectionDone]))

    def test_closing_one_half(self) -> None:
        """The end comes behind what was written, nothing behind the end, and reading goes on."""
        socket, protocol, transport = self.accept()
        transport.write(b"hello")
        transport.loseWriteConnection()
        self.reactor.turn()
        self.reactor.turn()
        transport.write(b"late")
        socket.incoming = b"still here"
        self.reactor.turn()
        self.assertEqual((socket.sent, protocol.events), (b"hello<end>", ["made", b"still here"]))

    def test_aborting(self) -> None:
        """What was written is not sent any more, and nothing is read."""
        socket, protocol, transport = self.accept(Recorder())
        transport.write(b"hello")
        socket.incoming = b"x"
        transport.abortConnection()
        self.reactor.turn()
        self.assertEqual((socket.sent, protocol.events), (b"", ["made", ConnectionAborted]))
        self.assertEqual(self.epoll.registered, {})

    def test_what_was_not_sent(self) -> None:
        """It is let go when the connection is lost, while others may still know the transport."""
        socket, _, transport = self.accept(Recorder())
        socket.room = 10
        transport.write(b"x" * 100)
        self.reactor.turn()
        transport.write(b"y" * 100)
        socket.eof = True
        self.reactor.turn()
        self.assertEqual((transport.dataBuffer, transport._tempDataBuffer, unsent(transport)), (b"", [], 0))


class UnsentTests(SocketsTestCase):
    """What a peer has not taken yet."""

    def setUp(self) -> None:
        super().setUp()
        self.in_kernel = 0
        self.patch(transport, "ioctl", lambda *_: self.in_kernel.to_bytes(4, sys.byteorder))

    def gone(self, *_: object) -> bytes:
        """What the kernel says of a socket that was closed."""
        raise OSError(errno.EBADF, "closed")

    def test_counted(self) -> None:
        """What waits here in its several places, and in the kernel."""
        socket, _, accepted = self.accept()
        accepted.write(b"x" * 100)
        self.assertEqual(unsent(accepted), 100)
        socket.room = 30
        self.reactor.turn()
        self.in_kernel = 20
        self.assertEqual(unsent(accepted), 90)
        accepted.write(b"y" * 5)
        self.assertEqual(unsent(accepted), 95)

    def test_behind_tls(self) -> None:
        """Of a wrapped connection it is what the socket's has."""
        _, _, accepted = self.accept()
        accepted.write(b"x" * 100)
        wrapper = ProtocolWrapper(WrappingFactory(Factory()), None)  # type: ignore[arg-type]
        wrapper.transport = accepted
        self.assertEqual(unsent(wrapper), 100)

    def test_after_the_end(self) -> None:
        """The kernel knows nothing of it any more."""
        self.patch(transport, "ioctl", self.gone)
        _, _, accepted = self.accept()
        self.assertEqual(unsent(accepted), 0)

    def test_a_transport_that_cannot_tell(self) -> None:
        """It is none."""
        self.assertEqual((unsent(StringTransport()), quiet(StringTransport())), (0, True))


class QuietTests(SocketsTestCase):
    """Whether something has come that nobody has read."""

    def test_bytes(self) -> None:
        """Some have come, and are read later."""
        socket, protocol, accepted = self.accept(Recorder())
        self.assertTrue(quiet(accepted))
        socket.incoming = b"x"
        self.assertFalse(quiet(accepted))
        self.assertEqual(protocol.events, ["made"])

    def test_the_end(self) -> None:
        """So has the end, however it came."""
        socket, _, accepted = self.accept()
        socket.eof = True
        self.assertFalse(quiet(accepted))
        socket.broken = errno.ECONNRESET
        self.assertFalse(quiet(accepted))
