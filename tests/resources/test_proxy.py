"""Tests of gateway.resources.proxy."""

from __future__ import annotations

import gc
import tracemalloc
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

from twisted.internet.address import IPv4Address
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from gateway.core.addresses import Networks
from gateway.core.errors import UpstreamFailed
from gateway.core.tokens import Claims
from gateway.http.site import Limits, Site
from gateway.resources.proxy import ProxySettings, ReverseProxyResource
from gateway.upstreams.cluster import Cluster
from gateway.upstreams.health import ClusterHealth
from gateway.upstreams.instance import Instance
from tests.upstreams.network import Network, Transport

PLAIN: Any = SimpleNamespace(secure=False)
"""All that the lines of an answer depend on in its request."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class SecureTransport(Transport):
    """A client's connection by TLS."""

    def getPeerCertificate(self) -> None:
        """Clients have none."""


class Verified(Resource):
    """In front of the proxy: the token is verified."""

    isLeaf = True

    def __init__(self, leaf: ReverseProxyResource, claims: Claims | None) -> None:
        super().__init__()
        self.leaf = leaf
        self.claims = claims

    def render(self, request: Any) -> int:
        request.claims = self.claims
        return self.leaf.render(request)


class ProxyCase(SynchronousTestCase):
    """A client, the proxy and an instance on a network in memory."""

    peer = "198.51.100.7"
    claims: Claims | None = None
    client_transport: type[Transport] = Transport
    client: Transport
    instance: Transport | None

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.network = Network(self.reactor)
        self.failures: list[tuple[str, str]] = []
        self.settings: dict[str, Any] = {
            "stripped_prefix": b"",
            "preserve_host": False,
            "connect_timeout": 3.0,
            "first_byte_timeout": 60.0,
            "idle_timeout": 300.0,
            "security": {"X-Frame-Options": "DENY", "X-Own": "1"},
        }

    def leaf(self) -> ReverseProxyResource:
        health = ClusterHealth("core", self.reactor)
        cluster = Cluster("core", [Instance(self.reactor, "http://192.0.2.1:8080")], "round-robin", health)
        settings = ProxySettings(**self.settings)
        return ReverseProxyResource(cluster, settings, lambda *why: self.failures.append(why))

    def send(self, request: bytes) -> None:
        """A new client sends a request; the instance takes the connection, if one is attempted."""
        leaf: Any = Verified(self.leaf(), self.claims)
        trusted = Networks([ip_network("10.0.0.0/8")])
        site = Site(self.reactor, lambda path: leaf, lambda request: None, Limits(), trusted)
        channel = site.buildProtocol(None)
        self.client = self.client_transport(peerAddress=IPv4Address("TCP", self.peer, 4000))
        channel.makeConnection(self.client)
        attempts = len(self.network.attempts)
        channel.dataReceived(request)
        self.instance = self.network.attempts[-1].accepted() if len(self.network.attempts) > attempts else None

    def forwarded(self, *lines: str, start: str = "GET /api/x HTTP/1.1", body: bytes = b"") -> list[str]:
        """The lines that the instance gets of a request, the empty one and its body last."""
        head = "\r\n".join((start, "Host: api.example.com", *lines))
        self.send(head.encode("latin-1") + b"\r\n\r\n" + body)
        assert self.instance is not None, self.client.value()
        got: bytes = self.instance.value()
        return got.decode("latin-1").split("\r\n")

    def values(self, name: str, *lines: str, **request: Any) -> list[str]:
        """The values that the instance gets of a field."""
        passed = (line.partition(": ") for line in self.forwarded(*lines, **request))
        return [value for given, _, value in passed if given.lower() == name.lower()]

    def answered(self, answer: bytes) -> list[str]:
        """The lines that a client gets of an instance's answer."""
        self.forwarded()
        assert self.instance is not None
        self.instance.protocol.dataReceived(answer)
        got: bytes = self.client.value()
        return got.decode("latin-1").split("\r\n")

    def answered_fields(self, *lines: str) -> list[str]:
        """The field lines that a client gets of an answer with these, but for its length and request id."""
        answer = "\r\n".join(("HTTP/1.1 200 OK", "Content-Length: 0", *lines)) + "\r\n\r\n"
        got = self.answered(answer.encode("latin-1"))
        self.assertEqual((got[0], got[1], got[-2:]), ("HTTP/1.1 200 OK", "Content-Length: 0", ["", ""]))
        return [line for line in got[2:-2] if not line.startswith("X-Request-ID: ")]


