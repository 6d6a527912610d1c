"""Tests of gateway.process.sockets: what is bound, handed down, accepted from and closed."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

from twisted.internet import tcp
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from gateway.process.shares import PAUSE, Shares, make
from gateway.process.sockets import Binder, Inherited, close, tcp_key, unix_key
from tests.certificates import Authority


class Reactor(MemoryReactorClock):
    """Takes ports, and calls nothing of them by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.reading: list[Any] = []

    def addReader(self, reader: Any) -> None:
        self.reading.append(reader)

    def removeReader(self, reader: Any) -> None:
        if reader in self.reading:
            self.reading.remove(reader)


class SocketCase(SynchronousTestCase):
    """A supervisor's and a worker's side."""

    def setUp(self) -> None:
        self.reactor = Reactor()

    def bind(self, *texts: str, bound: dict[str, int] | None = None) -> Binder:
        """Sockets that are closed at the end."""
        binder = Binder(self.reactor, bound or {})
        self.addCleanup(binder.release)
        for text in texts:
            binder.bind(text)
        return binder

    def path(self) -> str:
        """For a UNIX socket, whose names are short."""
        path = f"/tmp/smartgate-test-{os.getpid()}-{id(self)}"
        self.addCleanup(Path(path).unlink, missing_ok=True)
        return path

    def address(self, descriptor: int) -> Any:
        """Where a socket is bound."""
        with socket.socket(fileno=os.dup(descriptor)) as found:
            self.assertEqual(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN), 1)
            return found.getsockname()


class BindTests(SocketCase):
    """The supervisor's side."""

    def test_kinds(self) -> None:
        """Whatever stands around an endpoint, what it listens at is bound, and known by where that is."""
        path = self.path()
        texts = ("tcp:0:interface=127.0.0.1", "haproxy:tcp6:0:interface=\\:\\:1", f"unix:{path}:mode=660")
        sockets = self.bind(*texts).sockets
        self.assertEqual(list(sockets), [tcp_key("127.0.0.1", 0), tcp_key("::1", 0), unix_key(path)])
        one, other, file = map(self.address, sockets.values())
        self.assertEqual((one[0], other[0], file), ("127.0.0.1", "::1", path))
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o660)
        self.assertFalse(any(map(os.get_inheritable, sockets.values())))

    def test_everywhere(self) -> None:
        """Without an interface it is all of them."""
        (descriptor,) = self.bind("tcp:0").sockets.values()
        self.assertEqual(self.address(descriptor)[0], "0.0.0.0")

    def test_systemd(self) -> None:
        """systemd's own are bound already."""
        self.assertEqual(self.bind("systemd:domain=INET:index=0").sockets, {})

    def test_bound_before(self) -> None:
        """What is bound is taken over, and not closed by whoever has not bound it."""
        first = self.bind("tcp:0:interface=127.0.0.1")
        second = self.bind("tcp:0:interface=127.0.0.1", bound=first.sockets)
        self.assertEqual(second.sockets, first.sockets)
        second.release()
        self.address(*first.sockets.values())

    def test_twice(self) -> None:
        """One place can be listed once."""
        binder = self.bind("tcp:0:interface=127.0.0.1")
        error = self.assertRaises(CannotListenError, binder.bind, "tcp:0:interface=127.0.0.1:backlog=9")
        self.assertIn("listed twice", str(error))

    def test_taken(self) -> None:
        """A port that somebody else has cannot be bound; nor can a file that is no socket."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            error = self.assertRaises(CannotListenError, self.bind, f"tcp:{port}:interface=127.0.0.1")
        self.assertIn(str(port), str(error))
        path = self.path()
        Path(path).write_text("mine")
        self.assertRaises(CannotListenError, self.bind, f"unix:{path}")

    def test_left_behind(self) -> None:
        """A socket file is replaced if nobody listens there, and only then."""
        path = self.path()
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(path)
        binder = self.bind(f"unix:{path}")
        self.assertRaises(CannotListenError, self.bind, f"unix:{path}")
        binder.release()
        self.assertFalse(os.path.exists(path))

    def test_not_to_be_reached(self) -> None:
        """A socket of another kind, which cannot be asked, stays."""
        path = self.path()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.bind(path)
            self.assertRaises(CannotListenError, self.bind, f"unix:{path}")

    def test_close_without_file(self) -> None:
        """A file that has gone already is no reason not to close."""
        path = self.path()
        binder = self.bind(f"unix:{path}")
        os.unlink(path)
        (descriptor,) = binder.sockets.values()
        close(unix_key(path), binder.sockets.pop(unix_key(path)))
        self.assertRaises(OSError, os.fstat, descriptor)

    def test_abstract(self) -> None:
        """A name of Linux' own has no file."""
        binder = Binder(self.reactor, {})
        name = f"\0smartgate-test-{os.getpid()}"
        binder.listenUNIX(name, Factory())
        self.assertEqual(self.address(binder.sockets[unix_key(name)]), name.encode())
        binder.release()


