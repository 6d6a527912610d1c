"""WebSockets through a real gateway process, between raw clients, raw upstreams and Autobahn on both sides."""

from __future__ import annotations

import atexit
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.config.keys import certificate
from tests.integration.origin import talk
from tests.integration.processes import ROOT, SECRET, Process, free_port, start_gateway, wait_for
from tests.integration.test_gateway import get, token
from tests.integration.websockets import Peer, Upstream, connect
from tests.resources.wires import BINARY, CLOSE, PING, PONG, TEXT, Frame, close, frame

CONFIG = """
[server]
listen = [
    "tcp:{port}:interface=127.0.0.1",
    "ssl:{secure}:interface=127.0.0.1:privateKey={ca_file}:certKey={ca_file}",
]
admin = "tcp:{admin}:interface=127.0.0.1"
workers = 0
[redis]
url = "memory:"
[jwt]
secret = "{secret}"
[rate_limit]
default = 3
[websocket]
max_message = "64 KiB"
idle_ping = "{idle_ping}"
[[upstreams]]
name = "echo"
instances = ["http://127.0.0.1:{echo}"]
[[upstreams]]
name = "raw"
instances = ["http://127.0.0.1:{raw}"]
first_byte_timeout = "1s"
[[upstreams]]
name = "tls"
instances = ["https://localhost:{tls}"]
ca_file = "{ca_file}"
[[upstreams]]
name = "distrusted"
instances = ["https://localhost:{tls}"]
[[upstreams]]
name = "gone"
instances = ["http://127.0.0.1:1"]
[[routes]]
prefix = "/api/ws"
upstream = "echo"
websocket = true
rate_limit = false
[[routes]]
prefix = "/admins"
upstream = "echo"
websocket = true
rate_limit = false
roles = ["admin"]
[[routes]]
prefix = "/counted"
upstream = "gone"
websocket = true
auth = "none"
[[routes]]
prefix = "/raw"
upstream = "raw"
websocket = true
auth = "none"
rate_limit = false
[[routes]]
prefix = "/tls"
upstream = "tls"
strip_prefix = true
websocket = true
auth = "none"
rate_limit = false
[[routes]]
prefix = "/distrusted"
upstream = "distrusted"
websocket = true
auth = "none"
rate_limit = false
[[routes]]
prefix = "/gone"
upstream = "gone"
websocket = true
auth = "none"
rate_limit = false
"""


@cache
def echoes() -> tuple[int, int, str]:
    """The ports of two Autobahn servers, plain and TLS, and the file with the latter's certificate."""
    with NamedTemporaryFile("wb", suffix=".pem", delete=False) as file:
        file.write(certificate())
    atexit.register(Path(file.name).unlink)
    ports = free_port(), free_port()
    for port, more in zip(ports, ((), (file.name,)), strict=True):
        server = Process([sys.executable, "-m", "tests.platform.echo", str(port), *more], port)
        atexit.register(server.stop)
        server.wait()
    return *ports, file.name


def started(upstream: Upstream, idle_ping: str = "30s") -> tuple[Process, int, int]:
    """A gateway, its admin port, and the one where it speaks TLS."""
    echo, tls, ca_file = echoes()
    port, admin, secure = free_port(), free_port(), free_port()
    ports = {"port": port, "admin": admin, "secure": secure, "echo": echo, "tls": tls, "raw": upstream.port}
    config = CONFIG.format(**ports, secret=SECRET, idle_ping=idle_ping, ca_file=ca_file)
    return start_gateway(config, port), admin, secure


@cache
def shared() -> tuple[Process, int, int, Upstream]:
    """A gateway for all tests, its admin and TLS ports, and a raw upstream."""
    upstream = Upstream()
    gateway, admin, secure = started(upstream)
    atexit.register(gateway.stop)
    return gateway, admin, secure, upstream


def bearer(**claims: object) -> str:
    """The header line with a token."""
    return f"Authorization: Bearer {token(**claims)}"  # type: ignore[arg-type]


class SocketCase(SynchronousTestCase):
    """Clients of the shared gateway."""

    def setUp(self) -> None:
        self.gateway, self.admin, self.secure, self.upstream = shared()
        self.port = self.gateway.port

    def tearDown(self) -> None:
        self.assertNotIn("Traceback", self.gateway.said())

    def connect(self, path: str = "/api/ws/echo", *lines: str) -> Peer:
        """A client's socket, with a token where no line is given."""
        peer = connect(self.port, path, *(lines or (bearer(),)))
        self.addCleanup(peer.connection.close)
        return peer

    def status(self, path: str = "/api/ws/echo", *lines: str) -> int:
        """The status of the answer to an upgrade."""
        return int(self.connect(path, *lines).head[9:12])

    def pair(self) -> tuple[Peer, Peer]:
        """Both ends of a socket whose upstream is the test."""
        return pair(self, self.port, self.upstream)