class OwnFieldsTests(ProxyCase):
    """What the gateway tells an instance about a request."""

    def test_stranger(self) -> None:
        """Who came from where; what a client that is not trusted says of that is not believed."""
        told = (
            "X-Forwarded-For: 6.6.6.6",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: evil",
            "X-Request-ID: " + "6" * 8,
        )
        lines = self.forwarded(*told, "Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6")
        for expected in (
            "X-Forwarded-For: 198.51.100.7",
            "X-Forwarded-Proto: http",
            "X-Forwarded-Host: api.example.com",
            "Via: 1.1 smartgate",
        ):
            self.assertEqual(lines.count(expected), 1, expected)
        self.assertNotIn("6.6.6.6", str(lines))
        self.assertNotIn("evil", str(lines))
        self.assertNotIn("66666666", str(lines))

    def test_trusted_proxy(self) -> None:
        """What a trusted proxy says is passed on, with its own address after those it named."""
        self.peer = "10.0.0.1"
        told = ("X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https", "X-Forwarded-Host: shop.example")
        lines = self.forwarded(*told, "X-Request-ID: 0123456789")
        for expected in (
            "X-Forwarded-For: 203.0.113.9, 10.0.0.1",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: shop.example",
            "X-Request-ID: 0123456789",
        ):
            self.assertEqual(lines.count(expected), 1, expected)

    def test_trusted_proxy_that_says_nothing(self) -> None:
        """Then it is the client itself."""
        self.peer = "10.0.0.1"
        lines = self.forwarded()
        self.assertIn("X-Forwarded-For: 10.0.0.1", lines)
        self.assertIn("X-Forwarded-Host: api.example.com", lines)

    def test_tls(self) -> None:
        """A client that came by TLS is told as such."""
        self.client_transport = SecureTransport
        self.assertEqual(self.values("X-Forwarded-Proto"), ["https"])

    def test_via(self) -> None:
        """The gateway comes after those on the way before it."""
        self.assertEqual(self.values("Via", "Via: 1.0 a", "Via: 1.1 b"), ["1.0 a, 1.1 b, 1.1 smartgate"])

    def test_user(self) -> None:
        """A verified user is named, and only so."""
        self.claims = Claims("ann", "user", "id", 0.0, 9e9)
        sent = ("X-User-Id: root", "x_user_id: root", "X-User_Role: admin", "X-User-Anything: x")
        lines = self.forwarded(*sent)
        named = [line for line in lines if line.lower().replace("_", "-").startswith("x-user")]
        self.assertEqual(named, ["X-User-Id: ann", "X-User-Role: user"])

    def test_guest(self) -> None:
        """A guest has no name, whatever it calls itself."""
        self.assertEqual(self.values("X-User-Id", "X-User-Id: root"), [])

    def test_names_of_all_letters(self) -> None:
        """Plain names stand as they are; all others are quoted so that no two become one."""
        for subject, shown in {
            "ann@example.com": "ann@example.com",
            "auth0|ann smith": "auth0|ann smith",
            "é": "%C3%A9",
            "%C3%A9": "%25C3%25A9",
            " ann": "%20ann",
            "ann ": "ann%20",
            "ünï cödé": "%C3%BCn%C3%AF%20c%C3%B6d%C3%A9",
        }.items():
            self.claims = Claims(subject, subject, "", 0.0, 9e9)
            self.assertEqual(self.values("X-User-Id"), [shown])
            self.assertEqual(self.values("X-User-Role"), [shown])
            self.assertEqual(unquote(shown), subject)

    def test_no_role(self) -> None:
        """A user without a role has an empty one, so that nobody else can give one."""
        self.claims = Claims("ann", "", "", 0.0, 9e9)
        self.assertEqual(self.values("X-User-Role", "X-User-Role: admin"), [""])