class AcceptTests(SocketCase):
    """The worker's side."""

    def inherit(self, *texts: str) -> tuple[Inherited, dict[str, int]]:
        """What a worker gets of the sockets that were bound."""
        bound = self.bind(*texts).sockets
        return Inherited(self.reactor, {key: os.dup(descriptor) for key, descriptor in bound.items()}), bound

    def lose(self, port: Any) -> None:
        """The port is closed."""
        port.connectionLost(Failure(ConnectionError()))

    def test_tcp(self) -> None:
        """It accepts one connection a turn, and that the port closes does not hurt the queue."""
        inherited, bound = self.inherit("tcp:0:interface=127.0.0.1")
        built: list[Any] = []
        factory = Factory()
        factory.buildProtocol = built.append  # type: ignore[method-assign, assignment]
        port = inherited.listenTCP(0, factory, interface="127.0.0.1")
        self.assertIs(port.transport, tcp.Server)
        self.assertEqual(self.reactor.reading, [port])
        address = self.address(*bound.values())
        clients = [socket.create_connection(address) for _ in range(2)]
        port.doRead()
        self.assertEqual(len(built), 1)
        self.lose(port)
        clients.append(socket.create_connection(address))
        for client in clients:
            client.close()

    def test_tcp6(self) -> None:
        """Over IPv6, too."""
        inherited, bound = self.inherit("tcp6:0:interface=\\:\\:1")
        port = inherited.listenTCP(0, Factory(), interface="::1")
        self.assertEqual(port.getHost().host, self.address(*bound.values())[0])
        self.lose(port)

    def test_tls(self) -> None:
        """What Twisted wraps in TLS is."""
        inherited, _ = self.inherit("tcp:0:interface=127.0.0.1")
        context = PrivateCertificate.loadPEM(Authority("ours").certificate("a")).options()
        port = inherited.listenSSL(0, Factory(), context, interface="127.0.0.1")
        self.assertIsInstance(port.factory, TLSMemoryBIOFactory)
        self.lose(port)

    def test_unix(self) -> None:
        """The file stays when a worker's port closes: it is the supervisor's."""
        path = self.path()
        inherited, _ = self.inherit(f"unix:{path}")
        built: list[Any] = []
        factory = Factory()
        factory.buildProtocol = built.append  # type: ignore[method-assign, assignment]
        port = inherited.listenUNIX(path, factory)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            port.doRead()
            self.assertEqual(len(built), 1)
            self.lose(port)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)

    def shared(self, has: int, other: int) -> tuple[Any, list[Any], Any, Shares]:
        """The port of a worker with so many connections beside another, what it takes, where, and that other's view."""
        bound = self.bind("tcp:0:interface=127.0.0.1").sockets
        memory = make(2)
        self.addCleanup(os.close, memory)
        one = Shares(os.dup(memory), 0, lambda: has + len(built), self.reactor.seconds)
        beside = Shares(os.dup(memory), 1, lambda: other, self.reactor.seconds)
        beside.note()
        inherited = Inherited(self.reactor, {key: os.dup(number) for key, number in bound.items()}, one)
        built: list[Any] = []
        factory = Factory()
        factory.buildProtocol = built.append  # type: ignore[method-assign, assignment]
        port = inherited.listenTCP(0, factory, interface="127.0.0.1")
        return port, built, self.address(*bound.values()), beside

    def test_fewer(self) -> None:
        """Who has fewer connections than another takes the next one, and tells."""
        port, built, address, other = self.shared(5, 6)
        with socket.create_connection(address):
            port.doRead()
        self.assertEqual(len(built), 1)
        self.assertTrue(other.mine())
        self.lose(port)

    def test_more(self) -> None:
        """Who has more leaves it to the others for a moment; what is there still then it takes, and what comes next."""
        port, built, address, _ = self.shared(5, 3)
        with socket.create_connection(address), socket.create_connection(address):
            port.doRead()
            self.assertEqual((built, self.reactor.reading), ([], []))
            self.reactor.advance(PAUSE)
            self.assertEqual((len(built), self.reactor.reading), (1, [port]))
            port.doRead()
            self.assertEqual(len(built), 2)
        self.lose(port)

    def test_closed(self) -> None:
        """Who accepts no more is not waited for."""
        port, _, _, other = self.shared(1, 6)
        port.doRead()
        self.assertFalse(other.mine())
        self.lose(port)
        self.assertTrue(other.mine())

    def test_taken_by_another(self) -> None:
        """What another took in that moment changes nothing: the one after that is left to it, too."""
        port, built, _, _ = self.shared(5, 3)
        for _ in range(2):
            port.doRead()
            self.reactor.advance(PAUSE)
        self.assertEqual((built, self.reactor.reading), ([], [port]))
        port.doRead()
        self.assertEqual(self.reactor.reading, [])
        self.lose(port)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_not_bound(self) -> None:
        """What the supervisor has not bound cannot be listened at."""
        inherited, _ = self.inherit()
        self.assertRaises(CannotListenError, inherited.listenTCP, 80, Factory())

    def test_release(self) -> None:
        """What is not used is closed; whatever else a reactor does is the real one's."""
        inherited, _ = self.inherit("tcp:0:interface=127.0.0.1")
        before = len(os.listdir("/proc/self/fd"))
        inherited.release()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before - 1)
        self.reactor.advance(7)
        self.assertEqual(inherited.seconds(), 7)
