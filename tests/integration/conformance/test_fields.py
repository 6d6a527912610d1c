"""Header fields: which pass, which stop at the gateway, and which it adds itself."""

from __future__ import annotations

from tests.integration.client import Answer
from tests.integration.conformance.case import PAGE, PROXY, WireTestCase, head, token
from tests.integration.origin import close

ORIGIN = f"Origin: {PAGE}"


def answer_with(*lines: str, status: str = "200 OK", body: bytes = b"ok") -> bytes:
    """What an origin answers."""
    return "\r\n".join((f"HTTP/1.1 {status}", *lines, f"Content-Length: {len(body)}", "", "")).encode() + body


class ConnectionTests(WireTestCase):
    """Fields of one connection (RFC 9110 section 7.6.1)."""

    def test_hop_by_hop_fields_stop(self) -> None:
        """None of a request's reaches the origin, and none of an answer's the client."""
        fields = ("Keep-Alive: timeout=5", "Proxy-Connection: keep-alive", "TE: trailers", "Trailer: X", "Upgrade: h2c")
        authenticating = ("Proxy-Authorization: Basic eA==", "Proxy-Authenticate: Basic", "Proxy_Connection: close")
        self.origin.answer = answer_with("Connection: keep-alive", *fields, *authenticating[1:2])
        answer = self.ask(head("/open", "Connection: keep-alive", *fields, *authenticating))
        for line in (*fields, *authenticating, "Connection: x", "Transfer-Encoding: x", "HTTP2-Settings: x"):
            name = line.partition(":")[0]
            self.assertEqual(self.forwarded(name), [], name)
            self.assertEqual(answer.values(name), [], name)

    def test_nominated_fields_stop(self) -> None:
        """What Connection names goes no further than the connection, in any spelling and in several fields."""
        self.ask(head("/open", "X-One: 1", "X-Two: 2", "x-three: 3", "X-Four: 4", "Connection: X-One,x-two , ,X-THREE"))
        self.ask(head("/open", "X-One: 1", "X-Two: 2", "Connection: X-One", "Connection: X-Two, keep-alive"))
        for index, kept in ((0, ["4"]), (1, [])):
            self.assertEqual(self.forwarded("X-Four", index), kept)
            for name in ("X-One", "X-Two", "X-Three"):
                self.assertEqual(self.forwarded(name, index), [], name)

    def test_nomination_never_removes_the_gateways_own(self) -> None:
        """Its fields are added after those of the client are gone, the framing of the body too."""
        names = (
            "Host, Content-Length, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Request-ID, Via, X-User-Id"
        )
        self.ask(head("/api/users", token(), f"Connection: {names}", "Content-Length: 2", method="POST") + b"hi")
        for name in names.split(", "):
            self.assertEqual(len(self.forwarded(name)), 1, name)
        self.assertTrue(self.origin.received[0].endswith(b"\r\n\r\nhi"))

    def test_nominated_authorization_is_still_asked_for(self) -> None:
        """A client cannot nominate its way around a guard."""
        self.assertEqual(self.ask(head("/api/users", "Connection: Authorization")).status, 401)
        self.assertEqual(self.ask(head("/api/users", token(), "Connection: Authorization")).status, 200)

    def test_nominated_fields_of_an_answer_stop(self) -> None:
        """The gateway's own fields, and the length of the body, stay."""
        names = "X-Inner, Content-Length, X-Content-Type-Options, X-Request-ID"
        self.origin.answer = answer_with(f"Connection: {names}", "X-Inner: 1", "X-Outer: 2")
        answer = self.ask(head("/open"))
        self.assertEqual((answer.values("X-Inner"), answer.values("X-Outer")), ([], ["2"]))
        self.assertEqual((answer.values("Content-Length"), answer.body), (["2"], b"ok"))
        self.assertEqual(answer.values("X-Content-Type-Options"), ["nosniff"])
        self.assertEqual(len(answer.values("X-Request-ID")), 1)

    def test_an_origins_close_is_its_own(self) -> None:
        """The client's connection goes on, and the next request takes another one to the origin."""
        self.origin.plan((answer_with("Connection: close"), close))
        client = self.client()
        for _ in range(2):
            client.send(head("/open"))
            answer = client.answer()
            self.assertEqual((answer.status, answer.values("Connection")), (200, []))


