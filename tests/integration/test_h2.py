"""HTTP/2 on a TLS listener of a real process, asked by curl and by the h2 library."""

from __future__ import annotations

import atexit
import json
import shutil
import socket
import ssl
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from threading import Event
from unittest import skipUnless

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority
from tests.integration.origin import Origin
from tests.integration.processes import Process, free_port, start_gateway, wait_for

CONFIG = """
[server]
listen = ["ssl:{port}:interface=127.0.0.1:privateKey={pem}:certKey={pem}"]
admin = ""
workers = 0
http2 = {http2}
[redis]
url = "memory:"
[jwt]
secret = "a-secret-of-at-least-thirty-two-bytes"
[[upstreams]]
name = "core"
instances = ["http://127.0.0.1:{origin}"]
[[routes]]
prefix = "/a"
upstream = "core"
auth = "none"
rate_limit = false
"""
LAST_REQUESTS = b"\0\0\x08\x07\0\0\0\0\0\x7f\xff\xff\xff\0\0\0\0"
"""GOAWAY that refuses no stream; the library would hear nothing after it."""

LARGE = 5 * 1024 * 1024


def speaks_h2() -> bool:
    """Whether there is a curl that does."""
    curl = shutil.which("curl")
    return curl is not None and b"HTTP2" in subprocess.run([curl, "--version"], capture_output=True).stdout


@cache
def certificate() -> Path:
    """A certificate for localhost with its key, and its authority's own beside it."""
    place = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, place)
    authority = Authority("tests")
    (place / "ca.pem").write_bytes(authority.pem)
    (place / "own.pem").write_bytes(authority.certificate("localhost"))
    return place / "own.pem"


def start(origin: Origin, http2: bool = True) -> Process:
    """A gateway in front of ``origin``, behind TLS."""
    port = free_port()
    config = CONFIG.format(port=port, pem=certificate(), origin=origin.port, http2=str(http2).lower())
    gateway = start_gateway(config, port)
    atexit.register(gateway.stop)
    return gateway


@cache
def platform() -> tuple[Origin, Process]:
    """An origin and a gateway, started once for all tests and ended with them."""
    origin = Origin()
    return origin, start(origin)


class Client:
    """One connection, as the h2 library speaks it; everything takes 5 seconds at most."""

    def __init__(self, port: int) -> None:
        context = ssl.create_default_context(cafile=str(certificate().parent / "ca.pem"))
        context.set_alpn_protocols(["h2", "http/1.1"])
        self.socket = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 5), server_hostname="localhost")
        self.protocol = self.socket.selected_alpn_protocol()
        self.h2 = H2Connection(H2Configuration(header_encoding=False))
        if self.protocol == "h2":
            self.h2.initiate_connection()
            self.flush()

    def flush(self) -> None:
        """Send what is to be sent."""
        self.socket.sendall(self.h2.data_to_send())

    def ask(self, path: str, end: bool = True) -> int:
        """Open a stream."""
        number = self.h2.get_next_available_stream_id()
        head = {":method": "GET", ":scheme": "https", ":authority": "localhost", ":path": path}
        self.h2.send_headers(number, list(head.items()), end)
        self.flush()
        return number

    def until(self, kind: type[events.Event]) -> list[events.Event]:
        """All that happens until something of this kind does.

        :raises EOFError: when the connection ends first.
        """
        happened: list[events.Event] = []
        while not any(isinstance(event, kind) for event in happened):
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            for event in self.h2.receive_data(data):
                happened.append(event)
                if isinstance(event, DataReceived):
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.flush()
        return happened

    def close(self) -> None:
        """Leave."""
        self.socket.close()


