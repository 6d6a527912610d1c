"""Answers: interim ones, those without a body, those that come early, and those that are not HTTP."""

from __future__ import annotations

import socket
import threading

from tests.integration.conformance.case import WireTestCase, head, post, token
from tests.integration.origin import OK, close

CHUNKED = "Transfer-Encoding: chunked"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"


def read_rest(connection: socket.socket) -> None:
    """What an origin does that goes on with a request of which it has the head."""
    connection.recv(65536)


def unchunked(message: bytes) -> bytes:
    """The body of a chunked message that is whole."""
    rest, body = message.partition(b"\r\n\r\n")[2], b""
    while rest != b"0\r\n\r\n":
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body


class InterimTests(WireTestCase):
    """1xx (RFC 9110 section 15.2)."""

    def test_forwarded_before_the_final_answer(self) -> None:
        """Each as soon as it has come, with its fields; the one that follows is the answer."""
        go = threading.Event()
        self.origin.plan((HINTS, b"HTTP/1.1 102 Processing\r\n\r\n", go, OK))
        client = self.client()
        client.send(head("/open"))
        hints = client.answer()
        self.assertEqual((hints.status, hints.values("Link")), (103, ["</a.css>; rel=preload"]))
        self.assertEqual(client.answer().status, 102)
        go.set()
        self.assertEqual((client.answer().status, client.silent()), (200, True))

    def test_never_to_http_1_0(self) -> None:
        """Such a client knows none."""
        self.origin.plan((HINTS, b"HTTP/1.1 100 Continue\r\n\r\n", OK))
        self.assertEqual(self.ask(head("/open", version="HTTP/1.0")).status, 200)

    def test_an_origins_continue(self) -> None:
        """It goes on to a client that did not ask, and not a second time to one that did."""
        for lines in ((), ("Expect: 100-continue",)):
            self.origin.whole = False
            self.origin.plan((b"HTTP/1.1 100 Continue\r\n\r\n", read_rest, OK))
            client = self.client()
            client.send(head("/open", "Content-Length: 2", *lines, method="POST"))
            self.assertEqual(client.answer().status, 100)
            client.send(b"hi")
            self.assertEqual(client.answer().status, 200)

    def test_switching_protocols_unasked(self) -> None:
        """101 that nobody asked for is 502, and no tunnel."""
        for lines in ((), ("Connection: Upgrade", "Upgrade: h2c")):
            self.origin.plan((b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",))
            self.assertEqual(self.ask(head("/open", *lines)).status, 502)


class ExpectTests(WireTestCase):
    """Expect: 100-continue (RFC 9110 section 10.1.1)."""

    def test_guards_decide_from_the_head(self) -> None:
        """401, 403, 404, 413 and 429 at once, without 100, and the connection ends: the body may or may not come."""
        for _ in range(2):
            self.ask(head("/limited"), "127.0.0.5")
        for path, status, length in (
            ("/api/users", 401, 10),
            ("/nowhere", 404, 10),
            ("/small", 413, 2000),
            ("/limited", 429, 10),
        ):
            self.origin.reset()
            request = head(path, "Expect: 100-continue", f"Content-Length: {length}", method="POST")
            self.assertRefused(status, request, "127.0.0.5")
        request = head("/api/admin", token(), "Expect: 100-continue", CHUNKED, method="POST")
        self.assertRefused(403, request)

    def test_continue_comes_before_the_body(self) -> None:
        """Once the guards have passed the head and an origin has it; Expect itself is not passed on."""
        for framing, body in (("Content-Length: 2", b"hi"), (CHUNKED, b"2\r\nhi\r\n0\r\n\r\n")):
            self.origin.reset()
            client = self.client()
            client.send(head("/open", "expect: 100-CONTINUE", framing, method="POST"))
            self.assertEqual(client.answer().head, b"HTTP/1.1 100 Continue\r\n\r\n")
            client.send(body)
            answer = client.answer()
            self.assertEqual((answer.status, answer.values("Connection")), (200, []))
            self.assertEqual(self.forwarded("Expect"), [])
            self.assertTrue(self.origin.received[0].endswith(b"\r\n\r\n" + body))

    def test_no_continue_where_none_is_needed(self) -> None:
        """Not to HTTP/1.0, not without a body, not when the body is there already, not when no origin is."""
        expecting = "Expect: 100-continue"
        for request, status in (
            (head("/open", expecting, "Content-Length: 2", method="POST", version="HTTP/1.0") + b"hi", 200),
            (head("/open", expecting), 200),
            (head("/open", expecting, "Content-Length: 0", method="POST"), 200),
            (post("/open", b"hi", expecting), 200),
            (head("/gone", expecting, "Content-Length: 2", method="POST"), 502),
        ):
            self.assertEqual(self.ask(request).status, status, request)


class BodilessTests(WireTestCase):
    """HEAD, 204 and 304 (RFC 9110 section 8.6)."""

    def test_no_body_and_the_connections_go_on(self) -> None:
        """Whatever the head says about a body, none follows, and the next answer is the next request's."""
        client = self.client()
        for method, answer in (
            ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"),
            ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
            ("HEAD", b"HTTP/1.1 200 OK\r\n\r\n"),
            ("HEAD", b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
            ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
            ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\nETag: x\r\n\r\n"),
            ("GET", b"HTTP/1.1 304 Not Modified\r\n\r\n"),
        ):
            self.origin.plan((answer,))
            client.send(head("/open", method=method), head("/open"))
            bodiless = client.answer(bodiless=True)
            self.assertEqual(bodiless.status, int(answer[9:12]))
            self.assertEqual(bodiless.values("Transfer-Encoding"), [], answer)
            if b"Content-Length" in answer:
                self.assertEqual(len(bodiless.values("Content-Length")), 1, answer)
            self.assertEqual((client.answer().body, client.silent(0.02)), (b"ok", True), answer)

    def test_204_has_no_length(self) -> None:
        """An origin's is dropped."""
        self.origin.answer = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"
        self.assertEqual(self.ask(head("/open")).values("Content-Length"), [])

    def test_head_of_the_gateways_own_answers(self) -> None:
        """The length GET would have, and no body."""
        for path in ("/health", "/nowhere", "/api/users"):
            client = self.client()
            client.send(head(path, method="HEAD"), head(path))
            without, whole = client.answer(bodiless=True), client.answer()
            self.assertEqual(without.status, whole.status)
            self.assertEqual(without.values("Content-Length"), whole.values("Content-Length"), path)
            self.assertNotEqual(whole.body, b"")


class FramingTests(WireTestCase):
    """Where an answer's body ends (RFC 9112 section 6.3)."""

    def test_bodies_pass_as_they_are_framed(self) -> None:
        """By length, in chunks, or until the origin closes: whole, and with an end the client can see."""
        for answer, body, framing in (
            (b"Content-Length: 5\r\n\r\nhello", b"hello", "Content-Length"),
            (b"Content-Length: 0\r\n\r\n", b"", "Content-Length"),
            (b"Transfer-Encoding: Chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", b"hello", "Transfer-Encoding"),
            (b"\r\nhello", b"hello", "Transfer-Encoding"),
        ):
            self.origin.plan((b"HTTP/1.1 200 OK\r\n" + answer, b"" if b"\r\n\r\n" in answer else close))
            got = self.ask(head("/open"))
            self.assertEqual((got.status, got.body), (200, body), answer)
            self.assertEqual(len(got.values(framing)), 1, answer)

    def test_http_1_0_origins(self) -> None:
        """Their answers pass under the gateway's own version."""
        self.origin.plan((b"HTTP/1.0 200 OK\r\n\r\nhello", close))
        answer = self.ask(head("/open"))
        self.assertTrue(answer.head.startswith(b"HTTP/1.1 200 OK\r\n"))
        self.assertEqual(answer.body, b"hello")

    def test_origins_that_do_not_speak_http(self) -> None:
        """Nonsense, two framings, and heads without bounds are 502, never a guess."""
        for answer in (
            b"hello\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\na",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\nab",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nab",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: a\x00\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 300 + b"\r\n",
            b"",
        ):
            self.origin.plan((answer, close))
            got = self.ask(post("/open", b"x"))
            self.assertEqual((got.status, b'"code":"UPSTREAM_UNAVAILABLE"' in got.body), (502, True), answer[:80])

    def test_bytes_after_an_answer_are_never_the_next_answer(self) -> None:
        """They go, and the connection with them, after an answer without a body too."""
        stray = b"HTTP/1.1 201 Stray\r\nContent-Length: 5\r\n\r\nstray"
        for method, answer in (
            ("GET", OK),
            ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
            ("GET", b"HTTP/1.1 304 Not Modified\r\n\r\n"),
            ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n"),
            ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ):
            self.origin.plan((answer + stray,))
            client = self.client()
            client.send(head("/open/1", method=method), head("/open/2"))
            client.answer(bodiless=method == "HEAD")
            self.assertEqual(client.answer().body, b"ok", answer)


class TrailerTests(WireTestCase):
    """Fields after a chunked body (RFC 9110 section 6.5.1)."""

    def test_trailers_of_requests_are_dropped(self) -> None:
        """They are not merged into the head, and the body ends where it ended."""
        trailers = b"0\r\nX-User-Id: root\r\nX-Late: 1\r\nHost: evil\r\n\r\n"
        client = self.client()
        client.send(head("/open", CHUNKED, "Trailer: X-Late", method="POST"), b"2\r\nhi\r\n", trailers, head("/open"))
        self.assertEqual((client.answer().status, client.answer().status), (200, 200))
        self.assertTrue(self.origin.received[0].endswith(b"\r\n\r\n2\r\nhi\r\n0\r\n\r\n"))
        for secret in (b"X-Late", b"root", b"evil"):
            self.assertNotIn(secret, self.origin.received[0])
        self.assertEqual(len(self.origin.received), 2)

    def test_trailers_of_answers_are_dropped(self) -> None:
        """The body ends without them, and the next answer is read right."""
        body = b"2\r\nhi\r\n0\r\nX-Late: 1\r\nSet-Cookie: late\r\n\r\n"
        self.origin.plan((b"HTTP/1.1 200 OK\r\nTrailer: X-Late\r\nTransfer-Encoding: chunked\r\n\r\n" + body,))
        client = self.client()
        client.send(head("/open"), head("/open"))
        answer = client.answer()
        self.assertEqual((answer.framed, answer.values("Trailer")), (b"2\r\nhi\r\n0\r\n\r\n", []))
        self.assertNotIn(b"late", answer.head)
        self.assertEqual(client.answer().body, b"ok")

    def test_trailers_that_would_frame(self) -> None:
        """A length after the body, and trailers without an end, are 400."""
        for trailers in (b"Content-Length: 5\r\n\r\n", b"X: " + b"x" * 200_000):
            client = self.client()
            client.send(head("/open", CHUNKED, method="POST"), b"0\r\n", trailers)
            self.assertEqual(client.answer().status, 400, trailers[:20])


class EarlyAnswerTests(WireTestCase):
    """A final answer while the request's body still comes."""

    def test_answer_closes_and_the_rest_is_no_request(self) -> None:
        """The client is told at once; what it still sends of the body is not forwarded and not parsed."""
        self.origin.whole = False
        self.origin.plan((b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",))
        client = self.client()
        client.send(head("/open", "Content-Length: 1000", method="POST"), b"x" * 10)
        answer = client.answer()
        self.assertEqual((answer.status, answer.body, answer.values("Connection")), (403, b"no", ["close"]))
        client.send(head("/open/smuggled"), head("/open/smuggled"))
        self.assertEqual(client.rest(), b"")
        self.assertTrue(self.origin.closed.wait(5))
        self.assertNotIn(b"smuggled", b"".join(self.origin.received))

    def test_origins_refusal_survives_its_reset(self) -> None:
        """An origin that answers 413 and closes with the body unread: the client gets the 413."""
        self.origin.whole = False
        self.origin.plan((b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig", close))
        client = self.client()
        client.send(head("/open", "Content-Length: 4000000", method="POST"))
        for _ in range(40):
            client.send(b"x" * 100_000)
        answer = client.answer()
        self.assertEqual((answer.status, answer.body), (413, b"big"))

    def test_answer_that_goes_on_beside_the_body(self) -> None:
        """Both directions stream at once; when both are complete the connection still closes, as was said."""
        chunk = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
        self.origin.whole = False

        self.origin.plan((chunk, read_rest, b"1\r\nb\r\n0\r\n\r\n"))
        client = self.client()
        client.send(head("/open", "Content-Length: 4", method="POST"))
        self.assertIn(b"Connection: close\r\n", client.until(b"1\r\na\r\n"))
        client.send(b"body")
        self.assertEqual(client.rest(), b"1\r\nb\r\n0\r\n\r\n")


class UpgradeTests(WireTestCase):
    """Upgrade where nobody wants it (RFC 9110 section 7.8)."""

    def test_request_is_as_any_other(self) -> None:
        """h2c, websocket and anything: the fields are dropped, the body is the body, and the connections go on."""
        body = head("/open/smuggled")
        for version in ("HTTP/1.1", "HTTP/1.0"):
            for upgrade in ("h2c", "websocket", "anything/1"):
                self.origin.reset()
                lines = ("Connection: Upgrade, HTTP2-Settings", f"Upgrade: {upgrade}", "HTTP2-Settings: AAMA")
                request = head("/open", *lines, f"Content-Length: {len(body)}", method="POST", version=version)
                client = self.client()
                client.send(request + body)
                self.assertEqual(client.answer().status, 200)
                if version == "HTTP/1.1":
                    client.send(head("/open/next"))
                    self.assertEqual(client.answer().status, 200)
                self.assertEqual(len(self.origin.received), 2 if version == "HTTP/1.1" else 1)
                self.assertTrue(self.origin.received[0].endswith(b"\r\n\r\n" + body))
                for name in ("Upgrade", "HTTP2-Settings", "Connection"):
                    self.assertEqual(self.forwarded(name), [])

    def test_body_in_pieces(self) -> None:
        """Chunked, with the next request behind it and one before it: nothing is lost and nothing overtakes."""
        lines = ("Connection: upgrade", "Upgrade: h2c", CHUNKED)
        client = self.client()
        client.send(head("/open/1"), head("/open/2", *lines, method="POST"), b"4\r\nab")
        for piece in (b"cd\r\n", b"2\r\nef\r\n0", b"\r\n\r\n" + head("/open/3")):
            client.silent(0.02)
            client.send(piece)
        self.assertEqual([client.answer().status for _ in range(3)], [200, 200, 200])
        self.assertEqual(unchunked(self.origin.received[1]), b"abcdef")

    def test_refused_upgrade_closes(self) -> None:
        """llhttp does not read on; so nothing behind it is a request."""
        client = self.client()
        client.send(head("/api/users", "Connection: upgrade", "Upgrade: h2c"), head("/open/smuggled"))
        self.assertEqual((client.answer().status, client.rest()), (401, b""))
        self.assertEqual(self.origin.received, [])


class HTTP10Tests(WireTestCase):
    """Clients of HTTP/1.0."""

    def test_one_answer_and_the_end(self) -> None:
        """With or without Host and keep-alive; the answer has no chunks."""
        self.origin.answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        for request in (
            b"GET /open HTTP/1.0\r\n\r\n",
            head("/open", version="HTTP/1.0"),
            head("/open", "Connection: keep-alive", version="HTTP/1.0"),
        ):
            client = self.client()
            client.send(request)
            answer = client.answer()
            self.assertEqual((answer.status, answer.body), (200, b"ok"))
            self.assertEqual((answer.values("Connection"), answer.values("Transfer-Encoding")), (["close"], []))

    def test_bodies_have_a_length(self) -> None:
        """Content-Length is the only framing."""
        request = head("/open", "Content-Length: 2", method="POST", version="HTTP/1.0") + b"hi"
        self.assertEqual(self.ask(request).status, 200)
        self.assertTrue(self.origin.received[0].startswith(b"POST /open HTTP/1.1\r\n"))
        self.assertTrue(self.origin.received[0].endswith(b"\r\n\r\nhi"))