class ForwardedTests(WireTestCase):
    """Who asked, through which proxies (RFC 7239)."""

    def test_what_strangers_say_is_discarded(self) -> None:
        """Only the peer's own address and scheme count; Forwarded and its cousins are dropped."""
        said = (
            "X-Forwarded-For: 6.6.6.6",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: evil.example",
            "X_Forwarded_For: 6.6.6.6",
        )
        cousins = ("Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6", "X-Forwarded-Port: 1", "X-Forwarded-Server: evil")
        self.ask(head("/open/stranger", *said, *cousins, "X-Forwarded-Prefix: /evil", "X-Request-ID: chosen-by-me"))
        self.assertEqual(self.forwarded("X-Forwarded-For"), ["127.0.0.1"])
        self.assertEqual(self.forwarded("X-Forwarded-Proto"), ["http"])
        self.assertEqual(self.forwarded("X-Forwarded-Host"), ["api.example.com"])
        for secret in (b"6.6.6.6", b"evil", b"chosen-by-me"):
            self.assertNotIn(secret, self.origin.received[0])
        self.assertEqual(self.logged("/open/stranger")["client"], "127.0.0.1")

    def test_what_a_trusted_proxy_says_is_appended_to(self) -> None:
        """Its list grows by its own address; scheme, host and a sane request id are kept; Forwarded still goes."""
        answer = self.ask(
            head(
                "/open/friend",
                "X-Forwarded-For: 6.6.6.6",
                "X-Forwarded-For: 192.0.2.7, 10.1.2.3",
                "X-Forwarded-Proto: https",
                "X-Forwarded-Host: www.example.com",
                "X-Request-ID: 0123456789abcdef",
                "Forwarded: for=192.0.2.7",
            ),
            PROXY,
        )
        self.assertEqual(self.forwarded("X-Forwarded-For"), [f"6.6.6.6, 192.0.2.7, 10.1.2.3, {PROXY}"])
        self.assertEqual(self.forwarded("X-Forwarded-Proto"), ["https"])
        self.assertEqual(self.forwarded("X-Forwarded-Host"), ["www.example.com"])
        self.assertEqual(self.forwarded("X-Request-ID"), ["0123456789abcdef"])
        self.assertEqual(self.forwarded("Forwarded"), [])
        self.assertEqual(answer.values("X-Request-ID"), ["0123456789abcdef"])
        self.assertEqual(self.logged("/open/friend")["client"], "192.0.2.7")

    def test_request_ids_that_are_not_sane(self) -> None:
        """A trusted proxy's is replaced too when it is short, long or has other characters."""
        for value in ("short", "x" * 129, "0123456789 abc", '"0123456789"', "0123456789\xe9"):
            answer = self.ask(head("/open", f"X-Request-ID: {value}"), PROXY)
            self.assertNotEqual(answer.values("X-Request-ID"), [value])
            self.assertEqual(len(answer.values("X-Request-ID")), 1)

    def test_clients_behind_a_proxy_are_counted_one_by_one(self) -> None:
        """Each address has its own limit, and a stranger cannot escape his with a made-up one."""

        def statuses(source: str, *addresses: str) -> list[int]:
            return [self.ask(head("/limited", f"X-Forwarded-For: {it}"), source).status for it in addresses]

        self.assertEqual(statuses(PROXY, "192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"), [200, 200, 429, 200])
        self.assertEqual(statuses("127.0.0.3", "192.0.2.3", "192.0.2.4", "192.0.2.5"), [200, 200, 429])

    def test_via(self) -> None:
        """The gateway adds itself at the end of the list (RFC 9110 section 7.6.3)."""
        self.ask(head("/open"))
        self.ask(head("/open", "Via: 1.0 fred", "Via: 1.1 p.example"))
        self.assertEqual(self.forwarded("Via"), ["1.1 smartgate"])
        self.assertEqual(self.forwarded("Via", 1), ["1.0 fred, 1.1 p.example, 1.1 smartgate"])


class IdentityTests(WireTestCase):
    """Fields that tell an origin who the user is."""

    def test_only_the_gateway_sets_them(self) -> None:
        """What clients send is deleted in every spelling, whether or not there is a token, trusted peers' too."""
        sent = ("X-User-Id: root", "x-user-role: admin", "X_User_Id: root", "x-user_ROLE: admin", "X-User-Email: root")
        for path, lines, source in (
            ("/open", (), "127.0.0.1"),
            ("/open", (), PROXY),
            ("/api/users", (token(),), "127.0.0.1"),
        ):
            self.origin.reset()
            self.ask(head(path, *lines, *sent), source)
            self.assertNotIn(b"root", self.origin.received[0])
            self.assertNotIn(b"admin", self.origin.received[0])
        self.assertEqual((self.forwarded("X-User-Id"), self.forwarded("X-User-Role")), (["ann"], ["user"]))