class PassedFieldsTests(ProxyCase):
    """What an instance gets of the client's fields."""

    def test_end_to_end_fields(self) -> None:
        """Fields that are no concern of the gateway pass as they came, repeated ones too, in their order."""
        sent = ["accept: a/b", "Cookie: a=1", "X-Odd:  two  words", "Cookie: b=2", "Authorization: Bearer x.y.z"]
        lines = self.forwarded(*sent)
        self.assertEqual(lines[2:7], [line.replace(":  ", ": ") for line in sent])

    def test_hop_by_hop_fields(self) -> None:
        """Fields of one connection stop here."""
        for name in ("Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Proxy-Authenticate", "Proxy-Authorization"):
            self.assertEqual(self.values(name, f"{name}: x"), [], name)
            self.assertEqual(self.values(name.replace("-", "_"), f"{name.replace('-', '_')}: x"), [], name)
        self.assertEqual(self.values("Connection", "Connection: close"), [])

    def test_nominated_fields(self) -> None:
        """What Connection names stops here, but never a field of the gateway's."""
        self.claims = Claims("ann", "user", "", 0.0, 9e9)
        nominated = "Connection: keep-alive, x-once,X-Forwarded-For , Via, X-Request-ID, X-User-Id, Host"
        lines = self.forwarded(nominated, "X-Once: 1", "X-Ever: 1")
        self.assertNotIn("X-Once: 1", lines)
        for kept in ("X-Ever: 1", "X-Forwarded-For: 198.51.100.7", "Via: 1.1 smartgate", "X-User-Id: ann"):
            self.assertIn(kept, lines)
        self.assertIn("Host: 192.0.2.1:8080", lines)

    def test_spelt_with_underscores(self) -> None:
        """Names that some servers take for a field of the gateway's do not pass."""
        for name in ("X_Forwarded_For", "x-forwarded_host", "X_Request_ID", "X_Real_IP", "Content_Length", "_Host"):
            expected = ["6"] if name == "_Host" else []
            self.assertEqual(self.values(name, f"{name}: 6"), expected, name)

    def test_upgrade_that_nobody_wants(self) -> None:
        """The request is an ordinary one."""
        lines = self.forwarded("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ")
        self.assertEqual(lines[0], "GET /api/x HTTP/1.1")
        self.assertNotIn("h2c", str(lines))
        self.assertNotIn("AAMA", str(lines))