def pair(case: SynchronousTestCase, port: int, upstream: Upstream, *lines: str) -> tuple[Peer, Peer]:
    """A client of the gateway at ``port``, and the upstream's end of its socket."""
    clients: list[Peer] = []
    connecting = threading.Thread(target=lambda: clients.append(connect(port, "/raw/socket?x=1", *lines)))
    connecting.start()
    server = upstream.switch(upstream.asked())
    connecting.join()
    for peer in (*clients, server):
        case.addCleanup(peer.connection.close)
    return clients[0], server


class BridgeTests(SocketCase):
    """Open sockets."""

    def test_messages_pass_both_ways(self) -> None:
        """Text and binary are echoed, a ping is answered by the upstream, and the close code comes back."""
        client = self.connect()
        self.assertTrue(client.head.startswith(b"HTTP/1.1 101 "))
        for sent, echoed in ((TEXT, TEXT), (BINARY, BINARY), (PING, PONG)):
            client.send(sent, b"hello")
            self.assertEqual(client.receive(), Frame(echoed, b"hello", False, True))
        client.close(3001)
        self.assertEqual(client.closed_with(), 3001)
        self.assertIsNone(client.receive())

    def test_autobahn_on_both_sides(self) -> None:
        """An Autobahn client gets its own words back, in a large message too."""
        texts = ("hello", "x" * 60_000)
        url = f"ws://127.0.0.1:{self.port}/api/ws/echo"
        command = [sys.executable, "-m", "tests.platform.talk", url, token()]
        ended = subprocess.run([*command, *texts], cwd=ROOT, capture_output=True, text=True, timeout=30)
        self.assertEqual((ended.returncode, ended.stdout.split()), (0, list(texts)), ended.stderr)

    def test_tls_client(self) -> None:
        """A client that comes over TLS: messages, the close handshake, and a broken rule."""
        context = ssl.create_default_context(cafile=echoes()[2])
        client = connect(self.secure, "/api/ws/echo", bearer(), context=context)
        self.addCleanup(client.connection.close)
        client.send(BINARY, bytes(60_000))
        self.assertEqual(client.receive(), Frame(BINARY, bytes(60_000), False, True))
        client.close(3001)
        self.assertEqual(client.closed_with(), 3001)
        client = connect(self.secure, "/api/ws/echo", bearer(), context=context)
        self.addCleanup(client.connection.close)
        client.send(BINARY, bytes(65537))
        self.assertEqual(client.closed_with(), 1009)

    def test_tls_upstream(self) -> None:
        """An https instance is reached over TLS, held against its authority."""
        client = self.connect("/tls/api/ws/echo", "X-No: token")
        client.send(BINARY, bytes(60_000))
        self.assertEqual(client.receive(), Frame(BINARY, bytes(60_000), False, True))
        client.close(1000)
        self.assertEqual(client.closed_with(), 1000)
        self.assertIsNone(client.receive())

    def test_tls_upstream_of_an_unknown_authority(self) -> None:
        """It is not spoken to: 502."""
        self.assertEqual(self.status("/distrusted/api/ws/echo", "X-No: token"), 502)

    def test_token_in_the_subprotocol(self) -> None:
        """Browsers send it there; it is not passed on, and only what the server selects is answered."""
        client = self.connect("/api/ws/echo", f"Sec-WebSocket-Protocol: mcp, bearer.{token()}")
        self.assertIn(b"Sec-WebSocket-Protocol: mcp\r\n", client.head)
        self.assertNotIn(b"bearer", client.head)

    def test_what_the_upstream_is_asked(self) -> None:
        """Path and query as they came, Host its own, and who asks in the X-Forwarded fields."""
        _, server = self.pair()
        self.assertTrue(server.head.startswith(b"GET /raw/socket?x=1 HTTP/1.1\r\n"))
        self.assertIn(b"Host: 127.0.0.1:%d\r\n" % self.upstream.port, server.head)
        for line in (b"X-Forwarded-For: 127.0.0.1", b"X-Forwarded-Proto: http", b"X-Forwarded-Host: api.example.com"):
            self.assertIn(line + b"\r\n", server.head)
        self.assertRegex(server.head, rb"X-Request-ID: [0-9a-f]{22}\r\n")

    def test_message_over_the_limit(self) -> None:
        """1009 for one byte too much, in one frame or in several; the upstream hears that its client goes away."""
        for fragments in ([65537], [65536, 1], [1] * 10 + [65527]):
            client, server = self.pair()
            for index, size in enumerate(fragments):
                client.send(0 if index else BINARY, bytes(size), index == len(fragments) - 1)
            self.assertEqual(server.closed_with(), 1001)
            self.assertEqual(client.closed_with(), 1009)

    def test_upstream_that_leaves(self) -> None:
        """1013: the client may try again later."""
        client, server = self.pair()
        server.connection.close()
        self.assertEqual(client.closed_with(), 1013)

    def test_client_that_leaves(self) -> None:
        """1001 for the upstream."""
        client, server = self.pair()
        client.connection.close()
        self.assertEqual(server.closed_with(), 1001)

    def test_expired_token_closes_the_socket(self) -> None:
        """1008 when the token's time is over."""
        client = self.connect("/api/ws/echo", bearer(exp=time.time() + 1))
        self.assertEqual(client.closed_with(), 1008)

    def test_open_sockets_are_counted(self) -> None:
        """The admin port tells how many there are."""
        client, server = self.pair()

        def count() -> int:
            metrics = talk(self.admin, get("/metrics")).decode()
            found = re.search(r"^smartgate_open_websockets (\d+)", metrics, re.MULTILINE)
            return int(float(found[1])) if found else -1

        self.assertGreaterEqual(count(), 1)
        client.connection.close()
        server.connection.close()
        wait_for(lambda: count() == 0, "no socket is open")

    def test_log_lines(self) -> None:
        """One when it opens, one when it has closed, without the token."""
        sent = token()
        client = self.connect("/api/ws/echo?key=hidden", f"Authorization: Bearer {sent}")
        request_id = client.head.partition(b"X-Request-ID: ")[2].split(b"\r\n")[0].decode()

        def lines() -> list[Any]:
            return [json.loads(line) for line in self.gateway.said().splitlines() if request_id in line]

        wait_for(lambda: len(lines()) == 1, "the socket has opened")
        client.send(TEXT, b"hello")
        client.close(4001)
        while client.receive() is not None:
            pass
        client.connection.close()
        wait_for(lambda: len(lines()) == 2, "the socket has closed")
        opened, closed = lines()
        self.assertEqual((opened["event"], opened["status"], opened["path"]), ("open", 101, "/api/ws/echo"))
        self.assertEqual((closed["event"], closed["closeCode"], closed["user"]), ("close", 4001, "ann"))
        self.assertEqual((closed["received"], closed["bytes"]), (11 + 8, 7 + 4))
        self.assertNotIn("hidden", self.gateway.said())
        self.assertNotIn(sent, self.gateway.said())


