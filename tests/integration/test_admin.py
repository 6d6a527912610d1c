"""What operators see of a gateway that is a real process: its admin port, its listeners and its log."""

from __future__ import annotations

import atexit
import json
import socket
import ssl
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jwt
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from gateway import __version__
from tests.certificates import Authority
from tests.integration.origin import Origin, read_message, talk
from tests.integration.processes import SECRET, Process, free_port, start_gateway, start_valkey, wait_for

CONFIG = """
redis = {{ url = "redis://127.0.0.1:{redis}/0" }}
jwt = {{ secret = "{secret}" }}
rate_limit = {{ default = 2, roles = {{ user = "unlimited", admin = "unlimited" }} }}
[server]
listen = ["tcp:{port}:interface=127.0.0.1"{listen}]
admin = "tcp:{admin}:interface=127.0.0.1"
workers = 0
[[upstreams]]
name = "core"
instances = ["http://127.0.0.1:{origin}"]
[[upstreams]]
name = "echo"
instances = ["http://127.0.0.1:{echo}"]
[[upstreams]]
name = "gone"
instances = ["http://127.0.0.1:1"]
[[routes]]
prefix = "/api"
upstream = "core"
[[routes]]
prefix = "/api/admin"
upstream = "core"
roles = ["admin"]
[[routes]]
prefix = "/guests"
upstream = "core"
auth = "none"
[[routes]]
prefix = "/gone"
upstream = "gone"
auth = "none"
rate_limit = false
[[routes]]
prefix = "/api/ws"
upstream = "echo"
websocket = true
"""


class Running(NamedTuple):
    """A gateway, its admin port, and what is behind it."""

    gateway: Process
    admin: int
    valkey: Process
    origin: Origin


def start(listen: str = "", echo: int = 1) -> Running:
    """A gateway with an origin and a Valkey behind it."""
    origin, valkey, port, admin = Origin(), start_valkey(), free_port(), free_port()
    places = {"port": port, "admin": admin, "redis": valkey.port, "origin": origin.port, "echo": echo}
    try:
        config = CONFIG.format(**places, secret=SECRET, listen=listen)
        return Running(start_gateway(config, port), admin, valkey, origin)
    except BaseException:
        valkey.stop()
        raise


@cache
def platform() -> Running:
    """Started once for all tests that only look, and ended with them."""
    echo = free_port()
    server = Process([sys.executable, "-m", "tests.platform.echo", str(echo)], echo)
    server.wait()
    running = start(echo=echo)
    for process in (server, running.valkey, running.gateway):
        atexit.register(process.stop)
    return running


def token(role: str = "user") -> str:
    """The Authorization of Ann."""
    claims = {"sub": "ann", "role": role, "jti": "ann-1", "exp": time.time() + 300}
    return f"Authorization: Bearer {jwt.encode(claims, SECRET, 'HS256')}"


class AdminCase(SynchronousTestCase):
    """Requests to the gateway, and to its admin port."""

    running: Running

    def ask(self, path: str, *lines: str, port: int = 0) -> bytes:
        """The answer to a request."""
        head = "\r\n".join((f"GET {path} HTTP/1.1", "Host: a", *lines, "", ""))
        return talk(port or self.running.gateway.port, head.encode())

    def operator(self, path: str) -> tuple[int, bytes]:
        """Status and body of what the admin port answers."""
        head, _, body = self.ask(path, port=self.running.admin).partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), body

    def ready(self) -> tuple[int, dict[str, Any]]:
        """Status of /ready, and its checks."""
        status, body = self.operator("/ready")
        return status, json.loads(body)["checks"]

    def log(self) -> list[dict[str, Any]]:
        """All lines of the gateway's output; each is JSON."""
        return [json.loads(line) for line in self.running.gateway.said().splitlines()]