class RequestHeadTests(ProxyCase):
    """Where a request goes, and how its body is framed."""

    def test_host(self) -> None:
        """Host is the instance's own, or the client's where the route says so."""
        self.assertEqual(self.values("Host"), ["192.0.2.1:8080"])
        self.settings["preserve_host"] = True
        self.assertEqual(self.values("Host"), ["api.example.com"])

    def test_target(self) -> None:
        """Path and query as they came; less the prefix where the route strips it."""
        self.assertEqual(self.forwarded(start="GET /api/x?a=%2F HTTP/1.1")[0], "GET /api/x?a=%2F HTTP/1.1")
        self.settings["stripped_prefix"] = b"/api"
        for target, stripped in {"/api/x?a=b": "/x?a=b", "/api": "/", "/api?": "/", "/api/": "/"}.items():
            self.assertEqual(self.forwarded(start=f"GET {target} HTTP/1.1")[0], f"GET {stripped} HTTP/1.1")

    def test_target_that_could_be_another(self) -> None:
        """What is left after the prefix must be as plain as what was matched; no instance hears of it."""
        self.settings["stripped_prefix"] = b"/api"
        for target in (b"/api//x", b"/api/..%2fx", b"/api/%00"):
            self.send(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertIn(b" 400 ", self.client.value()[:20])
        self.assertEqual(self.network.attempts, [])

    def test_version(self) -> None:
        """The instance is spoken to in HTTP/1.1, whatever the client speaks."""
        self.assertEqual(self.forwarded(start="GET /api/x HTTP/1.0")[0], "GET /api/x HTTP/1.1")

    def test_no_body(self) -> None:
        """A request without a body has no framing."""
        lines = self.forwarded()
        self.assertNotIn("Content-Length", str(lines))
        self.assertNotIn("Transfer-Encoding", str(lines))

    def test_length(self) -> None:
        """A body of known length keeps it."""
        lines = self.forwarded("Content-Length: 3", start="POST /api/x HTTP/1.1", body=b"abc")
        self.assertEqual((lines.count("Content-Length: 3"), lines[-2:]), (1, ["", "abc"]))

    def test_chunks(self) -> None:
        """A chunked body is chunked again."""
        chunks = b"3\r\nabc\r\n0\r\n\r\n"
        lines = self.forwarded("transfer-encoding: chunked", start="POST /api/x HTTP/1.1", body=chunks)
        self.assertEqual(lines.count("Transfer-Encoding: chunked"), 1)
        self.assertEqual(lines[-6:], ["", "3", "abc", "0", "", ""])


class AnswerTests(ProxyCase):
    """What a client gets of an instance's fields."""

    own = ("X-Frame-Options: DENY", "X-Own: 1")

    def test_fields_pass(self) -> None:
        """Fields that are no concern of the gateway pass as they came, repeated ones too; then come the gateway's."""
        sent = ["Set-Cookie: a=1", 'etag: W/"1"', "Set-Cookie: b=2", "Access-Control-Allow-Origin: *", "Vary: a"]
        self.assertEqual(self.answered_fields(*sent, "RateLimit-Limit: 5"), [*sent, "RateLimit-Limit: 5", *self.own])

    def test_hidden_fields(self) -> None:
        """What an instance tells about itself, or about one connection, is not passed on."""
        hidden = (
            "Server: x/1",
            "X-Powered-By: y",
            "X-Request-ID: theirs",
            "Connection: close",
            "Keep-Alive: timeout=5",
        )
        self.assertEqual(self.answered_fields(*hidden, "Proxy-Authenticate: Basic", "Upgrade: h2c"), list(self.own))
        self.assertNotIn("theirs", self.client.value().decode())

    def test_security_fields_once(self) -> None:
        """The gateway's value stands in place of the instance's."""
        sent = ("x-frame-options: ALLOWALL", "X-FRAME-OPTIONS: SAMEORIGIN")
        self.assertEqual(self.answered_fields(*sent), list(self.own))

    def test_upstream_wins(self) -> None:
        """Where the route says so the instance's value stands, and the gateway's only where there is none."""
        self.settings["upstream_wins"] = frozenset([b"x-frame-options"])
        theirs = "x-frame-options: SAMEORIGIN"
        self.assertEqual(self.answered_fields(theirs, "X-Own: 2"), [theirs, "X-Own: 1"])
        self.assertEqual(sorted(self.answered_fields("A: b")), sorted(["A: b", *self.own]))

    def test_https_only(self) -> None:
        """Strict-Transport-Security stands in answers over https alone, an instance's own neither."""
        name = "Strict-Transport-Security"
        self.settings["security"] = {"X-Own": "1", name: "max-age=1"}
        for transport, own in ((Transport, ["X-Own: 1"]), (SecureTransport, ["X-Own: 1", f"{name}: max-age=1"])):
            self.client_transport = transport
            self.assertEqual(self.answered_fields(f"{name}: max-age=0"), own)

    def test_own_cors(self) -> None:
        """Where the gateway speaks CORS, an instance does not."""
        self.settings["own_cors"] = True
        cors = ("Access-Control-Allow-Origin: *", "access-control-max-age: 5", "Vary: Origin")
        self.assertEqual(self.answered_fields(*cors), ["Vary: Origin", *self.own])

    def test_own_limits(self) -> None:
        """Where the gateway counts, the limits of an instance are not told."""
        self.settings["own_limits"] = True
        limits = ("RateLimit: x", "ratelimit-policy: 5;w=1", "RateLimit-Limit: 5", "RateLimit-Remaining: 4")
        self.assertEqual(
            self.answered_fields(*limits, "RateLimit-Reset: 1", "Retry-After: 1"), ["Retry-After: 1", *self.own]
        )

    def test_nominated_fields(self) -> None:
        """What an instance's Connection names stops here, but never a field of the gateway's."""
        sent = (
            "X-Once: 1",
            "Connection: x-once, X-Own, X-Request-ID",
            "X-Ever: 1",
            "x-once: 2",
            "Connection: x-too",
            "X-Too: 1",
        )
        self.assertEqual(self.answered_fields(*sent), ["X-Ever: 1", *self.own])
        self.assertIn(b"X-Request-ID: ", self.client.value())

    def test_nominated_security_field(self) -> None:
        """An instance cannot take a security field away: the gateway's stands where its own is dropped."""
        self.settings["upstream_wins"] = frozenset([b"x-frame-options"])
        sent = ("X-Frame-Options: SAMEORIGIN", "Connection: X-Frame-Options")
        self.assertEqual(sorted(self.answered_fields(*sent)), sorted(self.own))

    def test_nominated_length(self) -> None:
        """Nor can it take away what tells a body's end."""
        lines = self.answered(b"HTTP/1.1 200 OK\r\nConnection: Content-Length\r\nContent-Length: 2\r\n\r\nok")
        self.assertEqual((lines.count("Content-Length: 2"), lines[-1]), (1, "ok"))

    def test_framings(self) -> None:
        """A body is framed anew where its length is not known; its end is the instance's."""
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        self.assertEqual(self.answered(chunked)[-6:], ["", "2", "ok", "0", "", ""])
        lines = self.answered(b"HTTP/1.1 200 OK\r\n\r\nok")
        self.assertEqual((lines.count("Transfer-Encoding: chunked"), lines[-4:]), (1, ["", "2", "ok", ""]))
        assert self.instance is not None
        self.instance.lost()
        self.assertTrue(self.client.value().endswith(b"\r\nok\r\n0\r\n\r\n"))

    def test_length_that_cannot_be_told(self) -> None:
        """Two framings, or codings that are not read here, are refused, and the connection is cut."""
        for framing in (
            b"Content-Length: 2\r\nContent-Length: 2",
            b"Content-Length: 2\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nContent-Length: 2",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: gzip, chunked",
            b"Transfer-Encoding: gzip",
        ):
            lines = self.answered(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\nok")
            self.assertTrue(lines[0].startswith("HTTP/1.1 502 "), (framing, lines))
            assert self.instance is not None
            self.assertTrue(self.instance.aborted)
            self.assertEqual(self.failures.pop()[0], "core")

    def test_fields_whose_length_cannot_be_told(self) -> None:
        """The same where the parser should let them through."""
        length, chunked = (b"Content-Length", b"2"), (b"transfer-encoding", b"chunked")
        leaf: Any = self.leaf()
        for first, second in ((length, length), (length, chunked), (chunked, length), (chunked, chunked)):
            self.assertRaises(UpstreamFailed, leaf.answer_lines, PLAIN, [first, second])

    def test_instance_that_does_not_answer(self) -> None:
        """After the time to the first byte it is 504, and the failure is told."""
        self.forwarded()
        self.reactor.advance(60)
        self.assertIn(b"HTTP/1.1 504 ", self.client.value())
        self.assertEqual(self.failures, [("core", "timeout")])

    def test_answer_that_stops(self) -> None:
        """After so long without a byte the client's connection is cut; each byte gives the same time again."""
        self.answered(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n")
        assert self.instance is not None
        self.reactor.advance(200)
        self.instance.protocol.dataReceived(b"o")
        self.reactor.advance(299)
        self.assertFalse(self.client.aborted)
        self.reactor.advance(1)
        self.assertTrue(self.client.aborted)
        self.assertEqual(self.failures, [("core", "idle")])

    def test_memory(self) -> None:
        """Instances that make up names without end take no memory with that."""
        leaf: Any = self.leaf()

        def answers(first: int, count: int, size: int) -> int:
            """Read so many answers, each with new names; the bytes that are kept of them."""
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            for number in range(first, first + count):
                leaf.answer_lines(PLAIN, [(b"x-%0*d" % (size, number), b"1")])
            gc.collect()
            return tracemalloc.get_traced_memory()[0] - before

        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        self.assertLess(answers(0, 100, 1000), 10_000)
        self.assertLess(answers(0, 2000, 10), 1_000_000)
        self.assertLess(answers(2000, 2000, 10), 10_000)
