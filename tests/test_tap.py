"""Tests of gateway.tap: the whole gateway on a reactor in memory."""

from __future__ import annotations

import json
import os
import socket
from base64 import b64encode
from functools import partial
from hashlib import sha1
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import jwt
import txredisapi
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm
from twisted.internet import tcp, unix
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.names import dns
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from gateway import tap
from gateway.config import load
from gateway.guards.keys import MAX_AGE
from gateway.http import site
from gateway.http.poller import Poller
from gateway.http.proxy_protocol import ProxyProtocolFactory
from gateway.http.transport import BACKLOG, UNSENT
from gateway.process import shares, snapshot
from gateway.process.alone import Alone
from gateway.process.supervisor import Supervisor
from gateway.process.worker import Place, Worker
from gateway.resources.bridges import CLOSE_TIMEOUT
from gateway.tap import CUT_TIMEOUT, PARTING, Gateway, Options, makeService
from gateway.wiring import upstreams
from gateway.wiring.listeners import RENEWED
from tests.certificates import Authority
from tests.logs import observed
from tests.upstreams.network import Network, Transport

SECRET = "a-secret-of-at-least-thirty-two-bytes"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)

TABLES: dict[str, dict[str, Any]] = {
    "server": {"workers": 0, "max_lag": "1h"},  # a clock that a test sets runs very late
    "redis": {"url": "memory:"},
    "jwt": {"secret": SECRET},
    "access_log": {"path": ""},
}
UPSTREAM: dict[str, Any] = {"name": "core", "instances": ["http://192.0.2.1:8080"]}
ROUTE: dict[str, Any] = {"prefix": "/api", "upstream": "core", "auth": "none"}


