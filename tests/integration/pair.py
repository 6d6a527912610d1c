"""Two gateways that share one Valkey, the services behind them, and the command line that tells both what to do."""

from __future__ import annotations

import atexit
import socket
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from threading import Thread

import jwt
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.client import Client
from tests.integration.origin import Origin, talk
from tests.integration.processes import SECRET, Process, free_port, start_gateway, wait_for
from tests.integration.valkey import Valkey
from tests.integration.websockets import Peer, Upstream, connect

CONFIG = """
access_log = {{ path = "{log}" }}
redis = {{ url = "redis://smartgate:password@127.0.0.1:{valkey}/0", timeout = "1s" }}
jwt = {{ secret = "{secret}" }}
api_keys = {{ enabled = true }}
rate_limit = {{ roles = {{ user = "unlimited", batch = 1000 }} }}
[server]
listen = ["tcp:{port}:interface=127.0.0.1"]
admin = ""
workers = 0
[[upstreams]]
name = "core"
instances = ["http://127.0.0.1:{core}"]
[[upstreams]]
name = "events"
instances = ["http://127.0.0.1:{events}"]
[[upstreams]]
name = "sockets"
instances = ["http://127.0.0.1:{sockets}"]
[[routes]]
prefix = "/api"
upstream = "core"
[[routes]]
prefix = "/public"
upstream = "core"
auth = "none"
[[routes]]
prefix = "/events"
upstream = "events"
[[routes]]
prefix = "/ws"
upstream = "sockets"
websocket = true
"""
EVENT = b"data: hello\n\n"
STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\nd\r\n" + EVENT + b"\r\n"
)


class Pair:
    """Everything, started once for all tests of a module, each of which has users of its own.

    In Valkey the gateways may no more than the documents say they need.
    """

    def __init__(self) -> None:
        self.valkey = Valkey()
        self.valkey.add_user()
        self.core, self.events, self.sockets = Origin(), Origin(), Upstream()
        self.events.answer = STREAM  # and nothing after it
        self.logs = [Path(f"pair-{number}.log").resolve() for number in range(2)]
        self.gateways = [self._start(log) for log in self.logs]

    def _start(self, log: Path) -> Process:
        port = free_port()
        ports = {"core": self.core.port, "events": self.events.port, "sockets": self.sockets.port}
        self.config = CONFIG.format(log=log, valkey=self.valkey.port, secret=SECRET, port=port, **ports)
        return start_gateway(self.config, port)

    def stop(self) -> None:
        """End all of it."""
        for gateway in self.gateways:
            gateway.stop()
        self.valkey.stop()
        for service in (self.core, self.events, self.sockets):
            service.close()


@cache
def pair() -> Pair:
    """The one of this process."""
    made = Pair()
    atexit.register(made.stop)
    return made


class PairCase(SynchronousTestCase):
    """Requests to both gateways."""

    def setUp(self) -> None:
        self.pair = pair()

    def token(self, subject: str, token_id: str = "", issued_ago: float = 60) -> str:
        """The header line of a token."""
        now = time.time()
        claims = {"sub": subject, "role": "user", "jti": token_id or subject, "iat": now - issued_ago, "exp": now + 600}
        return "Authorization: Bearer " + jwt.encode(claims, SECRET)

    def statuses(self, *lines: str, path: str = "/api") -> list[int]:
        """What both gateways answer to the same request."""
        asked = "\r\n".join((f"GET {path} HTTP/1.1", "Host: a", *lines, "", "")).encode()
        return [int(talk(gateway.port, asked).split(b" ", 2)[1]) for gateway in self.pair.gateways]

    def answer_within(self, status: int, *lines: str) -> None:
        """Both gateways soon answer a request so."""
        wait_for(lambda: self.statuses(*lines) == [status] * 2, f"{status} from both", 5)

    def open(self, *lines: str) -> Open:
        """An event stream and a WebSocket on each gateway, all past their heads."""
        opened = Open([Pieces(self.pair, gateway.port, lines) for gateway in self.pair.gateways])
        self.addCleanup(opened.close)
        return opened

    def redis(self, *commands: tuple[str, ...]) -> None:
        """Run commands on the Valkey, all in one transaction, as any other program can."""
        with socket.create_connection(("127.0.0.1", self.pair.valkey.port), 5) as connection:
            for command in (("MULTI",), *commands, ("EXEC",)):
                connection.sendall(b"*%d\r\n" % len(command))
                for part in map(str.encode, command):
                    connection.sendall(b"$%d\r\n%b\r\n" % (len(part), part))
            said = b""
            while b"*%d\r\n" % len(commands) not in said:
                piece = connection.recv(65536)
                self.assertTrue(piece and b"-ERR" not in said + piece, said + piece)
                said += piece

    def smartgate(self, *arguments: str) -> str:
        """What the command says."""
        config = Path(self.mktemp())
        config.write_text(self.pair.config)
        command = [str(Path(sys.executable).parent / "smartgate"), *arguments, "--config", str(config)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        return done.stdout.strip()


class Pieces:
    """What one client has open on one gateway."""

    def __init__(self, pair: Pair, port: int, lines: tuple[str, ...]) -> None:
        self.events = Client(port)
        self.events.send("\r\n".join(("GET /events HTTP/1.1", "Host: a", *lines, "", "")).encode())
        assert self.events.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200"), lines
        self.events.until(EVENT)
        self.socket, self.upstream = self._connect(pair, port, lines)

    def _connect(self, pair: Pair, port: int, lines: tuple[str, ...]) -> tuple[Peer, Peer]:
        asked: list[Peer] = []

        def upstream() -> None:
            asked.append(pair.sockets.switch(pair.sockets.asked()))

        thread = Thread(target=upstream)
        thread.start()
        socket = connect(port, "/ws", *lines)
        thread.join(5)
        assert socket.head.startswith(b"HTTP/1.1 101"), socket.head
        return socket, asked[0]


class Open:
    """What one client has open on both gateways."""

    def __init__(self, pieces: list[Pieces]) -> None:
        self._pieces = pieces

    def ended_within(self, case: SynchronousTestCase, seconds: float, since: float) -> None:
        """All of it has ended by then: the sockets with 1008, the streams without an end of their own."""
        for pieces in self._pieces:
            case.assertEqual(pieces.socket.closed_with(), 1008)
            case.assertEqual(pieces.upstream.closed_with(), 1001)
            pieces.upstream.connection.close()
            pieces.socket.connection.close()
            case.assertNotIn(b"0\r\n\r\n", rest_of(pieces.events))
        case.assertLess(time.monotonic() - since, seconds)

    def still_open(self, case: SynchronousTestCase) -> None:
        """None of it has ended."""
        for pieces in self._pieces:
            pieces.upstream.send(1, b"still here")
            received = pieces.socket.receive()
            case.assertTrue(received is not None and received.payload == b"still here", received)
            pieces.events.socket.settimeout(0.05)
            case.assertRaises(TimeoutError, pieces.events.socket.recv, 1)

    def close(self) -> None:
        """The client leaves."""
        for pieces in self._pieces:
            for connection in (pieces.events.socket, pieces.socket.connection, pieces.upstream.connection):
                connection.close()


def rest_of(client: Client) -> bytes:
    """All that still comes, until the connection ends in order or is cut."""
    data = b""
    try:
        while piece := client.socket.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    return data
