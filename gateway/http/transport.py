"""TCP transports that write when their poller says so: once a turn, straight from what was handed to them."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import Any, Final

from twisted.internet import tcp
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure

LEAST_READ: Final = 20 * 1024
MOST_READ: Final = 1024 * 1024
"""Bytes that are read at once: few for the many small messages, more for as long as reads come back full. A TLS record
comes whole (RFC 8446 section 5.2), and so does a WebSocket message of 16 KiB."""

LONG: Final = 0.005
"""Seconds that it should take at most to work off what one connection brings in one turn: all others wait meanwhile."""
SMALLEST_READ: Final = 1024
"""Bytes that are still read at once where more would take so long: of chunks or frames of a byte each."""

GATHERED: Final = 64
"""Pieces that are handed to one system call, at most; the kernel's own limit (IOV_MAX) is 1024."""


BACKLOG: Final = 4096
"""Connections that may wait to be accepted, and as many as net.core.somaxconn allows: beyond that a client waits 1 s.
Twisted's own 50 are gone in a turn of the reactor."""

UNSENT: Final = 128 * 1024
"""Bytes that the kernel keeps of what it cannot send yet, for a client that was not seen to take much: left alone it
keeps megabytes for one that takes nothing. What is on its way is not limited by this (tcp(7), TCP_NOTSENT_LOWAT)."""
TAKEN: Final = 8
"""How often a client has to have made room, each time for half of that at least, until it gets all that others do: a
download takes a third longer by small pieces."""

KEEP_ALIVE: Final = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3}
"""A silent peer is probed after 60 s, and every 10 s from then on."""


class _Transport(tcp.Connection):
    """A Twisted connection whose data is copied less often on its way.

    What Twisted promises holds: a registered producer is paused while more waits than the socket takes.
    """

    reactor: Any
    _room = LEAST_READ

    def doRead(self) -> Any:
        """Hand what has come to the protocol; returns why the connection is lost, or None."""
        room = self._room
        if room > LEAST_READ:
            room = min(room, self.reactor.share)
        try:
            data = self.socket.recv(room)
        except BlockingIOError:
            return None
        except OSError:
            return ConnectionLost()
        if not data:
            return ConnectionDone()
        if len(data) < room:
            if room != LEAST_READ and len(data) < LEAST_READ:
                self._room = LEAST_READ
            self.protocol.dataReceived(data)
            return None
        self._room = min(room * 2, MOST_READ)
        began = self.reactor.seconds()
        self.protocol.dataReceived(data)
        if self.reactor.seconds() - began > LONG:
            self._room = max(room // 4, SMALLEST_READ)
        return None

    def pauseProducing(self) -> None:
        """Read no more until :meth:`resumeProducing`, and then less: who takes it is slower than who sends it."""
        if self._room > LEAST_READ:
            self._room = max(self._room // 2, LEAST_READ)
        super().pauseProducing()

    def write(self, data: bytes) -> None:
        """Send ``data`` with all else that is written in this turn."""
        if data and self.connected and not self._writeDisconnected:
            pieces = self._tempDataBuffer
            pieces.append(data)
            self._tempDataLen += len(data)
            if self.dataBuffer:  # there was no room for it, which doWrite waits for
                self._maybePauseProducer()
            elif len(pieces) == 1:
                self.reactor.written(self)

    def unsent(self) -> int:
        """Bytes that were written and the peer has not acknowledged, the kernel's among them (tcp(7), SIOCOUTQ)."""
        waiting: int = len(self.dataBuffer) - self.offset + self._tempDataLen
        try:
            return waiting + int.from_bytes(ioctl(self.fileno(), TIOCOUTQ, bytes(4)), sys.byteorder)
        except (OSError, ValueError):
            return waiting  # it has closed, and has no descriptor any more

    def quiet(self) -> bool:
        """Whether the kernel has received nothing that this has not read, no end either."""
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass  # it has closed
        return False

    def doWrite(self) -> Any:
        """Send what the socket takes, and wait for room for the rest; returns why the connection is lost, or None."""
        pieces = self._tempDataBuffer
        if self.dataBuffer:
            return self._send_rest()
        if not pieces:
            return super().doWrite()
        try:
            sent = self.socket.send(pieces[0]) if len(pieces) == 1 else self.socket.sendmsg(pieces[:GATHERED])
        except BlockingIOError:
            sent = 0
        except OSError:
            return ConnectionLost()
        if sent == self._tempDataLen:
            pieces.clear()
            self._tempDataLen = 0
            if self.producerPaused or self.disconnecting or self._writeDisconnecting:
                return super().doWrite()
            return None
        self.dataBuffer, self.offset = b"".join(pieces), sent
        pieces.clear()
        self._tempDataLen = 0
        self._maybePauseProducer()
        self.reactor.wait_for_room(self)
        return None

    def _send_rest(self) -> Any:
        """Send what there was no room for before, like :meth:`doWrite`."""
        return super().doWrite()

    def connectionLost(self, reason: Failure) -> None:
        """See ``IFileDescriptor``; what was not sent is let go, as others may know the transport for a while yet."""
        super().connectionLost(reason)
        self.dataBuffer, self.offset = b"", 0
        self._tempDataBuffer, self._tempDataLen = [], 0


def prepare(listening: socket.socket, unanswered: float) -> None:
    """Make a listening socket ready for very many clients, of whom some go without a word; accepted sockets inherit how
    the kernel finds out (tcp(7)).

    :param unanswered: seconds after which a peer is gone that acknowledges nothing of what it was sent.
    """
    listening.listen(BACKLOG)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEP_ALIVE.items():
        listening.setsockopt(socket.IPPROTO_TCP, option, value)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(unanswered * 1000))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)


def quiet(transport: Any) -> bool:
    """Whether nothing has come over ``transport`` that was not read yet, nor its end; yes where that cannot be told.

    A turn of the reactor may take milliseconds. Who closes a connection that is not quiet loses a request, and who asks
    something over it may not get an answer.
    """
    asked: Callable[[], bool] = getattr(_innermost(transport), "quiet", lambda: True)
    return asked()


def unsent(transport: Any) -> int:
    """Bytes that were written to ``transport`` and that its peer has not taken, as far as can be told.

    Of transports that cannot tell (UNIX sockets) it is none, always: to them it looks as if their peers took nothing.
    """
    counted: Callable[[], int] = getattr(_innermost(transport), "unsent", int)
    return counted()


def _innermost(transport: Any) -> Any:
    while isinstance(transport, ProtocolWrapper):  # of TLS, or the PROXY protocol
        transport = transport.transport
    return transport


class ServerTransport(_Transport, tcp.Server):
    """An accepted connection."""

    _takes = 0  # how often there was room after there had been none

    def _send_rest(self) -> Any:
        self._takes += 1
        if self._takes == TAKEN:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 0)  # as the system has it
        return super()._send_rest()


class ClientTransport(_Transport, tcp.Client):
    """An outgoing connection."""


class Connector(tcp.Connector):
    """Makes outgoing connections."""

    def _makeTransport(self) -> ClientTransport:
        return ClientTransport(self.host, self.port, self.bindAddress, self, self.reactor)

    def connectionLost(self, reason: Failure) -> None:
        """See ``IConnector``; the transport, which knows this, is let go."""
        self.transport = None
        super().connectionLost(reason)