def toml(value: Any) -> str:
    """A value of a configuration as TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


REDIS = 6379


def token(key: Any = SECRET, algorithm: str = "HS256", kid: str | None = None, **claims: Any) -> str:
    """The Authorization of Ann, who is good for a long time of the reactor in memory."""
    head = None if kid is None else {"kid": kid}
    return "Authorization: Bearer " + jwt.encode({"sub": "ann", "exp": 100_000, **claims}, key, algorithm, head)


def frames(data: bytes) -> bytes:
    """What comes after the head of a 101."""
    return data.partition(b"\r\n\r\n")[2]


class MemoryPoller(Poller):
    """Connects to instances on a network in memory, and to Redis through the reactor."""

    def __init__(self, network: Network, reactor: Any) -> None:
        super().__init__(reactor)
        self._network = network

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None) -> Any:
        if port == REDIS:
            return self._reactor.connectTCP(host, port, factory, timeout, bindAddress)
        return self._network.connect(host, port, factory, timeout)


class GatewayCase(SynchronousTestCase):
    """A gateway of a configuration, with a network in memory around it."""

    turns: tuple[float, ...] = (0,)

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.network = Network(Mock())
        self.patch(site, "LONGEST_PERIOD", 0.05)
        self.patch(tap, "Poller", partial(MemoryPoller, self.network))
        self.patch(tap, "settle", Mock())  # a collection takes longer than a test

    def write(self, *routes: dict[str, Any], upstream: dict[str, Any] | None = None, **tables: dict[str, Any]) -> str:
        """The path of a configuration: what is given, over one that has only what it must."""
        path = str(self.mktemp())
        merged: dict[str, Any] = {name: TABLES.get(name, {}) | tables.get(name, {}) for name in TABLES | tables}
        merged |= {"upstreams": [UPSTREAM | (upstream or {})], "routes": [ROUTE | route for route in routes or ({},)]}
        Path(path).write_text("\n".join(f"{name} = {toml(value)}" for name, value in merged.items()))
        return path

    def start(self, *routes: dict[str, Any], **tables: Any) -> Gateway:
        """A gateway that listens."""
        gateway = self.gateway = Gateway(self.reactor, load(self.write(*routes, **tables), {}))
        gateway.startService()
        return gateway

    def connect(self, port: int = 3000, peer: str = "198.51.100.7") -> Transport:
        """A new client."""
        factory = next(factory for listening, factory, *_ in self.reactor.tcpServers if listening == port)
        client = Transport(peerAddress=IPv4Address("TCP", peer, 4000))
        client.protocol = factory.buildProtocol(IPv4Address("TCP", peer, 4000))
        client.protocol.makeConnection(client)
        return client

    def send(self, *lines: str, start: str = "GET /api/x", body: str = "", **client: Any) -> Transport:
        """A new client that has sent a request."""
        connected = self.connect(**client)
        head = "\r\n".join((f"{start} HTTP/1.1", "Host: api.example.com", *lines))
        connected.protocol.dataReceived(f"{head}\r\n\r\n{body}".encode())
        return connected

    def upstream(self) -> Transport:
        """An instance has taken the last connection attempted."""
        return self.network.attempts[-1].accepted()

    def ask(self, *lines: str, answer: bytes = OK, **request: Any) -> bytes:
        """What a client gets, where an instance gives this answer if it is asked."""
        attempts = len(self.network.attempts)
        client = self.send(*lines, **request)
        self.reactor.pump(self.turns)  # whatever waits for the next turn
        if len(self.network.attempts) > attempts:
            self.instance = self.upstream()
            self.instance.protocol.dataReceived(answer)
            self.instance.lost()
        got: bytes = client.value()
        return got

    def status(self, *lines: str, **request: Any) -> int:
        """The status that a client gets."""
        return int(self.ask(*lines, **request).split(b" ", 2)[1])

    def open_websocket(self, **request: Any) -> tuple[Transport, Transport]:
        """The two connections of a bridge."""
        client = self.send(*UPGRADE, **request)
        upstream = self.upstream()
        upstream.protocol.dataReceived(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + self.accept_of(upstream.value()) + b"\r\n\r\n"
        )
        self.assertIn(b" 101 ", client.value()[:20])
        return client, upstream

    def accept_of(self, handshake: bytes) -> bytes:
        """What an upstream answers to the key in this handshake (RFC 6455 section 4.2.2)."""
        key = handshake.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
        return b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


class OptionsTests(GatewayCase):
    """The command line."""

    def parse(self, path: str) -> Options:
        options = Options()
        options.parseOptions(["--config", path])
        return options

    def test_configuration(self) -> None:
        """The file that is named is read, and makes the gateway."""
        options = self.parse(self.write(server={"drain": "7s", "shutdown_delay": "2s"}))
        self.assertEqual(options["settings"].server.drain, 7)
        alone = makeService(options)
        assert isinstance(alone, Alone)
        self.assertEqual(alone._end, 9, "what systemd is told that its end takes")

    def test_workers(self) -> None:
        """With workers it makes the supervisor of some, and where a supervisor says so a worker."""
        path = self.write(server={"workers": 2}, redis={"url": "redis://127.0.0.1"})
        self.assertIsInstance(makeService(self.parse(path)), Supervisor)
        place = Place(0, 1, os.dup(0), shares.make(1), {})
        self.addCleanup(os.close, place.control)
        taken = os.dup(0)
        with open(path, "rb") as file:
            os.dup2(file.fileno(), taken)
            self.patch(os, "environ", {**place.give(), snapshot.VARIABLE: str(taken)})
            worker = makeService(self.parse("/of/the/supervisor.toml"))
        assert isinstance(worker, Worker)
        self.assertRaises(OSError, os.fstat, taken)
        gateway: Any = worker._make(self.reactor)
        self.assertEqual((gateway._settings.server.admin, gateway._settings.server.workers), ("", 2))

    def test_none_named(self) -> None:
        """Without a name, the file is looked for where it belongs."""
        path = self.write(server={"drain": "7s"})
        self.patch(tap, "place", lambda: path)
        options = Options()
        options.parseOptions([])
        self.assertEqual(options["settings"].server.drain, 7)

    def test_mistakes(self) -> None:
        """All mistakes are listed in what twistd shows."""
        path = self.write({"upstream": "cor"}, server={"drian": "7s"})
        said = str(self.assertRaises(usage.UsageError, self.parse, path))
        self.assertIn("server.drian: ", said)
        self.assertIn("routes[0].upstream: ", said)

    def test_no_file(self) -> None:
        """A file that is not there is a mistake like any other."""
        self.assertIn("nowhere.toml", str(self.assertRaises(usage.UsageError, self.parse, "nowhere.toml")))


class ListenTests(GatewayCase):
    """Where the gateway listens."""

    def listening(self) -> list[tuple[int, str]]:
        return [(port, interface) for port, _, _, interface in self.reactor.tcpServers]

    def factories(self) -> list[Any]:
        return [factory for _, factory, *_ in self.reactor.tcpServers]

    def test_everywhere_it_should(self) -> None:
        """At all endpoints, and before for operators at another one: where clients are served, they are, too."""
        self.start(server={"listen": ["tcp:3000", "tcp:3001:interface=10.0.0.1"]})
        self.assertEqual(self.listening(), [(9901, "127.0.0.1"), (3000, ""), (3001, "10.0.0.1")])

    def test_no_admin(self) -> None:
        """Not for operators where that is turned off."""
        self.start(server={"admin": ""})
        self.assertEqual(self.listening(), [(3000, "")])

    def test_taken(self) -> None:
        """A port that is taken ends the process, and is named."""

        def taken(port: int, *_: Any, **__: Any) -> None:
            raise CannotListenError("", port, OSError("taken"))

        self.patch(self.reactor, "listenTCP", taken)
        self.assertIn("tcp:9901", str(self.assertRaises(SystemExit, self.start)))

    def test_transports(self) -> None:
        """Connections by TCP send first; those of other kinds stay what they are."""
        ports: list[Any] = []

        class Listening:
            def __init__(self, transport: Any) -> None:
                self.transport = transport
                self.socket = Mock()
                ports.append(self)

        self.patch(self.reactor, "listenTCP", lambda *_, **__: Listening(tcp.Server))
        self.patch(self.reactor, "listenUNIX", lambda *_, **__: Listening(unix.Server))
        self.start(server={"listen": ["tcp:3000", "unix:gateway.sock"], "admin": ""})
        self.assertEqual([port.transport for port in ports], [self.gateway._poller.accept, unix.Server])

    def test_connections_of_a_client(self) -> None:
        """One that has too many is turned away, and others are not."""
        self.start(server={"max_connections_per_client": 1})
        self.assertEqual(
            [self.connect(peer=peer).aborted for peer in ("192.0.2.1", "192.0.2.1", "192.0.2.2")], [False, True, False]
        )

    def test_listening_sockets(self) -> None:
        """Many may wait there; the kernel asks silent peers whether they are there, and sends no one much in vain."""
        port = Mock(transport=tcp.Server)
        self.patch(self.reactor, "listenTCP", lambda *_, **__: port)
        self.start(server={"admin": "", "send_timeout": "7s"})
        port.socket.listen.assert_called_once_with(BACKLOG)
        options = {call.args[:2]: call.args[2] for call in port.socket.setsockopt.call_args_list}
        self.assertEqual(options[socket.SOL_SOCKET, socket.SO_KEEPALIVE], 1)
        self.assertEqual(options[socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT], 14_000)
        self.assertEqual(options[socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT], UNSENT)

    def test_tls(self) -> None:
        """A listener with certificates, behind proxies that say who the client is, reads them again as they change."""
        directory = Path(self.mktemp())
        directory.mkdir()
        file = directory / "a.pem"
        file.write_bytes(Authority("ours").certificate("a"))
        listen = [f"haproxy:tls:{directory}:443", f"tls:{directory}:8443"]
        self.start(server={"workers": 0, "listen": listen, "trusted_proxies": ["10.0.0.1"]})
        factory, other = self.factories()[-2:]
        self.assertIsInstance(factory, ProxyProtocolFactory)
        self.assertIs(factory.inner.wrappedFactory, other.wrappedFactory)
        metrics = self.ask(port=9901, start="GET /metrics").decode()
        self.assertIn(f'smartgate_certificate_expiry_seconds{{file="{file}"}} ', metrics)
        self.assertIn("smartgate_tls_handshake_failures_total 0.0", metrics)
        file.write_bytes(b"")
        log = observed(self)
        self.reactor.advance(RENEWED)
        (said,) = [str(event["text"]) for event in log if "text" in event]
        self.assertEqual(said, f"{file} has no certificate in PEM")
        self.gateway.stopService()

    def test_certificates_of_clients(self) -> None:
        """Whoever may have one is asked for it."""
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "a.pem").write_bytes(Authority("ours").certificate("a"))
        authority = directory / "clients"
        authority.write_bytes(Authority("clients").pem)
        tls = {"client_auth": "optional", "ca_file": str(authority), "roles": {"machine": "service"}}
        self.start(server={"workers": 0, "listen": [f"tls:{directory}:443"]}, tls=tls)
        self.assertIsNotNone(self.factories()[-1].identify)
        self.gateway.stopService()

    def test_certificates_that_are_gone(self) -> None:
        """The process ends when they cannot be read any more."""
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "a.pem").write_bytes(Authority("ours").certificate("a"))
        gateway = Gateway(self.reactor, load(self.write(server={"workers": 0, "listen": [f"tls:{directory}:443"]}), {}))
        (directory / "a.pem").unlink()
        error = self.assertRaises(SystemExit, gateway.startService)
        self.assertIn("has no .pem files", str(error))


class TablesTests(GatewayCase):
    """Every table of the configuration reaches the part it is for."""

    def test_limits_of_a_message(self) -> None:
        """What a client may send."""
        self.start(server={"max_body": 10, "max_head": 200, "max_fields": 3, "max_target": 20})
        self.assertEqual(self.status(), 200)
        self.assertEqual(self.status("Content-Length: 11", start="POST /api"), 413)
        self.assertEqual(self.status("X: " + "x" * 200), 431)
        self.assertEqual(self.status("A: 1", "B: 2", "C: 3"), 431)
        self.assertEqual(self.status(start="GET /api/" + "x" * 16), 414)

    def test_timeouts_of_a_client(self) -> None:
        """How long a client may take."""
        self.start(server={"head_timeout": 2, "body_timeout": 4, "idle_timeout": 8})
        slow_head, slow_body, idle = self.connect(), self.send("Content-Length: 3", start="POST /api"), self.connect()
        slow_head.protocol.dataReceived(b"GET /")
        idle.protocol.dataReceived(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        idle.clear()
        self.upstream()
        for seconds, expected in ((1.9, [b"", b"", False]), (0.2, [b"408", b"", False]), (2, [b"408", b"408", False])):
            self.reactor.advance(seconds)
            got = [slow_head.value()[9:12], slow_body.value()[9:12], idle.disconnecting]
            self.assertEqual(got, expected)
        self.reactor.advance(4)
        self.assertEqual((idle.value(), idle.disconnecting), (b"", True))

    def test_trusted_proxies(self) -> None:
        """Whose word counts."""
        self.start(server={"trusted_proxies": ["10.0.0.0/8"]})
        for peer, told in (("10.0.0.1", b"6.6.6.6, 10.0.0.1"), ("198.51.100.7", b"198.51.100.7")):
            self.ask("X-Forwarded-For: 6.6.6.6", peer=peer)
            self.assertIn(b"X-Forwarded-For: %b\r\n" % told, self.instance.value())

    def test_addresses(self) -> None:
        """Who may come at all, to whatever path."""
        self.start(addresses={"deny": ["198.51.100.0/24"], "allow": ["192.0.2.0/24", "198.51.100.0/24"]})
        for start in ("GET /api", "GET /nowhere", "GET /health"):
            self.assertEqual(self.status(start=start), 403)
        self.assertEqual(self.status(peer="192.0.2.9"), 200)
        self.assertEqual(self.status(peer="203.0.113.1"), 403)

    def test_addresses_of_a_route(self) -> None:
        """Who may come to one path."""
        self.start({}, {"prefix": "/api/inner", "allow": ["10.0.0.0/8"], "deny": ["10.9.0.0/16"]})
        self.assertEqual(self.status(), 200)
        statuses = [self.status(start="GET /api/inner", peer=peer) for peer in ("10.0.0.1", "10.9.0.1", "192.0.2.1")]
        self.assertEqual(statuses, [200, 403, 403])

    def test_tokens(self) -> None:
        """What makes a token valid."""
        table = {"issuer": "us", "audience": "them", "role_claim": "group", "leeway": 5}
        self.start({"auth": "required", "roles": ["admin"]}, jwt=table)
        good: dict[str, Any] = {"iss": "us", "aud": "them", "group": "admin"}
        self.reactor.advance(1000)
        self.assertEqual(self.status(token(**good)), 200)
        self.assertEqual(self.status(token(**good, key=SECRET + "x")), 401)
        claims: dict[str, Any]
        for claims in ({"iss": "me"}, {"aud": "me"}, {"exp": 995}, {"exp": None}):
            self.assertEqual(self.status(token(**{**good, **claims})), 401, claims)
        self.assertEqual(self.status(token(**{**good, "exp": 996})), 200)
        self.assertEqual(self.status(token(**{**good, "group": "user", "role": "admin"})), 403)

    def test_who_must_have_one(self) -> None:
        """None is asked for where there is no auth; an optional one must be good."""
        self.start({}, {"prefix": "/maybe", "auth": "optional"}, {"prefix": "/must", "auth": "required"})
        statuses = [self.status(start=f"GET {path}") for path in ("/api", "/maybe", "/must")]
        self.assertEqual(statuses, [200, 200, 401])
        bad = "Authorization: Bearer x.y.z"
        statuses = [self.status(bad, start=f"GET {path}") for path in ("/api", "/maybe", "/must")]
        self.assertEqual(statuses, [200, 401, 401])

    def test_roles_and_methods(self) -> None:
        """Who may do what."""
        self.start({"auth": "optional", "methods": ["GET", "PUT"], "roles": {"PUT": ["admin"], "*": ["user", "admin"]}})
        user, admin = token(role="user"), token(role="admin")
        asked = [("GET", user), ("PUT", user), ("PUT", admin), ("POST", admin)]
        self.assertEqual([self.status(who, start=f"{method} /api") for method, who in asked], [200, 403, 200, 405])

    def test_rate_limit(self) -> None:
        """How often, by role and in which time; not where a route does not count."""
        limits = {"default": 1, "window": "10s", "roles": {"user": 2, "admin": "unlimited"}}
        free = {"prefix": "/free", "rate_limit": False}
        self.start({"auth": "optional"}, free, rate_limit=limits)
        self.assertEqual([self.status() for _ in range(2)], [200, 429])
        self.assertEqual([self.status(token(role="user")) for _ in range(3)], [200, 200, 429])
        self.assertEqual([self.status(token(sub="root", role="admin")) for _ in range(3)], [200] * 3)
        self.assertEqual([self.status(start="GET /free") for _ in range(3)], [200] * 3)
        self.assertIn(b"RateLimit-Policy: 1;w=10\r\n", self.ask())
        self.reactor.advance(10)
        self.assertEqual(self.status(), 200)

    def test_cors(self) -> None:
        """Which pages may call, and what they may see; on every answer, of unknown paths too."""
        cors = {"origins": ["https://app.example"], "methods": ["PUT"], "allow_headers": ["X-A"], "max_age": 5}
        self.start(cors=cors | {"expose_headers": ["X-B"], "credentials": True})
        page = "Origin: https://app.example"
        preflight = self.ask(page, "Access-Control-Request-Method: PUT", start="OPTIONS /api")
        for line in ("Allow-Methods: PUT", "Allow-Headers: X-A", "Max-Age: 5", "Allow-Credentials: true"):
            self.assertIn(f"Access-Control-{line}\r\n".encode(), preflight)
        theirs = b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 0\r\n\r\n"
        for answer in (
            self.ask(page, answer=theirs),
            self.ask(page, start="GET /x"),
            self.ask(page, start="GET /ready"),
        ):
            self.assertEqual(answer.count(b"Access-Control-Allow-Origin: "), 1)
            self.assertIn(b"Access-Control-Allow-Origin: https://app.example\r\n", answer)
            self.assertIn(b"X-B", answer)
        self.assertNotIn(b"Access-Control", self.ask("Origin: https://evil.example"))

    def test_security_headers(self) -> None:
        """On every answer; an instance's own where the route says so."""
        theirs = b"HTTP/1.1 200 OK\r\nReferrer-Policy: origin\r\nX-Frame-Options: ALLOW\r\nContent-Length: 0\r\n\r\n"
        table = {"X-Frame-Options": "DENY", "X-Download-Options": ""}
        self.start({"upstream_headers": ["Referrer-Policy"]}, security_headers=table)
        for answer in (self.ask(answer=theirs), self.ask(start="GET /nowhere"), self.ask(start="GET /health")):
            self.assertEqual((answer.count(b"X-Frame-Options: "), answer.count(b"X-Frame-Options: DENY\r\n")), (1, 1))
            self.assertNotIn(b"X-Download-Options", answer)
        self.assertIn(b"Referrer-Policy: origin\r\n", self.ask(answer=theirs))
        self.assertIn(b"Referrer-Policy: no-referrer\r\n", self.ask(start="GET /nowhere"))

    def test_access_log(self) -> None:
        """Where a line a request goes."""
        path = Path(self.mktemp())
        self.start(access_log={"path": str(path)})
        self.ask()
        self.ask(start="GET /nowhere")
        self.reactor.advance(1)
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        self.assertEqual([(line["route"], line["status"]) for line in lines], [("/api", 200), ("", 404)])

    def test_client_that_leaves(self) -> None:
        """Is logged with a status that says so."""
        path = Path(self.mktemp())
        self.start(access_log={"path": str(path)})
        self.send().lost()
        self.reactor.advance(1)
        line = json.loads(path.read_text())
        self.assertEqual((line["status"], line["complete"]), (499, False))

    def test_websocket(self) -> None:
        """How large a message may be, how long a peer may be silent, and which pages may connect."""
        table = {"max_message": 10, "idle_ping": 30}
        self.start({"websocket": True}, websocket=table, cors={"origins": ["https://app.example"]})
        self.assertEqual(self.status(), 426)
        self.assertEqual(self.status(*UPGRADE, "Origin: https://evil.example"), 403)
        client, upstream = self.open_websocket()
        self.reactor.pump([15] * 3)
        self.assertEqual(frames(client.value())[:1], b"\x89")
        client.clear()
        client.protocol.dataReceived(b"\x82\x8b" + bytes(15))
        upstream.protocol.dataReceived(b"\x88\x02\x03\xe9")  # it goes, too, once it has answered the rest
        self.assertIn((1009).to_bytes(2, "big"), client.value())

    def test_websocket_in_the_log(self) -> None:
        """A socket has a line when it opens and one when it has closed."""
        path = Path(self.mktemp())
        self.start({"websocket": True}, access_log={"path": str(path)})
        client, upstream = self.open_websocket()
        self.reactor.advance(1)
        self.assertEqual(json.loads(path.read_text())["event"], "open")
        client.lost()
        upstream.lost()
        self.reactor.advance(1)
        self.assertEqual(json.loads(path.read_text().splitlines()[-1])["event"], "close")

    def test_upstreams(self) -> None:
        """Where requests go, and in which turn."""
        instances = ["http://192.0.2.1:1", "http://192.0.2.2:2"]
        self.start(upstream={"instances": instances, "balance": "round-robin"})
        for _ in range(3):
            self.ask()
        self.assertEqual(self.network.hosts, ["192.0.2.1", "192.0.2.2", "192.0.2.1"])

    def test_balance(self) -> None:
        """Or away from those that are busy."""
        instances = ["http://192.0.2.1:1", "http://192.0.2.2:2", "http://192.0.2.3:3"]
        self.start(upstream={"instances": instances, "balance": "least-requests"})
        self.send()
        busy = self.network.hosts[0]
        for _ in range(4):
            self.ask()
        self.assertNotIn(busy, self.network.hosts[1:])

    def test_weights(self) -> None:
        """Some get more than others."""
        instances = ["http://192.0.2.1:1", {"url": "http://192.0.2.2:2", "weight": 3}]
        self.start(upstream={"instances": instances})
        for _ in range(4):
            self.ask()
        self.assertEqual(self.network.hosts.count("192.0.2.2"), 3)

    def test_hash(self) -> None:
        """A client always comes to the same one."""
        instances = ["http://192.0.2.1:1", "http://192.0.2.2:2", "http://192.0.2.3:3"]
        self.start(upstream={"instances": instances, "balance": "hash", "hash_on": "client"})
        for _ in range(4):
            self.ask()
        self.assertEqual(len(set(self.network.hosts)), 1)

    def test_discovery(self) -> None:
        """Until DNS has an instance, nobody is served, and the gateway is not ready; it is asked until the end."""
        questions = self.discovered({"discover": "dns://core.internal:3002"}, servers=["192.0.2.53", "[::1]:5353"])
        refused = self.ask()
        self.assertIn(b" 503 ", refused[:20])
        self.assertIn(b"\r\nRetry-After: 1\r\n", refused)
        self.assertIn(b'"dns":"failing"', self.ask(start="GET /ready"))
        answer = dns.RRHeader("core.internal", dns.A, ttl=60, payload=dns.Record_A("192.0.2.7"))
        questions.pop(0).callback(([answer], [], []))
        questions.pop(0).callback(([], [], []))
        self.ask()
        self.assertTrue(self.instance.value().startswith(b"GET /api/x HTTP/1.1\r\nHost: core.internal:3002\r\n"))
        self.assertEqual(self.network.hosts, ["192.0.2.7"])
        self.assertIn(b'"dns":"ok"', self.ask(start="GET /ready"))
        self.assertEqual(self.servers, [("192.0.2.53", 53), ("::1", 5353)])
        self.reactor.advance(66)
        self.assertEqual(len(questions), 2)
        stopped = self.gateway.stopService()
        self.reactor.pump([30, CUT_TIMEOUT])
        self.successResultOf(stopped)
        self.reactor.advance(66)
        self.assertEqual(len(questions), 2)

    def discovered(self, upstream: dict[str, Any], **table: Any) -> list[Deferred[Any]]:
        """Start a gateway with such an upstream; returns the questions that wait for an answer."""
        questions: list[Deferred[Any]] = []

        def query(_: object) -> Deferred[Any]:
            questions.append(Deferred())
            return questions[-1]

        def resolver(reactor: Any, servers: Any) -> Any:
            self.servers = servers
            return Mock(query=query)

        self.patch(upstreams, "make_resolver", resolver)
        self.patch(upstreams, "local_addresses", lambda name: [])
        self.start(upstream={"instances": [], **upstream}, dns=table)
        return questions

    def test_timeouts_of_an_upstream(self) -> None:
        """How long an instance may take; what a route says counts before what its upstream says."""
        upstream = {"connect_timeout": 2, "first_byte_timeout": 4, "idle_timeout": 6}
        hasty = {"connect_timeout": 1, "first_byte_timeout": 2, "idle_timeout": 3}
        self.start({}, {"prefix": "/hasty"} | hasty, upstream=upstream)
        for start, factor in (("GET /api", 2), ("GET /hasty", 1)):
            client = self.send(start=start)
            self.reactor.advance(factor)  # and one more try
            self.reactor.advance(factor - 0.1)
            self.assertEqual(client.value(), b"")
            self.reactor.advance(0.1)
            self.assertIn(b" 504 ", client.value()[:20])
            client = self.send(start=start)
            self.upstream()
            self.reactor.advance(factor * 2 - 0.1)
            self.assertEqual(client.value(), b"")
            self.reactor.advance(0.1)
            self.assertIn(b" 504 ", client.value()[:20])
            client = self.send(start=start)
            self.upstream().protocol.dataReceived(OK[:-1])
            self.reactor.advance(factor * 3 - 0.1)
            self.assertFalse(client.aborted)
            self.reactor.advance(0.1)
            self.assertTrue(client.aborted)

    def test_pool_of_an_upstream(self) -> None:
        """How many connections are kept, and for how long."""
        self.start(upstream={"max_idle": 1, "keep_alive": 20})
        asked = []
        for _ in range(2):
            self.send()
            asked.append(self.upstream())
        for upstream in asked:
            upstream.protocol.dataReceived(OK)
        self.assertEqual([upstream.aborted for upstream in asked], [False, True])
        self.reactor.advance(20)
        self.assertTrue(asked[0].aborted)

    def test_authorities_of_an_upstream(self) -> None:
        """Whose certificates count: a file that is gone since it was checked ends the start."""
        path = Path(self.mktemp())
        path.write_bytes(Authority("ours").pem)
        settings = load(self.write(upstream={"instances": ["https://192.0.2.1"], "ca_file": str(path)}), {})
        self.assertIsInstance(Gateway(self.reactor, settings), Gateway)
        path.unlink()
        self.assertRaises(FileNotFoundError, Gateway, self.reactor, settings)

    def test_routes(self) -> None:
        """The longest prefix counts; what it says of the request it passes on, and of its size."""
        stripped = {"prefix": "/api/stripped", "strip_prefix": True, "preserve_host": True, "max_body": 3}
        self.start(stripped, {})
        self.ask(start="GET /api/stripped/x?y")
        self.assertTrue(self.instance.value().startswith(b"GET /x?y HTTP/1.1\r\nHost: api.example.com\r\n"))
        self.ask(start="GET /api/x?y")
        self.assertTrue(self.instance.value().startswith(b"GET /api/x?y HTTP/1.1\r\nHost: 192.0.2.1:8080\r\n"))
        self.assertEqual(self.status("Content-Length: 4", start="POST /api/stripped"), 413)
        self.assertEqual(self.status("Content-Length: 4", start="POST /api", body="body"), 200)

    def test_own_paths(self) -> None:
        """Health and readiness without a token, exactly there; nothing at all at paths of no route."""
        self.start({"auth": "required"})
        paths = ("/health", "/ready", "/health/x", "/nowhere")
        self.assertEqual([self.status(start=f"GET {path}") for path in paths], [200, 200, 404, 404])
        self.assertIn(b'{"code":"NOT_FOUND"', self.ask(start="GET /nowhere"))


