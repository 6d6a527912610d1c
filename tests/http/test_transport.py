"""Tests of gateway.http.transport: writes that try the socket first."""

from __future__ import annotations

import errno
import socket
from typing import Any

from twisted.internet import tcp
from twisted.internet.error import ConnectionDone, ConnectionLost, TimeoutError
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from gateway.http.transport import ServerTransport, connect_tcp


class Socket:
    """A socket that takes as many bytes as it has room for."""

    def __init__(self, room: float = float("inf")) -> None:
        self.room = room
        self.sent = b""
        self.sends = 0
        self.incoming = b""
        self.broken: int = 0
        self.progress = errno.EINPROGRESS
        self.closed = False

    def setblocking(self, blocking: bool) -> None:
        """It never blocks."""

    def send(self, data: bytes) -> int:
        self.sends += 1
        if self.broken:
            raise OSError(self.broken, "broken")
        taken = bytes(data)[: int(min(self.room, len(data)))]
        if not taken:
            raise BlockingIOError(errno.EWOULDBLOCK, "full")
        self.room -= len(taken)
        self.sent += taken
        return len(taken)

    def recv(self, size: int) -> bytes:
        data, self.incoming = self.incoming[:size], self.incoming[size:]
        return data

    def connect_ex(self, address: Any) -> int:
        self.address = address
        progress, self.progress = self.progress, errno.EISCONN
        return progress

    def getsockopt(self, level: int, option: int) -> int:
        return 0

    def fileno(self) -> int:
        return -1 if self.closed else 7

    def shutdown(self, how: int) -> None:
        if how == socket.SHUT_WR:
            self.sent += b"<end>"

    def close(self) -> None:
        self.closed = True


class Reactor(Clock):
    """Knows who wants to read and to write."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()
        self.addReader, self.removeReader = self.readers.add, self.readers.discard
        self.addWriter, self.removeWriter = self.writers.add, self.writers.discard

    def poll(self) -> None:
        """Every writer can write; then a turn is over."""
        for writer in tuple(self.writers):
            reason = writer.doWrite()
            if reason is not None:
                self.writers.discard(writer)
                writer.connectionLost(Failure(reason))
        self.advance(0)


class Recorder(Protocol):
    """Notes what happens to it, as a producer too."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def connectionMade(self) -> None:
        self.events.append("made")

    def dataReceived(self, data: bytes) -> None:
        self.events.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.events.append(reason.type)

    def pauseProducing(self) -> None:
        self.events.append("pause")

    def resumeProducing(self) -> None:
        self.events.append("resume")

    def stopProducing(self) -> None:
        self.events.append("stop")


