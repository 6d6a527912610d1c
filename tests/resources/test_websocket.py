"""Tests of the leaf of WebSocket routes: what is checked before an instance is asked, and what it is asked."""

from __future__ import annotations

from gateway.core.errors import Unavailable
from tests.resources.upgrades import FakeInstance, UpgradeCase, field


class CheckTests(UpgradeCase):
    """Requests that no instance hears of."""

    def refused(self, status: int) -> bytes:
        """Asserts that the client was refused with ``status``; returns the answer."""
        self.assertEqual(self.status(), status)
        self.assertEqual((self.instance.attempts, self.instance.active), ([], 0))
        return self.client.taken()

    def test_plain_request(self) -> None:
        """Without an upgrade there is nothing here: 426, and what would be right."""
        self.send(without="Upgrade")
        answer = self.refused(426)
        self.assertEqual((field(answer, "Upgrade"), field(answer, "Connection")), ("websocket", "Upgrade"))

    def test_upgrade_to_something_else(self) -> None:
        """h2c is no WebSocket: 426."""
        self.send(Upgrade="h2c")
        self.refused(426)

    def test_upgrade_in_http_1_0(self) -> None:
        """An Upgrade of HTTP/1.0 is ignored (RFC 9110 section 7.8)."""
        self.client.receive(b"GET /api/ws HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        self.refused(426)

    def test_body(self) -> None:
        """A handshake with a body is refused, and its body never read as a request."""
        self.send("Content-Length: 30", rest=b"GET /api/ws HTTP/1.1\r\n\r\n")
        self.refused(400)
        self.assertTrue(self.client.half_closed or self.client.disconnecting)

    def test_empty_body(self) -> None:
        """A length of 0 is none."""
        self.asked("Content-Length: 0")

    def test_page_of_another_origin(self) -> None:
        """It may not connect, and neither may one that does not say where it is from."""
        for origin in ("https://evil.example", "null", "https://app.example.com.evil.example"):
            self.setUp()
            self.send(f"Origin: {origin}")
            self.refused(403)

    def test_page_that_may_connect(self) -> None:
        """An origin of the list passes, and the upstream sees it too."""
        upstream = self.asked("Origin: https://app.example.com")
        self.assertEqual(field(upstream.taken(), "Origin"), "https://app.example.com")

    def test_two_origins(self) -> None:
        """Nobody has two: refused, also when both may connect."""
        self.send("Origin: https://app.example.com", "Origin: https://app.example.com")
        self.refused(403)

    def test_no_instance_to_ask(self) -> None:
        """What a cluster refuses is answered as with plain requests."""

        def choose(request: object, tried: object) -> FakeInstance:
            raise Unavailable

        self.leaf.upstream.choose = choose  # type: ignore[assignment, method-assign]
        self.send()
        self.refused(503)

    def test_wrong_handshake(self) -> None:
        """What Autobahn refuses is answered in the standard format."""
        self.send(Sec_WebSocket_Version="8")
        self.assertIn(b'"code":"UPGRADE_REQUIRED"', self.refused(426))


class AnyOriginTests(UpgradeCase):
    """A gateway for the pages of everybody."""

    origins = ("*",)

    def test_any_page_may_connect(self) -> None:
        """Where all origins are allowed, any is."""
        self.asked("Origin: https://somewhere.example")


class AskingTests(UpgradeCase):
    """What the instance is asked."""

    def test_path_and_query_pass_on(self) -> None:
        """As they were matched; the query to the letter."""
        upstream = self.asked(path='/api/x/../ws/%65cho?q={"a"|%zz}&b=%C3%A9')
        self.assertTrue(upstream.taken().startswith(b'GET /api/ws/echo?q={"a"|%zz}&b=%C3%A9 HTTP/1.1\r\n'))

    def test_host_is_the_instances(self) -> None:
        """The original is in X-Forwarded-Host."""
        request = self.asked().taken()
        self.assertEqual(field(request, "Host"), "mcp.internal:3003")
        self.assertEqual(field(request, "X-Forwarded-Host"), "api.example.com")


class StrippedTests(UpgradeCase):
    """Routes that strip their prefix."""

    stripped_prefix = b"/api/ws"

    def test_prefix_is_stripped(self) -> None:
        """The instance sees what is below it."""
        self.assertTrue(self.asked(path="/api/ws/echo").taken().startswith(b"GET /echo HTTP/1.1\r\n"))

    def test_path_that_hides_a_separator(self) -> None:
        """It is refused before an instance is asked, as with plain requests."""
        self.send(path="/api/ws/a%2Fb")
        self.assertEqual((self.status(), self.instance.attempts), (400, []))


class HostTests(UpgradeCase):
    """Whom an instance takes itself for."""

    def test_host_is_the_instances(self) -> None:
        """The name of its URL, with its port, wherever it was found."""
        for authority in (b"mcp.internal:3003", b"mcp.internal"):
            self.setUp()
            self.instance.authority = authority
            self.assertEqual(field(self.asked().taken(), "Host"), "mcp.internal:3003")


class PreservedHostTests(UpgradeCase):
    """Routes that pass the client's Host on."""

    preserve_host = True

    def host(self, sent: str) -> str:
        """What the instance finds in Host."""
        self.setUp()
        return field(self.asked(Host=sent).taken(), "Host")

    def test_host_is_the_clients(self) -> None:
        """Autobahn always writes a port: that of the scheme where the client named none."""
        self.assertEqual(self.host("api.example.com"), "api.example.com:80")
        self.assertEqual(self.host("api.example.com:3000"), "api.example.com:3000")
        self.assertEqual(self.host("api.example.com:"), "api.example.com:80")
        self.assertEqual(self.host("[2001:db8::1]"), "[2001:db8::1]:80")
        self.assertEqual(self.host("[2001:db8::1]:3000"), "[2001:db8::1]:3000")

    def test_port_of_https(self) -> None:
        """A client that came over TLS meant 443."""
        self.client.protocol.secure = True
        self.assertEqual(field(self.asked().taken(), "Host"), "api.example.com:443")