class H2Tests(SynchronousTestCase):
    """What clients that speak HTTP/2 get."""

    def setUp(self) -> None:
        self.origin, self.gateway = platform()
        self.origin.reset()

    def connect(self) -> Client:
        client = Client(self.gateway.port)
        self.addCleanup(client.close)
        return client

    def test_answered(self) -> None:
        """ALPN chooses HTTP/2; the upstream gets HTTP/1.1, and its answer comes back."""
        client = self.connect()
        self.assertEqual(client.protocol, "h2")
        client.ask("/a/x")
        happened = client.until(StreamEnded)
        head = next(dict(event.headers) for event in happened if isinstance(event, ResponseReceived))
        self.assertEqual(head[b":status"], b"200")
        self.assertTrue(self.origin.received[-1].startswith(b"GET /a/x HTTP/1.1\r\n"))
        self.assertIn(b"Via: 2.0 smartgate\r\n", self.origin.received[-1])

    def test_large(self) -> None:
        """An answer much larger than any window arrives whole."""
        self.origin.answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE + bytes(LARGE)
        client = self.connect()
        client.ask("/a")
        happened = client.until(StreamEnded)
        self.assertEqual(sum(len(event.data) for event in happened if isinstance(event, DataReceived)), LARGE)

    def test_logged(self) -> None:
        """Each stream has its line in the log."""
        client = self.connect()
        for path in ("/a/first", "/missing"):
            client.ask(path)
            client.until(StreamEnded)
        wait_for(lambda: '"path":"/missing"' in self.gateway.said(), "the log")
        lines = [json.loads(line) for line in self.gateway.said().splitlines() if '"requestId"' in line]
        self.assertEqual(
            [(line["path"], line["status"]) for line in lines][-2:], [("/a/first", 200), ("/missing", 404)]
        )

    def test_reset(self) -> None:
        """A client that leaves a stream takes its upstream request with it, and goes on."""
        self.origin.whole = False
        self.origin.plan(())
        client = self.connect()
        number = client.ask("/a", end=False)
        wait_for(lambda: bool(self.origin.received), "the request")
        client.h2.reset_stream(number)
        client.flush()
        self.origin.closed.wait(5)
        self.origin.whole = True
        client.ask("/a")
        client.until(StreamEnded)

    def test_rapid_reset(self) -> None:
        """A client that makes requests only to leave them is sent away."""
        client = self.connect()
        for _ in range(1000):
            number = client.h2.get_next_available_stream_id()
            head = {":method": "GET", ":scheme": "https", ":authority": "localhost", ":path": "/a"}
            client.h2.send_headers(number, list(head.items()))
            client.h2.reset_stream(number)
        client.flush()
        ended = client.until(ConnectionTerminated)[-1]
        self.assertEqual(getattr(ended, "error_code", None), 11)

    def test_drain(self) -> None:
        """A gateway that stops finishes the streams it has, and takes no more."""
        origin = Origin()
        gateway = start(origin)
        go = Event()
        client = Client(gateway.port)
        self.addCleanup(client.close)
        origin.plan((b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", go, b"k"))
        client.ask("/a", end=True)
        client.until(DataReceived)
        gateway.child.terminate()
        while LAST_REQUESTS not in client.socket.recv(65536):
            pass
        go.set()
        self.assertIn(b"k", client.socket.recv(65536))
        client.close()
        gateway.child.wait(5)

    def test_off(self) -> None:
        """Where HTTP/2 is off TLS chooses HTTP/1.1."""
        gateway = start(self.origin, http2=False)
        client = Client(gateway.port)
        self.addCleanup(client.close)
        self.assertEqual(client.protocol, "http/1.1")
        gateway.stop()


@skipUnless(speaks_h2(), "needs a curl with HTTP/2")
class CurlTests(SynchronousTestCase):
    """What curl says, which has HTTP/2 from nghttp2."""

    def setUp(self) -> None:
        self.origin, self.gateway = platform()
        self.origin.reset()

    def curl(self, *arguments: str) -> str:
        """What it prints: the version, the status and the size of the body."""
        port = self.gateway.port
        options = {
            "--max-time": "10",
            "--cacert": str(certificate().parent / "ca.pem"),
            "--resolve": f"localhost:{port}:127.0.0.1",
            "--output": "/dev/null",
            "--write-out": "%{http_version} %{response_code} %{size_download}",
        }
        given = [word for option in options.items() for word in option]
        command = ["curl", "--silent", *given, *arguments, f"https://localhost:{port}/a"]
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout

    def test_get(self) -> None:
        """It gets an answer over HTTP/2, and over HTTP/1.1 when it asks for that."""
        self.origin.answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        self.assertEqual(self.curl("--http2"), "2 200 2")
        self.assertEqual(self.curl("--http1.1"), "1.1 200 2")

    def test_head(self) -> None:
        """An answer to HEAD has no body."""
        self.origin.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
        self.assertEqual(self.curl("--head"), "2 200 0")

    def test_upload(self) -> None:
        """A body larger than any window arrives whole."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(bytes(LARGE))
            file.flush()
            self.assertEqual(self.curl("--data-binary", f"@{file.name}").split()[:2], ["2", "200"])
        self.assertEqual(len(self.origin.received[-1].partition(b"\r\n\r\n")[2]), LARGE)

    def test_download(self) -> None:
        """So does an answer."""
        self.origin.answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE + bytes(LARGE)
        self.assertEqual(self.curl(), f"2 200 {LARGE}")

    def test_too_large(self) -> None:
        """A body that is too large is refused, and curl reads why."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(bytes(LARGE * 3))
            file.flush()
            self.assertEqual(self.curl("--data-binary", f"@{file.name}").split()[:2], ["2", "413"])