class HealthTests(GatewayCase):
    """What the configuration says of instances, their health and their limits."""

    two = {"instances": ["http://192.0.2.1:8080", "http://192.0.2.2:8080"]}

    def up(self) -> list[bytes]:
        """Whether each instance is used."""
        metrics = self.ask(start="GET /metrics", port=9901)
        return [line[-3:] for line in metrics.split(b"\n") if line.startswith(b"smartgate_upstream_up{")]

    def test_probes(self) -> None:
        """An instance that does not answer its probes is not used, and probed until the gateway stops."""
        probing = {"path": "/alive", "interval": 1, "timeout": 0.5, "fall": 1}
        gateway = self.start(upstream=self.two | {"health": probing})
        for _ in range(20):
            self.reactor.advance(0.1)
            for attempt in self.network.attempts:
                if attempt.host == "192.0.2.1" and attempt.state == "connecting":
                    probe = attempt.accepted()
                    self.assertTrue(probe.value().startswith(b"GET /alive HTTP/1.1\r\n"))
                    probe.protocol.dataReceived(OK)
        self.assertEqual(self.up(), [b"1.0", b"0.0"])
        gateway.stopService()
        asked = len(self.network.attempts)
        self.reactor.pump([1] * 60)
        self.assertEqual(len(self.network.attempts), asked)

    def test_ejection(self) -> None:
        """After so many errors an instance is not used."""
        self.start(upstream=self.two | {"ejection": {"errors": 1}})
        self.ask(answer=b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(self.up(), [b"0.0", b"1.0"])

    def test_retries(self) -> None:
        """Without a budget nothing is sent twice."""
        self.start(upstream=self.two | {"connect_timeout": 0.1, "retries": {"budget": 0, "minimum": 0}})
        client = self.send()
        self.upstream().lost()
        self.reactor.pump([0.1] * 3)
        self.assertIn(b" 502 ", client.value()[:20])

    def test_limits(self) -> None:
        """Beyond them it is 503."""
        self.start(upstream={"limits": {"connections": 1, "pending": 0}})
        self.send()
        self.assertEqual(self.status(), 503)


class RedisTests(GatewayCase):
    """The store that is shared."""

    turns = (0, 0.1, 0.1)  # so that who waits for Redis does so in vain

    def setUp(self) -> None:
        super().setUp()
        self.patch(txredisapi, "reactor", self.reactor)

    def redis(self) -> Transport:
        """Redis has taken the connection."""
        self.reactor.advance(0)
        host, port, factory, *_ = self.reactor.tcpClients[-1]  # the first one is for the records
        self.assertEqual((host, port), ("127.0.0.1", 6379))
        transport = Transport()
        transport.protocol = factory.buildProtocol(IPv4Address("TCP", host, port))
        transport.protocol.makeConnection(transport)
        self.assertIn(b"SELECT", transport.value())
        transport.protocol.dataReceived(b"+OK\r\n")
        self.reactor.advance(0)
        transport.clear()
        return transport

    def begin(self, **table: Any) -> None:
        """A gateway with Redis, though it is not there yet."""
        self.start(redis={"url": "redis://127.0.0.1:6379/5"} | table, rate_limit={"default": 1, "prefix": "mine:"})

    def test_asked(self) -> None:
        """What a client has used is counted under the prefix, and the round trip is measured."""
        self.begin()
        redis = self.redis()
        client = self.send()
        self.reactor.advance(0)
        self.assertIn(b"mine:ip:198.51.100.7", redis.value())
        self.assertEqual((client.value(), self.network.attempts), (b"", []))
        redis.protocol.dataReceived(b"*2\r\n:2\r\n:60000\r\n")
        self.assertIn(b" 429 ", client.value()[:20])
        metrics = self.ask(start="GET /metrics", port=9901)
        self.assertIn(b"smartgate_redis_round_trips_total 1.0\n", metrics)
        self.assertIn(b"smartgate_redis_questions_total 1.0\n", metrics)

    def test_too_slow(self) -> None:
        """After its time the policy answers in place of Redis."""
        self.begin(timeout="1s", on_failure="closed")
        self.redis()
        client = self.send()
        self.reactor.advance(0)
        self.reactor.advance(0.9)
        self.assertEqual(client.value(), b"")
        self.reactor.pump([0.1, 0.1])
        self.assertIn(b" 503 ", client.value()[:20])

    def test_away(self) -> None:
        """Without Redis limits hold in this process, are not held, or nobody passes; only then the store fails."""
        for policy, expected in (("local", [200, 429]), ("open", [200, 200]), ("closed", [503, 503])):
            self.reactor = MemoryReactorClock()
            self.begin(on_failure=policy)
            self.assertEqual([self.status() for _ in range(2)], expected, policy)
            ready = self.ask(start="GET /ready")
            self.assertIn(b'"store":"failing"' if policy == "closed" else b'"store":"degraded"', ready)
            metrics = self.ask(start="GET /metrics", port=9901)
            self.assertIn(b'smartgate_redis_degraded{server="127.0.0.1:6379/5"} 1.0', metrics)

    def test_several_servers(self) -> None:
        """Each has its own connection, and its own state."""
        self.start(redis={"url": ["redis://127.0.0.1:7001", "redis://127.0.0.1:7002/1"]})
        self.reactor.advance(0)
        self.assertEqual(len(self.network.attempts), 4)
        metrics = self.ask(start="GET /metrics", port=9901)
        self.assertIn(b'smartgate_redis_degraded{server="127.0.0.1:7001/0"} 1.0', metrics)
        self.assertIn(b'smartgate_redis_degraded{server="127.0.0.1:7002/1"} 1.0', metrics)

    def test_sentinel(self) -> None:
        """The Sentinels are asked, with a password of their own, where the master is."""
        url = "sentinel://:pw@127.0.0.1:7003/mymaster"
        self.start(redis={"url": url, "sentinel_password": "hush"})
        self.reactor.pump([0, 0])
        self.assertEqual(len(self.network.attempts), 2)

    def test_tokens_without_redis(self) -> None:
        """Nor is any token good where the policy says so."""
        closed = {"url": "redis://127.0.0.1", "revocation_on_failure": "closed"}
        self.start({"auth": "required"}, redis=closed)
        self.assertEqual(self.status(token(jti="a")), 503)


class PublishedKeysTests(GatewayCase):
    """Keys behind a URL."""

    def setUp(self) -> None:
        super().setUp()
        self.one, self.two = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        table = {"algorithms": ["EdDSA"], "jwks_url": "http://127.0.0.1:8100/keys", "secret": ""}
        self.start({"auth": "required"}, jwt=table)

    def publish(self, **keys: Ed25519PrivateKey) -> None:
        """The issuer answers the fetch under way with these keys."""
        host, port, factory, *_ = self.reactor.tcpClients.pop()
        self.assertEqual((host, port), ("127.0.0.1", 8100))
        transport = Transport()
        transport.protocol = factory.buildProtocol(IPv4Address("TCP", host, port))
        transport.protocol.makeConnection(transport)
        self.assertTrue(transport.value().startswith(b"GET /keys HTTP/1.1\r\n"))
        members = [{**OKPAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid} for kid, key in keys.items()]
        body = json.dumps({"keys": members}).encode()
        transport.protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    def with_key(self, kid: str, key: Ed25519PrivateKey) -> int:
        """The status of a request with a token that this key has signed."""
        return self.status(token(key, "EdDSA", kid))

    def test_not_known_yet(self) -> None:
        """Until there are keys no token can be told, and the gateway is not ready."""
        ready = self.ask(start="GET /ready")
        self.assertIn(b" 503 ", ready[:20])
        self.assertIn(b'"keys":"failing"', ready)
        self.publish(one=self.one)
        self.assertEqual(self.status(start="GET /ready"), 200)
        self.assertEqual(self.with_key("one", self.one), 200)

    def test_changed(self) -> None:
        """New keys count at once, and what was verified with those that are gone does not any longer."""
        self.publish(one=self.one)
        self.assertEqual((self.with_key("one", self.one), self.with_key("two", self.two)), (200, 401))
        self.reactor.advance(MAX_AGE)
        self.publish(two=self.two)
        self.assertEqual((self.with_key("one", self.one), self.with_key("two", self.two)), (401, 200))

    def test_unknown(self) -> None:
        """A token whose key is not known waits for the keys to be fetched."""
        self.publish(one=self.one)
        self.reactor.advance(60)
        client = self.send(token(self.two, "EdDSA", "two"))
        self.assertEqual((client.value(), self.network.attempts), (b"", []))
        self.publish(two=self.two)
        self.assertEqual(self.network.hosts, ["192.0.2.1"])

    def test_stopped(self) -> None:
        """A gateway that has stopped fetches nothing."""
        self.publish(one=self.one)
        self.successResultOf(self.gateway.stopService())
        self.reactor.advance(MAX_AGE)
        self.assertEqual(self.reactor.tcpClients, [])


class AdminTests(GatewayCase):
    """What operators ask."""

    def test_paths(self) -> None:
        """Metrics, health, readiness, and nothing else."""
        self.start(addresses={"deny": ["127.0.0.1"]})
        for path, expected in {"/metrics": 200, "/health": 200, "/ready": 200, "/": 404, "/api": 404}.items():
            self.assertEqual(self.status(start=f"GET {path}", port=9901, peer="127.0.0.1"), expected, path)

    def test_metrics(self) -> None:
        """What was asked, refused and failed, and what is open now."""
        self.start({"websocket": True, "prefix": "/ws"}, {"auth": "optional"})
        self.ask()
        self.ask("Authorization: Bearer x.y.z")
        self.ask(answer=b"nonsense\r\n\r\n")
        self.open_websocket(start="GET /ws")
        metrics = self.ask(start="GET /metrics", port=9901)
        for line in (
            b'smartgate_requests_total{class="2xx",route="/api"} 1.0',
            b'smartgate_refusals_total{guard="authenticate",status="401"} 1.0',
            b'smartgate_upstream_errors_total{reason="no_answer",upstream="core"} 1.0',
            b"smartgate_open_websockets 1.0",
            b"smartgate_open_connections 4.0",
            b"smartgate_access_log_dropped_total 0.0",
        ):
            self.assertIn(line + b"\n", metrics)

    def test_metrics_of_upstreams(self) -> None:
        """Which instances are used, and what is held against the limits."""
        self.start(upstream={"instances": ["http://192.0.2.1:8080", "http://192.0.2.2:8080"]})
        self.send()
        self.upstream().lost()
        self.upstream().protocol.dataReceived(OK)
        metrics = self.ask(start="GET /metrics", port=9901)
        for line in (
            b'smartgate_upstream_up{instance="192.0.2.1:8080",upstream="core"} 1.0',
            b'smartgate_upstream_requests{upstream="core"} 0.0',
            b'smartgate_upstream_connections{upstream="core"} 1.0',
            b'smartgate_upstream_pending{upstream="core"} 0.0',
            b'smartgate_upstream_uploads{upstream="core"} 0.0',
            b'smartgate_upstream_ejections_total{upstream="core"} 0.0',
            b'smartgate_upstream_retries_total{upstream="core"} 1.0',
            b'smartgate_upstream_refused_total{limit="pending",upstream="core"} 0.0',
        ):
            self.assertIn(line + b"\n", metrics)

    def test_not_counted(self) -> None:
        """What operators ask is no traffic."""
        self.start()
        self.ask(start="GET /health", port=9901)
        self.assertNotIn(b"smartgate_requests_total{", self.ask(start="GET /metrics", port=9901))


class WorkerTests(GatewayCase):
    """What a supervisor asks of a gateway."""

    def test_seen(self) -> None:
        """Whether it is ready, what is open, and its metrics."""
        self.start({"websocket": True})
        self.open_websocket()
        self.assertIs(self.successResultOf(self.gateway.ready()), True)
        self.assertEqual((self.gateway.connections, self.gateway.websockets), (1, 1))
        self.assertIn("smartgate_build_info", [family.name for family in self.gateway.registry.collect()])

    def test_not_ready(self) -> None:
        """It is not ready before its records were read."""
        self.start(redis={"url": "redis://127.0.0.1"})
        ready = self.gateway.ready()
        self.reactor.advance(1)
        self.assertIs(self.successResultOf(ready), False)

    def test_started(self) -> None:
        """It can get ready before it listens."""
        gateway = Gateway(self.reactor, load(self.write(), {}))
        gateway.start()
        self.assertEqual(self.reactor.tcpServers, [])
        gateway.listen()
        self.assertEqual(len(self.reactor.tcpServers), 2)
        gateway.stopService()

    def test_reopen(self) -> None:
        """The access log is opened anew; where that fails it stays."""
        path = Path(self.mktemp())
        self.start(access_log={"path": str(path)})
        path.unlink()
        self.gateway.reopen()
        self.assertTrue(path.exists())
        path.unlink()
        path.mkdir()
        log = observed(self)
        self.gateway.reopen()
        self.assertIn("stays as it is", str(log[-1]["log_format"]))

    def test_retire(self) -> None:
        """Connections have one more answer, and streams their time; then all is closed, a little at a time."""
        self.start({"websocket": True}, {"prefix": "/sse"}, server={"drain": "20s", "head_timeout": "1m"})
        idle = self.send(start="GET /sse")
        self.upstream().protocol.dataReceived(OK)
        stream = self.send(start="GET /sse")
        self.upstream().protocol.dataReceived(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
        socket, _ = self.open_websocket()
        last = self.connect()
        retired = self.gateway.retire()
        self.assertFalse(idle.disconnecting)
        self.assertNotIn(b"Connection: close", idle.value())
        idle.clear()
        idle.protocol.dataReceived(b"GET /sse HTTP/1.1\r\nHost: a\r\n\r\n")
        self.upstream().protocol.dataReceived(OK)
        self.assertIn(b"Connection: close\r\n", idle.value())
        self.reactor.advance(9.9)
        self.assertFalse(last.disconnecting)
        self.reactor.advance(0.2)
        self.assertTrue(last.disconnecting)
        self.reactor.advance(9.8)
        self.assertEqual((frames(socket.value()), stream.aborted), (b"", False))
        self.reactor.advance(0.2)
        self.assertEqual(frames(socket.value())[2:4], (1012).to_bytes(2, "big"))
        self.reactor.advance(PARTING)
        self.assertTrue(stream.aborted)
        self.assertNoResult(retired)
        for each in (idle, stream, socket, last):
            each.lost()
        self.reactor.pump([CLOSE_TIMEOUT, CUT_TIMEOUT])
        self.successResultOf(retired)

    def test_retire_and_stop(self) -> None:
        """One that retires can be told to stop, and needs no longer than any other."""
        self.start(server={"drain": "20s"})
        client = self.send()
        retired = self.gateway.retire()
        stopped = self.gateway.stopService()
        self.reactor.advance(20)
        self.assertTrue(client.aborted)
        client.lost()
        self.successResultOf(retired)
        self.successResultOf(stopped)

    def test_hurry(self) -> None:
        """What is open is cut, and it is over."""
        self.start()
        client = self.send()
        stopped = self.gateway.stopService()
        self.gateway.hurry()
        self.assertTrue(client.aborted)
        client.lost()
        self.successResultOf(stopped)


class StopTests(GatewayCase):
    """The end."""

    def test_idle(self) -> None:
        """Without a request under way it ends as soon as the clients' connections have; an instance's too."""
        self.start()
        client = self.send()
        upstream = self.upstream()
        upstream.protocol.dataReceived(OK)
        stopped = self.gateway.stopService()
        self.assertTrue(client.disconnecting)
        self.assertNoResult(stopped)
        client.lost()
        self.successResultOf(stopped)
        self.assertTrue(upstream.aborted)

    def test_nobody(self) -> None:
        """Without clients it ends at once."""
        self.start()
        self.successResultOf(self.gateway.stopService())

    def test_listens_no_more(self) -> None:
        """No listener is left when it has ended, however long one takes to close."""
        closing: list[Deferred[None]] = []

        class Listening:
            def stopListening(self) -> Deferred[None] | None:
                closing.append(Deferred())
                return closing[-1] if len(closing) == 1 else None

        self.patch(self.reactor, "listenTCP", lambda *_, **__: Listening())
        self.start()
        stopped = self.gateway.stopService()
        self.assertEqual(len(closing), 2)
        self.assertNoResult(stopped)
        closing[0].callback(None)
        self.successResultOf(stopped)

    def test_request_under_way(self) -> None:
        """It is answered to its end, as the last of its connection."""
        self.start(server={"drain": "5s"})
        client = self.send()
        upstream = self.upstream()
        stopped = self.gateway.stopService()
        self.reactor.advance(4.9)
        self.assertEqual((client.disconnecting, client.aborted), (False, False))
        upstream.protocol.dataReceived(OK)
        self.assertIn(b"Connection: close\r\n", client.value())
        self.assertTrue(client.half_closed)
        self.assertNoResult(stopped)
        client.lost()
        self.successResultOf(stopped)

    def test_request_that_takes_too_long(self) -> None:
        """It is cut after the time for that, and counted and logged all the same."""
        path = Path(self.mktemp())
        self.start(server={"drain": "5s"}, access_log={"path": str(path)})
        client = self.send()
        stopped = self.gateway.stopService()
        self.reactor.advance(4.9)
        self.assertFalse(client.aborted)
        self.reactor.advance(0.1)
        self.assertTrue(client.aborted)
        self.assertNoResult(stopped)
        client.lost()
        self.successResultOf(stopped)
        self.assertEqual(json.loads(path.read_text())["status"], 499)

    def test_websockets(self) -> None:
        """They are told that the gateway restarts, and are not cut."""
        self.start({"websocket": True}, server={"drain": "5s"})
        client, upstream = self.open_websocket()
        stopped = self.gateway.stopService()
        self.assertEqual(frames(client.value())[:4], b"\x88" + frames(client.value())[1:2] + (1012).to_bytes(2, "big"))
        self.assertEqual(client.aborted, False)
        client.lost()
        upstream.lost()
        self.successResultOf(stopped)

    def test_shutdown_delay(self) -> None:
        """It serves on, not ready any more, and each answer is the last; only then it drains."""
        self.start(server={"shutdown_delay": "5s", "drain": "5s"})
        self.assertEqual(self.status(start="GET /ready"), 200)
        idle = self.connect()
        stopped = self.gateway.stopService()
        self.assertEqual(self.status(start="GET /ready"), 503)
        self.reactor.advance(4.9)
        self.assertIn(b"Connection: close\r\n", self.ask())
        self.assertFalse(idle.disconnecting)
        under_way = self.send()
        self.reactor.advance(0.1)
        self.assertTrue(idle.disconnecting)
        self.reactor.advance(4.9)
        self.assertFalse(under_way.aborted)
        self.assertNoResult(stopped)
        self.reactor.advance(0.1)
        self.assertTrue(under_way.aborted)

    def test_shutdown_delay_hurry(self) -> None:
        """Told once more, it waits for nothing."""
        self.start(server={"shutdown_delay": "5s"})
        client = self.send()
        stopped = self.gateway.stopService()
        self.gateway.hurry()
        self.assertTrue(client.aborted)
        client.lost()
        self.successResultOf(stopped)

    def test_cut_and_never_told(self) -> None:
        """A connection whose end nobody hears of does not keep the gateway."""
        self.start()
        self.send()
        stopped = self.gateway.stopService()
        self.gateway.hurry()
        self.reactor.advance(CUT_TIMEOUT * 0.9)
        self.assertNoResult(stopped)
        self.reactor.advance(CUT_TIMEOUT * 0.1)
        self.successResultOf(stopped)

    def test_operators(self) -> None:
        """Their connections are cut: they have no request worth waiting for."""
        self.start()
        operator = self.connect(9901)
        self.successResultOf(self.gateway.stopService())
        self.assertTrue(operator.aborted)

    def test_redis(self) -> None:
        """The connection to Redis is closed."""
        self.start(redis={"url": "redis://127.0.0.1"})
        self.successResultOf(self.gateway.stopService())
        before = len(self.reactor.tcpClients)
        self.reactor.pump([1] * 60)
        self.assertEqual(len(self.reactor.tcpClients), before)
