"""Very many clients that are slow, idle or gone, on a real gateway: others are served, and what they hold ends."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from gateway.http.buffering import CROWD
from tests.integration.client import Client
from tests.integration.origin import OK, Origin
from tests.integration.processes import Process, free_port, start_gateway, wait_for

MANY = 200
LARGE = 4 * 1024 * 1024
GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"

CONFIG = """
access_log = {{ path = "" }}
redis = {{ url = "memory:" }}
[server]
listen = ["tcp:{port}:interface=127.0.0.1"]
admin = "tcp:{admin}:interface=127.0.0.1"
workers = 0
{limits}
[[upstreams]]
name = "a"
instances = ["http://127.0.0.1:{origin}"]
[[routes]]
prefix = "/a"
upstream = "a"
auth = "none"
rate_limit = false
"""
HASTY = """
head_timeout = "1s"
body_timeout = "1s"
idle_timeout = "1s"
send_timeout = "1s"
min_rate = "4 KiB"
"""


class Gateway(NamedTuple):
    """A gateway before an origin."""

    process: Process
    admin: int
    origin: Origin

    def client(self, source: str = "127.0.0.1") -> Client:
        """A client that comes from this address."""
        return Client(self.process.port, source)

    def clients(self, case: SynchronousTestCase, count: int) -> list[Client]:
        """So many, until the test ends; some may be cut at once."""
        found = []
        for _ in range(count):
            with contextlib.suppress(ConnectionError):
                found.append(self.client())
                case.addCleanup(found[-1].close)
        return found

    def metric(self, name: str) -> float:
        """A metric without labels, or the sum over its labels."""
        with Client(self.admin) as client:
            client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            text = client.answer().body.decode()
        return sum(float(value) for value in re.findall(rf"^smartgate_{name}(?:{{.*}})? (.*)$", text, re.MULTILINE))

    def resident(self) -> int:
        """Bytes of memory that the process has."""
        return int(Path(f"/proc/{self.process.child.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def start(case: SynchronousTestCase, limits: str) -> Gateway:
    """A gateway of its own for a test."""
    origin, port, admin = Origin(), free_port(), free_port()
    process = start_gateway(CONFIG.format(port=port, admin=admin, origin=origin.port, limits=limits), port)
    case.addCleanup(process.stop)
    return waiting(Gateway(process, admin, origin))


def waiting(gateway: Gateway) -> Gateway:
    """The gateway, when it has seen the end of the connection that found it listening."""
    wait_for(lambda: gateway.metric("open_connections") == 0, "no connection")
    return gateway


class Slow:
    """One of many: it sends a byte now and then, or takes one."""

    def __init__(self, port: int, begin: bytes, byte: bytes) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(5)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(begin)
        self.socket.setblocking(False)
        self.received = b""
        self._byte = byte

    def step(self) -> None:
        """Send a byte, or take one."""
        with contextlib.suppress(OSError):
            if self._byte:
                self.socket.send(self._byte)
            self.received += self.socket.recv(4096 if self._byte else 1)


class SlowClientsTests(SynchronousTestCase):
    """Each kind of them, two hundred at a time, with a client that goes on meanwhile."""

    def setUp(self) -> None:
        self.gateway = start(self, HASTY)

    def among(self, begin: bytes, byte: bytes, asked: int = 0) -> list[Slow]:
        """Two hundred slow clients until the gateway has ended all, soon; a normal one is answered meanwhile.

        :param asked: how many of them the origin hears of.
        """
        before = self.gateway.resident()
        crowd = []
        for _ in range(MANY):
            crowd.append(Slow(self.gateway.process.port, begin, byte))
            self.addCleanup(crowd[-1].socket.close)
        wait_for(lambda: len(self.gateway.origin.received) == asked, "their requests at the origin")
        with self.gateway.client("127.0.0.2") as client:

            def alone() -> bool:
                client.send(b"GET /a/normal HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertEqual(client.answer().body, b"ok")
                for slow in crowd:
                    slow.step()
                return self.gateway.metric("open_connections") == 1

            wait_for(alone, "the end of the slow ones")
        self.assertEqual(self.gateway.metric("open_requests"), 0)
        self.assertLess((self.gateway.resident() - before) / MANY, 400 * 1024)
        return crowd

    def test_heads(self) -> None:
        """A head that comes byte by byte gets 408 when its time is over."""
        crowd = self.among(b"GET /a HTTP/1.1\r\nHost: x\r\nA: ", b"b")
        self.assertEqual({slow.received[9:12] for slow in crowd if slow.received}, {b"408"})
        self.assertEqual(self.gateway.origin.connections, 1)

    def test_bodies(self) -> None:
        """So does a body; the instance hears of some of them, and gets none whole."""
        crowd = self.among(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", b"b")
        self.assertEqual(self.gateway.origin.connections, CROWD + 1)  # and the normal one
        self.assertEqual({slow.received[9:12] for slow in crowd if slow.received}, {b"408"})

    def test_readers(self) -> None:
        """An answer that is taken byte by byte is cut, and its instance is let go."""
        large = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE + bytes(LARGE)
        self.gateway.origin.plan(*[[large]] * MANY)
        crowd = self.among(GET, b"", asked=MANY)
        self.assertLess(max(len(slow.received) for slow in crowd), 10_000)

    def test_idle(self) -> None:
        """Connections that ask for nothing are closed."""
        crowd = self.among(b"", b"")
        self.assertEqual({slow.received for slow in crowd}, {b""})

    def test_a_storm(self) -> None:
        """Three thousand connections that come and go leave nothing behind."""
        for _ in range(30):
            crowd = []
            for number in range(100):
                crowd.append(Client(self.gateway.process.port, f"127.0.0.{number % 10 + 1}"))
                crowd[-1].send(GET[: number % len(GET)])
            for client in crowd:
                client.close()
        with self.gateway.client() as client:
            client.send(GET)
            self.assertEqual(client.answer().status, 200)
        wait_for(lambda: self.gateway.metric("open_connections") == 0, "the end of all connections")


class FullTests(SynchronousTestCase):
    """A gateway that has no room left."""

    def test_idle_connections_make_room(self) -> None:
        """When all connections are taken, one that waits for nothing is closed for one that asks."""
        gateway = start(self, "max_connections = 50")
        crowd = gateway.clients(self, 48)
        for client in crowd:
            client.send(GET)
            self.assertEqual(client.answer().status, 200)
        for _ in range(10):
            with gateway.client() as client:
                client.send(GET)
                self.assertEqual(client.answer().status, 200)
                time.sleep(0.11)
        closed = sum(not client.silent(0.01) for client in crowd)
        self.assertIn(closed, range(1, 21))

    def test_too_many_requests(self) -> None:
        """What is beyond gets 503 at once; probes are answered; when there is room again everybody is."""
        gateway = start(self, "max_requests = 20")
        gateway.origin.answer = b""
        crowd = gateway.clients(self, 20)
        for client in crowd:
            client.send(GET)
        wait_for(lambda: gateway.metric("open_requests") == 20, "twenty open requests")
        with gateway.client() as client:
            client.send(GET)
            answer = client.answer()
            self.assertEqual((answer.status, answer.values("Retry-After")), (503, ["1"]))
            client.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertEqual(client.answer().status, 200)
            gateway.origin.answer = OK
            for each in crowd:
                each.close()
            wait_for(lambda: gateway.metric("open_requests") == 0, "no open requests")
            client.send(GET)
            self.assertEqual(client.answer().status, 200)
        self.assertEqual(gateway.metric("shed_total"), 1)

    def test_a_client_with_very_many(self) -> None:
        """What is beyond its limit is cut at once; another client is served."""
        gateway = start(self, "max_connections_per_client = 50")
        crowd = gateway.clients(self, 70)
        wait_for(lambda: gateway.metric("connections_refused_total") == 20, "twenty cut connections")
        self.assertEqual(gateway.metric("open_connections"), 50)
        crowd[0].send(GET)
        self.assertEqual(crowd[0].answer().status, 200)
        with gateway.client("127.0.0.2") as client:
            client.send(GET)
            self.assertEqual(client.answer().status, 200)

    def test_too_few_files(self) -> None:
        """With a low limit of open files it takes fewer connections, says so, and never runs out of them."""
        origin, port, admin = Origin(), free_port(), free_port()
        file = Path(self.mktemp())
        file.write_text(CONFIG.format(port=port, admin=admin, origin=origin.port, limits=""))
        twistd = str(Path(sys.executable).parent / "twistd")
        command = f'ulimit -n 400; exec "{twistd}" -n --pidfile= smartgate --config "{file.absolute()}"'
        process = Process(["bash", "-c", command], port)
        self.addCleanup(process.stop)
        process.wait()
        gateway = waiting(Gateway(process, admin, origin))
        crowd = gateway.clients(self, 200)
        wait_for(lambda: gateway.metric("open_connections") == 72, "seventy-two connections")
        for client in crowd:
            client.close()
        with gateway.client() as client:
            client.send(GET)
            self.assertEqual(client.answer().status, 200)
        self.assertIn("LimitNOFILE", process.said())
        self.assertNotIn("EMFILE", process.said())


class Flood:
    """Sends the same without end, and takes what comes, until the ``with`` block is over.

    :ivar taken: bytes so far.
    """

    def __init__(self, client: Client, data: bytes) -> None:
        self.taken = 0
        self._socket, self._data = client.socket, data
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._send, self._take)]

    def __enter__(self) -> Flood:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._socket.sendall(self._data)

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._socket.recv(1 << 20):
                self.taken += len(data)


class PiecesTests(SynchronousTestCase):
    """Very many very small things at once."""

    def median(self, gateway: Gateway) -> float:
        """Seconds that a request of somebody else takes meanwhile."""
        took = []
        with gateway.client() as client:
            for _ in range(30):
                began = time.monotonic()
                client.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertEqual(client.answer().status, 200)
                took.append(time.monotonic() - began)
        return sorted(took)[15]

    def test_requests(self) -> None:
        """A client that sends requests without end, each answered at once, does not keep the others waiting."""
        gateway = start(self, "")
        with gateway.client() as client, Flood(client, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 20_000) as flood:
            wait_for(lambda: flood.taken > 100_000, "they are answered")
            self.assertLess(self.median(gateway), 0.05)