class ServerTransportTests(SynchronousTestCase):
    """An accepted connection."""

    def begin(self, room: float = float("inf")) -> None:
        """A connection whose socket has ``room``."""
        self.reactor, self.socket, self.protocol = Reactor(), Socket(room), Recorder()
        sock: Any = self.socket
        port: Any = None
        reactor: Any = self.reactor
        self.transport = ServerTransport(sock, self.protocol, ("192.0.2.1", 4000), port, 1, reactor)
        self.transport.protocol = self.protocol

    def test_sends_at_once(self) -> None:
        """While the socket takes everything, the reactor is not asked."""
        self.begin()
        self.transport.write(b"hello ")
        self.transport.write(b"world")
        self.assertEqual((self.socket.sent, self.reactor.writers), (b"hello world", set()))

    def test_a_socket_that_takes_a_part(self) -> None:
        """The rest follows when the socket can be written again, and nothing overtakes it."""
        self.begin(room=3)
        self.transport.write(b"hello ")
        self.socket.room = 100
        self.transport.write(b"world")
        self.assertEqual(self.socket.sent, b"hel")
        self.reactor.poll()
        self.assertEqual((self.socket.sent, self.reactor.writers), (b"hello world", set()))
        self.transport.write(b"!")
        self.assertEqual(self.socket.sent, b"hello world!")

    def test_a_socket_that_is_full(self) -> None:
        """Everything waits."""
        self.begin(room=0)
        self.transport.write(b"hello")
        self.assertEqual(self.socket.sent, b"")
        self.socket.room = 100
        self.reactor.poll()
        self.assertEqual(self.socket.sent, b"hello")

    def test_a_socket_that_is_broken(self) -> None:
        """The protocol hears of it from the reactor, not from within its own write."""
        self.begin()
        self.socket.broken = errno.EPIPE
        self.transport.write(b"hello")
        self.assertEqual(self.protocol.events, [])
        self.reactor.poll()
        self.assertEqual(self.protocol.events, [ConnectionLost])
        self.transport.write(b"late")
        self.assertEqual(self.socket.sent, b"")

    def test_nothing(self) -> None:
        """Nothing is sent for nothing."""
        self.begin()
        self.transport.write(b"")
        self.assertEqual((self.socket.sent, self.reactor.writers), (b"", set()))

    def test_producers(self) -> None:
        """They are paused when too much waits, and resumed when it is sent."""
        self.begin(room=10)
        self.transport.registerProducer(self.protocol, True)
        self.transport.write(b"x" * 70000)
        self.assertEqual(self.protocol.events, ["pause"])
        self.socket.room = float("inf")
        self.reactor.poll()
        self.assertEqual((self.protocol.events, len(self.socket.sent)), (["pause", "resume"], 70000))

    def test_closing(self) -> None:
        """What was written before is sent first, and what is written while it waits."""
        self.begin(room=3)
        self.transport.write(b"hello ")
        self.transport.loseConnection()
        self.transport.write(b"world")
        self.assertEqual(self.socket.sent, b"hel")
        self.socket.room = 100
        self.reactor.poll()
        self.assertEqual((self.socket.sent, self.protocol.events), (b"hello world", [ConnectionDone]))
        self.assertTrue(self.socket.closed)

    def test_closing_one_half(self) -> None:
        """The end comes behind what was written, and nothing behind the end."""
        self.begin(room=3)
        self.transport.write(b"hello ")
        self.transport.loseWriteConnection()
        self.transport.write(b"world")
        self.socket.room = 100
        self.reactor.poll()
        self.transport.write(b"late")
        self.reactor.poll()
        self.assertEqual(self.socket.sent, b"hello world<end>")


class Connecting(ClientFactory):
    """Makes one recorder; notes why a connection failed."""

    noisy = False

    def __init__(self) -> None:
        self.made: list[Recorder] = []
        self.failed: list[Any] = []

    def buildProtocol(self, addr: Any) -> Recorder:
        self.made.append(Recorder())
        return self.made[-1]

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self.failed.append(reason.type)


class ConnectTests(SynchronousTestCase):
    """An outgoing connection."""

    def setUp(self) -> None:
        self.reactor, self.socket, self.factory = Reactor(), Socket(), Connecting()
        self.patch(tcp.Client, "createInternetSocket", lambda transport: self.socket)

    def test_connects(self) -> None:
        """To the address it is given; then it sends at once, too."""
        connect_tcp(self.reactor, "192.0.2.7", 3001, self.factory, 5.0)
        self.reactor.advance(0)
        self.assertEqual((self.socket.address, self.factory.made), (("192.0.2.7", 3001), []))
        self.reactor.poll()
        protocol = self.factory.made[0]
        self.assertEqual(protocol.events, ["made"])
        protocol.transport.write(b"hello")  # type: ignore[union-attr]
        self.assertEqual((self.socket.sent, self.reactor.writers), (b"hello", set()))

    def test_too_late(self) -> None:
        """The attempt ends after its time."""
        connect_tcp(self.reactor, "192.0.2.7", 3001, self.factory, 5.0)
        self.reactor.advance(4.9)
        self.assertEqual(self.factory.failed, [])
        self.reactor.advance(0.2)
        self.assertEqual((self.factory.failed, self.factory.made), ([TimeoutError], []))
        self.assertTrue(self.socket.closed)
