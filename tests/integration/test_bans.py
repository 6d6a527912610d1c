"""Bans on two real gateways with one real Valkey, and the commands that make, show and lift them."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.config.keys import certificate
from tests.integration.client import Client
from tests.integration.origin import Origin
from tests.integration.processes import ROOT, Process, free_port, start_gateway, wait_for
from tests.integration.valkey import Valkey

PROXY = "127.0.0.9"
CONFIG = """
[server]
listen = ["tcp:{port}:interface=127.0.0.1"{tls}]
admin = "tcp:{admin}:interface=127.0.0.1"
workers = 0
trusted_proxies = ["127.0.0.9"]
[bans]
threshold = 5
time = "{time}"
allow = ["127.0.0.5"]
[redis]
url = "redis://127.0.0.1:{redis}"
[jwt]
secret = "a-secret-of-at-least-thirty-two-bytes"
[access_log]
path = "{log}"
[[upstreams]]
name = "core"
instances = ["http://127.0.0.1:{origin}"]
[[routes]]
prefix = "/api"
upstream = "core"
[[routes]]
prefix = "/open"
upstream = "core"
auth = "none"
rate_limit = false
"""


class Gateway:
    """A gateway process."""

    def __init__(self, redis: int, origin: int, time: str = "5m", tls: bool = False) -> None:
        self.port, self.admin, self.tls_port = free_port(), free_port(), free_port()
        self.log = Path(tempfile.mkdtemp()) / "access.log"
        pem = self.log.parent / "gateway.pem"
        pem.write_bytes(certificate())
        listen = f', "ssl:{self.tls_port}:interface=127.0.0.1:privateKey={pem}:certKey={pem}"' if tls else ""
        self.config = CONFIG.format(
            port=self.port, admin=self.admin, redis=redis, origin=origin, time=time, tls=listen, log=self.log
        )
        self.file = self.log.parent / "smartgate.toml"
        self.file.write_text(self.config)
        self.process: Process = start_gateway(self.config, self.port)

    def status(self, path: str = "/open", client: str = "127.0.0.2", forwarded_for: str = "") -> int:
        """The status that a client gets; 0 when its connection is cut."""
        lines = f"X-Forwarded-For: {forwarded_for}\r\n" if forwarded_for else ""
        try:
            with Client(self.port, client) as connection:
                connection.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode())
                return connection.answer().status
        except (EOFError, ConnectionError):
            return 0

    def strike(self, client: str = "127.0.0.2", forwarded_for: str = "") -> None:
        """Have five requests refused."""
        for _ in range(5):
            self.status("/api", client, forwarded_for)

    def until(self, status: int, client: str = "127.0.0.2", forwarded_for: str = "", path: str = "/open") -> None:
        """Wait until a client gets this status."""
        wait_for(lambda: self.status(path, client, forwarded_for) == status, f"{status} for {client}{forwarded_for}")

    def metric(self, name: str) -> float:
        with Client(self.admin) as operator:
            operator.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            lines = operator.answer().body.decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"smartgate_{name} "))

    def command(self, *arguments: str) -> tuple[int, str]:
        """The status of a command, and what it wrote."""
        smartgate = Path(sys.executable).parent / "smartgate"
        done = subprocess.run(
            [smartgate, *arguments, "--config", self.file], cwd=ROOT, capture_output=True, text=True, timeout=30
        )
        return done.returncode, done.stdout + done.stderr


class BansCase(SynchronousTestCase):
    """Each test has a Valkey of its own."""

    def setUp(self) -> None:
        self.valkey = Valkey()
        self.addCleanup(self.valkey.stop)
        self.origin = Origin()
        self.addCleanup(self.origin.close)

    def gateway(self, time: str = "5m", tls: bool = False) -> Gateway:
        gateway = Gateway(self.valkey.port, self.origin.port, time, tls)
        self.addCleanup(gateway.process.stop)
        return gateway


class AutomaticBansTests(BansCase):
    """Clients that collect refusals."""

    def test_everywhere(self) -> None:
        """A client that one gateway bans is cut by the other as well, and nobody else is; once its time is over it is
        served again, and the next ban is twice as long.
        """
        one, other = self.gateway("2s"), self.gateway("2s")
        self.assertEqual((one.status(), other.status()), (200, 200))
        one.strike()
        other.until(0)
        self.assertEqual(
            (one.status(), one.status(client="127.0.0.3"), other.status(client="127.0.0.3")), (0, 200, 200)
        )
        self.assertEqual((one.metric("bans_made_total"), other.metric("bans_made_total")), (1, 0))
        self.assertGreaterEqual(other.metric("banned_connections_total"), 1)
        self.assertEqual(other.metric("bans"), 1)
        self.assertIn("Banned 127.0.0.2 for 2 s, the 1. time", one.process.said())
        one.until(200)
        other.strike()
        one.until(0)
        self.assertIn("Banned 127.0.0.2 for 4 s, the 2. time", other.process.said())

    def test_added_up(self) -> None:
        """Refusals of all gateways count together."""
        one, other = self.gateway(), self.gateway()
        for gateway in (one, other, one, other, one):
            gateway.status("/api")
        one.until(0)
        other.until(0)

    def test_behind_a_proxy(self) -> None:
        """Behind a trusted proxy the client is banned and not the proxy; IPv6 subscribers are banned as one."""
        one, other = self.gateway(), self.gateway()
        for bad, same, another in (
            ("203.0.113.5", "203.0.113.5", "203.0.113.6"),
            ("2001:db8:0:101::1", "2001:db8:0:1ff::2", "2001:db8:0:200::1"),
        ):
            one.strike(PROXY, bad)
            other.until(403, PROXY, same)
            self.assertEqual(other.status("/open", PROXY, another), 200)
        wait_for(lambda: '"decidedBy":"bans"' in other.log.read_text(), "a line of the access log")

    def test_allowed(self) -> None:
        """Who is on the list of those who are never banned is not."""
        gateway = self.gateway()
        gateway.strike("127.0.0.5")
        gateway.strike("127.0.0.2")
        gateway.until(0)
        self.assertEqual(gateway.status(client="127.0.0.5"), 200)

    def test_open_connection(self) -> None:
        """A connection that a banned client has open is closed."""
        gateway = self.gateway()
        with Client(gateway.port, "127.0.0.2") as client:
            client.send(b"GET /open HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertEqual(client.answer().status, 200)
            gateway.strike()
            self.assertEqual(client.rest(), b"")

    def test_tls(self) -> None:
        """A banned client is cut before the handshake of TLS, and the log has nothing to say about that."""
        gateway = self.gateway(tls=True)
        gateway.strike()
        gateway.until(0)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

        def shake_hands() -> None:
            with socket.create_connection(("127.0.0.1", gateway.tls_port), 5, ("127.0.0.2", 0)) as connection:
                context.wrap_socket(connection)

        self.assertRaises(OSError, shake_hands)  # the reset may be there before the connection is
        with socket.create_connection(("127.0.0.1", gateway.tls_port), 5, ("127.0.0.3", 0)) as connection:
            context.wrap_socket(connection).close()
        self.assertNotIn("Traceback", gateway.process.said())

    def test_redis_killed(self) -> None:
        """Without Redis the bans that are known stay, and each gateway makes its own."""
        one, other = self.gateway(), self.gateway()
        one.strike()
        other.until(0)
        self.valkey.stop()
        self.assertEqual((one.status(), other.status()), (0, 0))
        one.strike("127.0.0.3")
        one.until(0, "127.0.0.3")
        self.assertEqual(other.status(client="127.0.0.3"), 200)


class CommandTests(BansCase):
    """``smartgate ban``, ``unban`` and ``bans``."""

    def test_commands(self) -> None:
        """A ban by hand holds everywhere, is shown, and is lifted."""
        one, other = self.gateway(), self.gateway()
        self.assertEqual(one.command("bans"), (0, "nobody is banned\n"))
        status, said = one.command("ban", "127.0.0.2", "--for", "1h", "--reason", "scraper")
        self.assertEqual((status, said[:28]), (0, "127.0.0.2 is banned until 20"))
        for gateway in (one, other):
            gateway.until(0)
        shown = json.loads(other.command("bans", "--json")[1])
        self.assertEqual([(ban["prefix"], ban["why"]) for ban in shown], [("127.0.0.2", "scraper")])
        self.assertEqual(other.command("unban", "127.0.0.2"), (0, "127.0.0.2 is not banned any longer\n"))
        for gateway in (one, other):
            gateway.until(200)
        self.assertEqual(one.command("unban", "127.0.0.2"), (1, "127.0.0.2: is not banned\n"))

    def test_network(self) -> None:
        """A network is banned as a whole."""
        gateway = self.gateway()
        self.assertEqual(gateway.command("ban", "127.0.0.2/31")[0], 0)
        gateway.until(0, "127.0.0.3")
        self.assertEqual(gateway.status(client="127.0.0.4"), 200)

    def test_away(self) -> None:
        """Without Redis a command says so, and fails."""
        gateway = self.gateway()
        self.valkey.stop()
        status, said = gateway.command("ban", "127.0.0.2")
        self.assertEqual((status, said[:46]), (1, "redis.url: Redis cannot be reached within 3 s:"))
