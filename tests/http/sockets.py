"""Sockets and an epoll in memory: what a kernel does for the transports, as far as they can tell."""

from __future__ import annotations

import errno
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT
from socket import MSG_PEEK, SHUT_WR
from typing import Any

from twisted.internet import tcp
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from gateway.http import poller
from gateway.http.poller import Poller


class Socket:
    """The gateway's end of a connection; the test is its peer, and says how much the kernel takes.

    :param calls: the list of all that is asked of the kernel, in its order.
    """

    def __init__(self, number: int, calls: list[tuple[Any, ...]]) -> None:
        self.sent = b""
        """What the peer got."""
        self.incoming = b""
        """What the peer has sent."""
        self.room: float = float("inf")
        """How much can be sent until the peer takes something."""
        self.eof = self.hung_up = self.closed = False
        self.broken = 0  # the error of the next call
        self.connecting = False
        self._number = number
        self._calls = calls

    def ready(self) -> int:
        """What epoll tells of it."""
        if self.connecting:
            return EPOLLERR | EPOLLHUP if self.hung_up else 0
        found = EPOLLIN if self.incoming or self.eof else 0
        if self.room and not self.hung_up:
            found |= EPOLLOUT
        return found | (EPOLLHUP if self.hung_up else 0)

    def recv(self, size: int, flags: int = 0) -> bytes:
        self._calls.append(("recv", self._number, size))
        self._fail()
        if not self.incoming and not self.eof:
            raise BlockingIOError(errno.EWOULDBLOCK, "nothing there")
        data = self.incoming[:size]
        if not flags & MSG_PEEK:
            self.incoming = self.incoming[size:]
        return data

    def send(self, data: Any) -> int:
        self._calls.append(("send", self._number, len(data)))
        self._fail()
        taken = bytes(data)[: int(min(self.room, len(data)))]
        if not taken:
            raise BlockingIOError(errno.EWOULDBLOCK, "full")
        self.room -= len(taken)
        self.sent += taken
        return len(taken)

    def sendmsg(self, pieces: list[bytes]) -> int:
        return self.send(b"".join(pieces))

    def _fail(self) -> None:
        if self.broken:
            raise OSError(self.broken, "broken")

    def connect_ex(self, address: Any) -> int:
        self.address = address
        return errno.EINPROGRESS if self.connecting else errno.EISCONN

    def getsockopt(self, level: int, option: int) -> int:
        return 0

    def setblocking(self, blocking: bool) -> None:
        """It never blocks."""

    def fileno(self) -> int:
        return -1 if self.closed else self._number

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        """An aborted connection asks for a reset, one that takes much for room in the kernel."""
        self._calls.append(("setsockopt", self._number, option))

    def shutdown(self, how: int) -> None:
        if how == SHUT_WR:
            self.sent += b"<end>"

    def close(self) -> None:
        self.closed = True


class Epoll:
    """Looks at the sockets of the test."""

    def __init__(self, sockets: dict[int, Socket]) -> None:
        self.registered: dict[int, int] = {}
        self.closed = False
        self._sockets = sockets

    def register(self, number: int, events: int) -> None:
        if number in self.registered or number < 0:
            raise OSError(errno.EEXIST, "it is there, or there is none")
        self.registered[number] = events

    def modify(self, number: int, events: int) -> None:
        if number not in self.registered:
            raise OSError(errno.ENOENT, "it is not there")
        self.registered[number] = events

    def unregister(self, number: int) -> None:
        del self.registered[number]

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        found = [
            (number, self._sockets[number].ready() & (events | EPOLLERR | EPOLLHUP))
            for number, events in self.registered.items()
        ]
        return [(number, events) for number, events in found if events][:most]

    def fileno(self) -> int:
        return 3

    def close(self) -> None:
        self.closed = True


class Reactor(Clock):
    """One turn of it: whatever reads is read, then comes what was put off."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.remove(reader)

    def turn(self) -> None:
        for reader in tuple(self.readers):
            reader.doRead()
        self.advance(0)


class Recorder(Protocol):
    """Notes what happens to it, as a producer too; ``answers`` is what it writes to each read."""

    def __init__(self, *answers: bytes) -> None:
        self.events: list[Any] = []
        self.answers = answers

    def connectionMade(self) -> None:
        self.events.append("made")

    def dataReceived(self, data: bytes) -> None:
        self.events.append(data)
        for answer in self.answers:
            self.transport.write(answer)  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.events.append(reason.type)

    def pauseProducing(self) -> None:
        self.events.append("pause")

    def resumeProducing(self) -> None:
        self.events.append("resume")

    def stopProducing(self) -> None:
        self.events.append("stop")


class Connecting(ClientFactory):
    """Makes recorders; notes why a connection failed."""

    noisy = False

    def __init__(self) -> None:
        self.made: list[Recorder] = []
        self.failed: list[Any] = []

    def buildProtocol(self, addr: Any) -> Recorder:
        self.made.append(Recorder())
        return self.made[-1]

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self.failed.append(reason.type)


class SocketsTestCase(SynchronousTestCase):
    """A poller over an epoll in memory, and the sockets that the test makes."""

    def setUp(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.sockets: dict[int, Socket] = {}
        self.epoll = Epoll(self.sockets)
        self.reactor = Reactor()
        self.patch(poller, "epoll", lambda: self.epoll)
        self.patch(tcp.Client, "createInternetSocket", lambda transport: self.socket())
        self.poller = Poller(self.reactor)

    def socket(self) -> Socket:
        """A socket of the kernel's."""
        number = 10 + len(self.sockets)
        self.sockets[number] = socket = Socket(number, self.calls)
        socket.connecting = True
        return socket

    def accept(self, protocol: Recorder | None = None) -> tuple[Socket, Recorder, Any]:
        """A connection that was accepted: its socket, its protocol and its transport."""
        socket, protocol = self.socket(), protocol or Recorder()
        socket.connecting = False
        transport = self.poller.accept(socket, protocol, ("192.0.2.1", 4000), None, 1, None)
        protocol.makeConnection(transport)
        return socket, protocol, transport

    def asked(self, call: str) -> list[tuple[int, int]]:
        """The sockets that were asked for ``call``, and the size, in their order."""
        return [(number, size) for asked, number, size in self.calls if asked == call]