class RefusalTests(SocketCase):
    """Upgrades that do not happen."""

    def test_guards_stand_before_the_upgrade(self) -> None:
        """No token: 401. Not the role: 403. A page of another origin: 403. No upgrade: 426."""
        self.assertEqual(self.status("/api/ws/echo", "X-No: token"), 401)
        self.assertEqual(self.status("/admins/x"), 403)
        self.assertEqual(self.status("/api/ws/echo", bearer(), "Origin: https://evil.example"), 403)
        self.assertIn(b" 426 ", talk(self.port, get("/api/ws/echo", bearer()))[:20])

    def test_upgrades_are_counted(self) -> None:
        """The fourth of a guest within the minute gets 429."""
        self.assertEqual([self.status("/counted", "X-No: token") for _ in range(4)], [502, 502, 502, 429])

    def test_refusal_of_the_upstream_is_relayed(self) -> None:
        """Its status comes back as it is."""
        self.assertEqual(self.status("/api/ws/none"), 404)

    def test_refusal_with_a_body_is_relayed(self) -> None:
        """Fields and body too."""
        refusal = b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 4\r\n\r\nnope"

        def answer() -> None:
            with self.upstream.asked().connection as connection:
                connection.sendall(refusal)

        answering = threading.Thread(target=answer)
        answering.start()
        head = self.connect("/raw", "X-No: token").head
        answering.join()
        self.assertTrue(head.startswith(b"HTTP/1.1 401 Unauthorized\r\n"))
        self.assertIn(b"WWW-Authenticate: Basic\r\n", head)
        self.assertTrue(head.endswith(b"\r\n\r\nnope"))

    def test_upstream_that_is_away(self) -> None:
        """502 in the standard format."""
        head = self.connect("/gone", "X-No: token").head
        self.assertTrue(head.startswith(b"HTTP/1.1 502 "))
        self.assertIn(b'"code":"UPSTREAM_UNAVAILABLE"', head)

    def test_upstream_that_is_silent(self) -> None:
        """504 after the time to the first byte."""
        kept: list[Peer] = []
        taking = threading.Thread(target=lambda: kept.append(self.upstream.asked()))
        taking.start()
        self.assertEqual(self.status("/raw", "X-No: token"), 504)
        taking.join()
        kept[0].connection.close()

    def test_client_that_leaves_takes_its_upgrade_along(self) -> None:
        """The upstream's connection is closed as soon as the client is gone."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as client:
            upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
            client.sendall(get("/raw", *upgrade, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="))
            server = self.upstream.asked()
        self.addCleanup(server.connection.close)
        self.assertIsNone(server.receive())


class SlowReaderTests(SocketCase):
    """A peer that does not read what the other sends."""

    FLOOD = 64 * 1024 * 1024
    ROOM = 8 * 1024 * 1024

    def memory(self) -> int:
        """Bytes of memory that the gateway has."""
        status = Path(f"/proc/{self.gateway.child.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def flood(self, sender: Peer, receiver: Peer) -> None:
        """One sends until nothing goes any more, the other reads it all then."""
        data = frame(BINARY, bytes(range(250)) * 240, sender.client)
        before, sent = self.memory(), 0
        sender.connection.settimeout(0.5)
        try:
            while sent < self.FLOOD:
                sent += sender.connection.send(data[sent % len(data) :])
            self.fail("the flood was taken without end")
        except TimeoutError:
            pass
        self.assertLess(self.memory() - before, self.ROOM)
        sender.connection.settimeout(5)
        whole, rest = divmod(sent, len(data))
        finishing = threading.Thread(target=lambda: sender.connection.sendall(data[rest:] if rest else b""))
        finishing.start()
        for _ in range(whole + (rest > 0)):
            received = receiver.receive()
            assert received is not None
            self.assertEqual(received.payload, bytes(range(250)) * 240)
        finishing.join()
        self.assertLess(self.memory() - before, self.ROOM)

    def test_client_that_does_not_read(self) -> None:
        """The upstream can send no more, and the gateway does not grow; nothing is lost once the client reads."""
        client, server = self.pair()
        self.flood(server, client)

    def test_upstream_that_does_not_read(self) -> None:
        """The same the other way round."""
        client, server = self.pair()
        self.flood(client, server)


class OwnGatewayTests(SynchronousTestCase):
    """Tests that need a gateway for themselves."""

    def start(self, idle_ping: str = "30s") -> Process:
        self.upstream = Upstream()
        self.addCleanup(self.upstream.close)
        gateway, _, _ = started(self.upstream, idle_ping)
        self.addCleanup(gateway.stop)
        return gateway

    def test_stop_closes_sockets(self) -> None:
        """SIGTERM: 1012 for clients, 1001 for upstreams, then the process ends."""
        gateway = self.start()
        pairs = [pair(self, gateway.port, self.upstream) for _ in range(5)]
        gateway.child.terminate()
        self.assertEqual([client.closed_with() for client, _ in pairs], [1012] * 5)
        for _, server in pairs:
            self.assertEqual(server.closed_with(), 1001)
            server.connection.close()
        for client, _ in pairs:
            client.connection.close()
        gateway.child.wait(10)
        self.assertEqual(gateway.said().count('"closeCode":1012'), 5)

    def test_silent_peers_are_pinged(self) -> None:
        """Who answers stays; the pong goes no further."""
        client, server = pair(self, self.start("400ms").port, self.upstream)
        for _ in range(3):
            for peer in (client, server):
                ping = peer.receive()
                assert ping is not None
                self.assertEqual(ping.opcode, PING)
                peer.send(PONG, ping.payload)
        client.send(TEXT, b"still here")
        while (received := server.receive()) is not None and received.opcode == PING:
            server.send(PONG, received.payload)
        self.assertEqual(received, Frame(TEXT, b"still here", True, True))

    def test_dead_client_is_cut(self) -> None:
        """Who does not answer is cut, and its upstream told."""
        client, server = pair(self, self.start("400ms").port, self.upstream)
        while (received := server.receive()) is not None and received.opcode == PING:
            server.send(PONG, received.payload)
        assert received is not None
        self.assertEqual((received.opcode, received.payload[:2]), (CLOSE, (1001).to_bytes(2, "big")))
        self.assertEqual([found.opcode for found in client.rest()], [PING])


class VerdictTests(SocketCase):
    """What Autobahn's server says to any bytes, it says through the gateway too."""

    def verdict(self, port: int, data: bytes) -> list[tuple[int, bytes]]:
        """What comes back: opcodes and payloads, of a close frame only its code."""
        client = connect(port, "/api/ws/echo", bearer())
        self.addCleanup(client.connection.close)
        client.connection.sendall(data)
        return [
            (found.opcode, found.payload[:2] if found.opcode == CLOSE else found.payload) for found in client.rest()
        ]

    def same(self, cases: dict[str, bytes]) -> None:
        """Asserts that each case ends the same, with the gateway and without it."""
        direct, _, _ = echoes()
        for name, data in cases.items():
            self.assertEqual(self.verdict(self.port, data), self.verdict(direct, data), name)

    def test_frames(self) -> None:
        """Sizes, fragments, control frames between them."""
        part, end = frame(TEXT, b"one ", True, final=False), close(1000, masked=True)
        cases = {
            **{f"{size} bytes": frame(BINARY, bytes(size), True) for size in (0, 1, 125, 126, 127, 65535, 65536)},
            "several at once": b"".join(frame(TEXT, b"%d" % index, True) for index in range(50)),
            "fragments": part + frame(0, b"two ", True, final=False) + frame(0, b"three", True),
            "empty fragments": frame(TEXT, b"", True, final=False) + frame(0, b"", True),
            "ping between fragments": part + frame(PING, b"?", True) + frame(0, b"two", True),
            "ping of 125 bytes": frame(PING, bytes(125), True),
            "unasked pong": frame(PONG, b"!", True) + frame(PING, b"?", True),
            "character over two fragments": frame(TEXT, b"\xc3", True, final=False) + frame(0, b"\xa9", True),
        }
        self.same({name: data + end for name, data in cases.items()})

    def test_broken_rules(self) -> None:
        """Each after a message that is right, whose answer comes first."""
        part, mask = frame(TEXT, b"x", True, final=False), bytes(4)
        cases = {
            "fragmented ping": frame(PING, b"?", True, final=False),
            "long ping": frame(PING, bytes(126), True),
            "reserved bit 1": b"\xc1\x80" + mask,
            "reserved bit 2": b"\xa1\x80" + mask,
            "reserved bit 3": b"\x91\x80" + mask,
            "reserved bit of a ping": b"\xc9\x80" + mask,
            **{f"opcode {opcode}": frame(opcode, b"", True) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
            "no mask": frame(TEXT, b"x"),
            "continuation of nothing": frame(0, b"x", True),
            "message within a message": part + frame(TEXT, b"y", True),
            "length of two bytes for one": b"\x82\xfe\x00\x7d" + mask + bytes(125),
            "length of eight bytes for two": b"\x82\xff" + (126).to_bytes(8, "big") + mask + bytes(126),
            "length over 63 bits": b"\x82\xff" + (1 << 63).to_bytes(8, "big") + mask,
            "text that is not UTF-8": frame(TEXT, b"\xff", True),
            "fragments that are not UTF-8": frame(TEXT, b"\xc3", True, final=False) + frame(0, b"x", True),
            "surrogate": frame(TEXT, b"\xed\xa0\x80", True),
        }
        self.same({name: frame(TEXT, b"right", True) + data for name, data in cases.items()})

    def test_closing(self) -> None:
        """Codes that may be sent, and what stands behind a close frame."""
        codes = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
        cases = {
            **{f"code {code}": close(code, b"bye", masked=True) for code in codes},
            "no code": frame(CLOSE, b"", True),
            "reason of 123 bytes": close(1000, b"x" * 123, masked=True),
            "close of 126 bytes": frame(CLOSE, bytes(126), True),
            "message after it": close(1000, masked=True) + frame(TEXT, b"late", True),
            "ping after it": close(1000, masked=True) + frame(PING, b"late", True),
            "second one": close(1000, masked=True) + close(1001, masked=True),
        }
        self.same(cases)

    def test_close_frames_that_may_not_be_sent(self) -> None:
        """Where Autobahn cuts the connection, the gateway says why."""
        codes = (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
        cases = {close(code, masked=True): 1002 for code in codes}
        cases |= {frame(CLOSE, b"\x03", True): 1002, close(1000, b"\xff", masked=True): 1007}
        direct, _, _ = echoes()
        for data, code in cases.items():
            self.assertEqual(self.verdict(self.port, data), [(CLOSE, code.to_bytes(2, "big"))])
            self.assertEqual(self.verdict(direct, data), [])