class AnswerFieldTests(WireTestCase):
    """What an origin says about itself and the gateway about everything."""

    def test_origins_stay_hidden(self) -> None:
        """Server and X-Powered-By go; every other field passes as it came."""
        self.origin.answer = answer_with(
            "server: nginx", "X-POWERED-BY: Express", "x-CUSTOM: 1", "Set-Cookie: a", "Set-Cookie: b"
        )
        answer = self.ask(head("/open"))
        self.assertEqual((answer.values("Server"), answer.values("X-Powered-By")), ([], []))
        self.assertIn(b"\r\nx-CUSTOM: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n", answer.head)

    def test_security_fields_stand_once_on_every_answer(self) -> None:
        """Proxied with its own, refused, unknown, malformed and unreachable."""
        self.origin.answer = answer_with("x-frame-options: ALLOWALL", "X-Content-Type-Options: none")
        for request in (head("/open"), head("/api/users"), head("/nowhere"), head("/gone"), b"x\r\n\r\n"):
            answer = self.ask(request)
            self.assertEqual(answer.values("X-Content-Type-Options"), ["nosniff"], request)
            self.assertEqual(answer.values("X-Frame-Options"), ["SAMEORIGIN"], request)

    def test_challenge(self) -> None:
        """A 401 says what would help (RFC 9110 section 11.6.1)."""
        self.assertEqual(self.ask(head("/api/users")).values("WWW-Authenticate"), ["Bearer"])
        self.assertIn("invalid_token", self.ask(head("/api/users", token()[:-4])).values("WWW-Authenticate")[0])


class CorsTests(WireTestCase):
    """What pages may read (the Fetch standard)."""

    def assertReadable(self, answer: Answer) -> None:
        """The page may read the answer, its limits and its id, and caches keep pages apart."""
        self.assertEqual(answer.values("Access-Control-Allow-Origin"), [PAGE], answer.head)
        self.assertIn("Origin", answer.values("Vary"), answer.head)
        exposed = ", ".join(answer.values("Access-Control-Expose-Headers")).split(", ")
        for name in ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "Retry-After", "X-Request-ID"):
            self.assertIn(name, exposed)

    def test_errors_are_readable_too(self) -> None:
        """401, 403, 404, 413, 429, 502 and 504 as any answer."""
        source = "127.0.0.4"
        for _ in range(2):
            self.ask(head("/limited"), source)
        for status, request in (
            (200, head("/open", ORIGIN)),
            (401, head("/api/users", ORIGIN)),
            (403, head("/api/admin", ORIGIN, token())),
            (404, head("/nowhere", ORIGIN)),
            (413, head("/small", ORIGIN, "Content-Length: 2000", method="POST")),
            (413, head("/small", ORIGIN, "Transfer-Encoding: chunked", method="POST") + b"7d0\r\n" + b"x" * 2000),
            (429, head("/limited", ORIGIN)),
            (502, head("/gone", ORIGIN)),
            (504, head("/full", ORIGIN)),
        ):
            answer = self.ask(request, source)
            self.assertEqual(answer.status, status)
            self.assertReadable(answer)

    def test_preflight_needs_no_token(self) -> None:
        """It is answered before authentication, and never forwarded."""
        asking = ("Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: authorization")
        answer = self.ask(head("/api/users", ORIGIN, *asking, method="OPTIONS"), bodiless=True)
        self.assertEqual((answer.status, answer.values("Access-Control-Allow-Origin")), (204, [PAGE]))
        self.assertIn("PUT", answer.values("Access-Control-Allow-Methods")[0])
        self.assertIn("Authorization", answer.values("Access-Control-Allow-Headers")[0])
        self.assertEqual(answer.values("Content-Length"), [])
        self.assertEqual(self.origin.received, [])

    def test_options_that_is_no_preflight_is_guarded(self) -> None:
        """Without Access-Control-Request-Method it is a request as any other."""
        self.assertEqual(self.ask(head("/api/users", ORIGIN, method="OPTIONS")).status, 401)

    def test_other_pages_may_read_nothing(self) -> None:
        """Not by an answer and not by a preflight; caches still keep them apart."""
        for origin in (
            "https://evil.example",
            "null",
            "https://app.example.com.evil.example",
            "http://app.example.com",
        ):
            asking = "Access-Control-Request-Method: PUT"
            for answer in (
                self.ask(head("/open", f"Origin: {origin}")),
                self.ask(head("/api/users", f"Origin: {origin}", asking, method="OPTIONS"), bodiless=True),
            ):
                self.assertNotIn(b"\r\nAccess-Control-", answer.head, origin)
                self.assertIn("Origin", ", ".join(answer.values("Vary")).split(", "))

    def test_an_origins_own_fields_are_never_doubled(self) -> None:
        """The gateway's stand alone; the origin's Vary stays beside them."""
        self.origin.answer = answer_with(
            "access-control-allow-origin: *",
            "Access-Control-Allow-Credentials: true",
            "Access-Control-Expose-Headers: X-Y",
            "Vary: Accept-Encoding",
        )
        answer = self.ask(head("/open", ORIGIN))
        self.assertReadable(answer)
        self.assertEqual(answer.values("Access-Control-Allow-Credentials"), [])
        self.assertEqual(sorted(answer.values("Vary")), ["Accept-Encoding", "Origin"])
        self.assertNotIn(b"ccess-", self.ask(head("/open")).head)