class MetricsTests(AdminCase):
    """/metrics."""

    def setUp(self) -> None:
        self.running = platform()
        self.before = self.read()

    def read(self) -> dict[tuple[str, ...], float]:
        """All samples: name and label values, in the order of the labels' names -> value."""
        status, body = self.operator("/metrics")
        self.assertEqual(status, 200)
        return {
            (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
            for family in text_string_to_metric_families(body.decode())
            for sample in family.samples
        }

    def grown(self, *sample: str) -> float:
        """By how much a sample has grown in this test."""
        name = (f"smartgate_{sample[0]}", *sample[1:])
        return self.read().get(name, 0) - self.before.get(name, 0)

    def test_requests(self) -> None:
        """Requests are counted and timed by route and class, whatever their paths."""
        for path in ("/api/zebra", "/api/zebu"):
            self.ask(path, token())
        self.ask("/api/admin/c", token())
        self.ask("/nowhere/d")
        for route, status, count in (("/api", "2xx", 2), ("/api/admin", "4xx", 1), ("none", "4xx", 1)):
            self.assertEqual(self.grown("requests_total", status, route), count, route)
            self.assertEqual(self.grown("request_duration_seconds_count", status, route), count, route)
            self.assertGreater(self.grown("request_duration_seconds_sum", status, route), 0, route)
            self.assertEqual(self.grown("request_duration_seconds_bucket", status, "+Inf", route), count, route)
        self.assertNotIn("zeb", str(self.read()))

    def test_refusals(self) -> None:
        """Refusals are counted by guard and status."""
        self.ask("/api")
        self.ask("/api", "Authorization: Bearer x.y.z")
        self.ask("/api/admin", token())
        for _ in range(3):
            self.ask("/guests")
        talk(self.running.gateway.port, b"nonsense\r\n\r\n")
        for guard, status, count in (
            ("authenticate", "401", 2),
            ("authorize", "403", 1),
            ("admit", "429", 1),
            ("wire", "400", 1),
        ):
            self.assertEqual(self.grown("refusals_total", guard, status), count, guard)

    def test_upstream_errors(self) -> None:
        """Failures of instances are counted by upstream and reason: both tries of this one."""
        self.assertIn(b" 502 ", self.ask("/gone")[:20])
        self.assertEqual(self.grown("upstream_errors_total", "connect", "gone"), 2)

    def test_redis(self) -> None:
        """A request is one question and one round trip, but for the first of all, which brings the script along."""
        self.ask("/api", token())
        self.before = self.read()
        self.ask("/api", token())
        self.assertEqual((self.grown("redis_round_trips_total"), self.grown("redis_questions_total")), (1, 1))
        self.assertEqual(self.grown("redis_errors_total"), 0)
        self.assertGreater(self.grown("redis_seconds_total"), 0)

    def test_what_is_open(self) -> None:
        """Connections and WebSockets that are open now, and no longer when they are closed."""
        upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
        lines = (*upgrade, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", token(), "", "")
        with socket.create_connection(("127.0.0.1", self.running.gateway.port), 5) as client:
            wait_for(lambda: self.open() == (1, 0), "the connection is counted")
            client.sendall("\r\n".join(("GET /api/ws/echo HTTP/1.1", "Host: a", *lines)).encode())
            self.assertIn(b" 101 ", read_message(client)[:20])
            self.assertEqual(self.open(), (1, 1))
        wait_for(lambda: self.open() == (0, 0), "both are closed")

    def open(self) -> tuple[float, float]:
        """How many connections and WebSockets are open now."""
        now = self.read()
        return now["smartgate_open_connections",], now["smartgate_open_websockets",]

    def test_process(self) -> None:
        """The version that runs, and what its process uses."""
        self.assertEqual(self.read()["smartgate_build_info", __version__], 1)
        self.assertGreater(self.read()["process_resident_memory_bytes",], 1_000_000)
        self.assertEqual(self.grown("access_log_dropped_total"), 0)


class PathsTests(AdminCase):
    """The other paths of the admin port."""

    def setUp(self) -> None:
        self.running = platform()

    def test_health(self) -> None:
        """Whether it lives."""
        self.assertEqual(self.operator("/health"), (200, b'{"status":"ok"}'))

    def test_ready(self) -> None:
        """Whether it can serve, and what it needs for that."""
        wait_for(lambda: self.ready() == (200, {"serving": "ok", "store": "ok", "records": "ok"}), "it is ready")

    def test_unknown(self) -> None:
        """Nothing else is there, routes least of all."""
        for path in ("/", "/api", "/guests", "/metrics/x"):
            status, body = self.operator(path)
            self.assertEqual((status, json.loads(body)["code"]), (404, "NOT_FOUND"), path)

    def test_not_for_clients(self) -> None:
        """Clients find no metrics."""
        self.assertIn(b" 404 ", self.ask("/metrics")[:20])


class RedisAwayTests(AdminCase):
    """When Redis goes."""

    def test_degraded(self) -> None:
        """The gateway serves on, and says that it is degraded; once in its log."""
        self.running = start()
        self.addCleanup(self.running.gateway.stop)
        self.addCleanup(self.running.valkey.stop)
        wait_for(lambda: self.ready()[0] == 200, "it is ready")
        self.running.valkey.child.kill()
        self.running.valkey.child.wait()
        wait_for(lambda: self.ready() == (200, {"serving": "ok", "store": "degraded", "records": "ok"}), "it says so")
        self.assertEqual(self.operator("/health")[0], 200)
        self.assertIn(b'"status":"degraded"', self.ask("/ready"))
        for _ in range(3):
            self.assertIn(b" 200 ", self.ask("/api", token())[:20])
        warnings = [line["message"] for line in self.log() if line.get("level") == "warn"]
        self.assertEqual([" is away: " in message for message in warnings], [True])


class LogTests(AdminCase):
    """The log of a gateway that nobody watches on a terminal."""

    def setUp(self) -> None:
        self.running = platform()

    def test_json(self) -> None:
        """Every line is JSON: the application's with level and origin, the requests' with route and status."""
        self.ask("/api", token())
        wait_for(lambda: any("status" in line for line in self.log()), "the request is logged")
        lines = self.log()
        said = [line for line in lines if "logger" in line]
        self.assertTrue(any("starting on" in line["message"] for line in said))
        for line in said:
            self.assertLessEqual({"time", "level", "message"}, set(line))
        self.assertEqual([line for line in lines if "logger" not in line and "route" not in line], [])

    def test_no_token(self) -> None:
        """No token is in it, however it was sent."""
        sent = token().rpartition(" ")[2]
        self.ask("/api", f"Authorization: Bearer {sent}")
        self.ask("/api", f"Authorization: Basic {sent}")
        self.ask("/api/ws/echo", f"Sec-WebSocket-Protocol: bearer.{sent}")
        self.ask(f"/api?access_token={sent}", f"Cookie: token={sent}")
        last = self.ask("/api", f"Authorization: Bearer {sent}x")
        request_id = last.partition(b"X-Request-ID: ")[2].partition(b"\r\n")[0].decode()
        wait_for(lambda: request_id in self.running.gateway.said(), "the last request is logged")
        self.assertNotIn(sent.rpartition(".")[2], self.running.gateway.said())
        self.assertNotIn(SECRET, self.running.gateway.said())


class ListenersTests(AdminCase):
    """Endpoints besides TCP."""

    def test_other_endpoints(self) -> None:
        """A UNIX socket and TLS serve as TCP does, and the origin is told of TLS."""
        place = Path(self.mktemp()).resolve()
        place.mkdir()
        authority, secure = Authority("ours"), free_port()
        (place / "own.pem").write_bytes(authority.certificate("localhost"))
        (place / "ca.pem").write_bytes(authority.pem)
        path = f"/tmp/smartgate-{free_port()}.sock"
        tls = f"ssl:{secure}:privateKey={place / 'own.pem'}:certKey={place / 'own.pem'}:interface=127.0.0.1"
        self.running = start(f', "unix:{path}", "{tls}"')
        self.addCleanup(self.running.valkey.stop)
        self.addCleanup(self.running.gateway.stop)
        request = f"GET /api HTTP/1.1\r\nHost: a\r\n{token()}\r\n\r\n".encode()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(request)
            self.assertTrue(read_message(client).endswith(b"\r\n\r\nok"))
        context = ssl.create_default_context(cafile=place / "ca.pem")
        with (
            socket.create_connection(("127.0.0.1", secure), 5) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as client,
        ):
            client.sendall(request)
            self.assertTrue(read_message(client).endswith(b"\r\n\r\nok"))
        told = [b"X-Forwarded-Proto: https\r\n" in received for received in self.running.origin.received]
        self.assertEqual(told, [False, True])
