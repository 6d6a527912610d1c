"""Listening sockets that outlive whoever accepts from them: bound by the supervisor, handed down to workers.

All workers accept from the same socket. What waits in its queue is lost only with the last descriptor of it, so no
worker's end, nor a reload, loses a connection, and one that hangs takes no new ones. A socket for each worker
(SO_REUSEPORT) would be spread by the kernel, but a connection that waits in the queue of a worker that hangs or ends
waits for that one. Workers accept one connection a turn of their reactor, and leave it to those that have fewer.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Mapping
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import directlyProvides, providedBy

from gateway.config.endpoints import take_apart
from gateway.http.transport import BACKLOG
from gateway.process.shares import PAUSE, Shares


def tcp_key(interface: str, port: int) -> str:
    """What a TCP listener is known by, in all processes and generations."""
    return f"tcp {interface} {port}"


def unix_key(path: str) -> str:
    """What a UNIX listener is known by."""
    return f"unix {path}"


class _Stub:
    """Stands for a port that nobody accepts from."""


class _Endpoints:
    """A reactor to endpoints; whatever it does not say itself is left to the real one."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        """See ``IReactorTCP.listenTCP``."""
        raise NotImplementedError

    def listenSSL(self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = "") -> Any:
        """See ``IReactorSSL.listenSSL``."""
        return self.listenTCP(port, TLSMemoryBIOFactory(contextFactory, False, factory), backlog, interface)


class Binder(_Endpoints):
    """Binds the sockets of endpoints, without accepting anything.

    :param bound: the sockets there are, by their keys; those are not bound again.
    :ivar sockets: the descriptors of the endpoints that were bound, by their keys.
    """

    def __init__(self, reactor: Any, bound: Mapping[str, int]) -> None:
        super().__init__(reactor)
        self._bound = bound
        self.sockets: dict[str, int] = {}

    def bind(self, text: str) -> None:
        """Bind what an endpoint string of the configuration says; systemd's sockets are bound already.

        :raises CannotListenError: when it cannot be bound, or was already.
        """
        inner = take_apart(text).twisted
        if inner.startswith("systemd:"):
            return
        failures: list[Any] = []
        serverFromString(self, inner).listen(Factory()).addErrback(failures.append)
        for failure in failures:
            failure.raiseException()

    def release(self) -> None:
        """Close those sockets that this has bound itself."""
        for key in self.sockets.keys() - self._bound.keys():
            close(key, self.sockets.pop(key))

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        """Bind; see ``IReactorTCP.listenTCP``."""
        family = socket.AF_INET6 if ":" in interface else socket.AF_INET

        def bind() -> socket.socket:
            if not interface:
                return _listening(family, ("", port), backlog)
            found = socket.getaddrinfo(interface, port, family, socket.SOCK_STREAM)  # which knows fe80::1%eth0
            return _listening(family, found[0][4], backlog)

        return self._once(tcp_key(interface, port), bind, interface, port)

    def listenUNIX(self, address: str, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: int = 0) -> Any:
        """Bind; see ``IReactorUNIX.listenUNIX``. A socket that a process left behind when it ended is replaced."""

        def bind() -> socket.socket:
            _remove_stale(address)
            bound = _listening(socket.AF_UNIX, address, backlog)
            if not address.startswith("\0"):
                os.chmod(address, mode)
            return bound

        return self._once(unix_key(address), bind, None, address)

    def _once(self, key: str, bind: Any, interface: str | None, port: Any) -> _Stub:
        if key in self.sockets:
            raise CannotListenError(interface, port, OSError("it is listed twice"))
        if key in self._bound:
            self.sockets[key] = self._bound[key]
        else:
            try:
                self.sockets[key] = bind().detach()
            except OSError as error:
                raise CannotListenError(interface, port, error) from None
        return _Stub()


def _listening(family: int, address: Any, backlog: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        if family != socket.AF_UNIX:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(max(backlog, BACKLOG))
    except OSError:
        made.close()
        raise
    return made


def _remove_stale(path: str) -> None:
    """Remove the socket file that nobody listens at."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except (OSError, ValueError):  # ValueError: an abstract name
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            pass


def close(key: str, descriptor: int) -> None:
    """Close a socket for good; a UNIX one's file goes with it."""
    kind, _, path = key.partition(" ")
    if kind == "unix" and not path.startswith("\0"):
        with contextlib.suppress(OSError):
            os.unlink(path)
    os.close(descriptor)


class Inherited(_Endpoints):
    """A reactor whose endpoints accept from sockets that another process has bound.

    :param sockets: their descriptors, by their keys; each is used once.
    :param shares: of the workers that accept from them, too; None where nobody else does.
    """

    def __init__(self, reactor: Any, sockets: Mapping[str, int], shares: Shares | None = None) -> None:
        super().__init__(reactor)
        self._sockets = dict(sockets)
        self._shares = shares

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        """Accept; see ``IReactorTCP.listenTCP``."""
        family = socket.AF_INET6 if ":" in interface else socket.AF_INET
        return self._accept(tcp_key(interface, port), family, factory, interface, port)

    def listenUNIX(self, address: str, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: int = 0) -> Any:
        """Accept; see ``IReactorUNIX.listenUNIX``."""
        return self._accept(unix_key(address), socket.AF_UNIX, factory, None, address)

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        """Accept; see ``IReactorSocket.adoptStreamPort``. The descriptor is systemd's, and the caller closes it."""
        port: Any
        if addressFamily == socket.AF_UNIX:
            port = _UNIXPort._fromListeningDescriptor(self._reactor, fileDescriptor, factory)
        else:
            port = _TCPPort._fromListeningDescriptor(self._reactor, fileDescriptor, addressFamily, factory)
        port.shares = self._shares
        port.startListening()
        return port

    def _accept(self, key: str, family: int, factory: Any, interface: str | None, port: Any) -> Any:
        descriptor = self._sockets.pop(key, None)
        if descriptor is None:
            raise CannotListenError(interface, port, OSError("the supervisor has not bound it"))
        try:
            return self.adoptStreamPort(descriptor, family, factory)
        finally:
            os.close(descriptor)

    def release(self) -> None:
        """Close what was not used."""
        while self._sockets:
            os.close(self._sockets.popitem()[1])


class _TCPPort(tcp.Port):
    """Accepts one connection a turn from a socket that others accept from, too, unless it is theirs to take."""

    reactor: Any
    shares: Shares | None = None
    _pause: IDelayedCall | None = None

    def doRead(self) -> None:
        if self.shares is None or self.shares.mine():
            self._take()
        else:
            self.stopReading()
            self._pause = self.reactor.callLater(PAUSE, self._go_on)

    def _go_on(self) -> None:
        """Take what was left to the others and is there still."""
        self._pause = None
        if self._take() and self.shares is not None:
            self.shares.left()
        self.startReading()

    def _take(self) -> bool:
        """Accept a connection; whether there was one."""
        self.numberAccepts = 1
        super().doRead()
        if self.shares is not None:
            self.shares.note()
        return self.numberAccepts > 1  # Twisted's own, which would accept more the next time

    def connectionLost(self, reason: Any) -> None:
        if self._pause is not None:
            self._pause.cancel()
        if self.shares is not None:
            self.shares.leave()
        tcp.Port.connectionLost(self, reason)


class _UNIXPort(_TCPPort, unix.Port):
    """The same; its file belongs to whoever bound it."""

    _shouldShutdown = False
