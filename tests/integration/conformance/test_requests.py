"""Requests that could be read in two ways, are too large or too late, or are not HTTP: refused, and never forwarded."""

from __future__ import annotations

import time

from tests.integration.conformance.case import WireTestCase, head, place, post

CHUNKED = "Transfer-Encoding: chunked"


class FramingTests(WireTestCase):
    """Where a body ends (RFC 9112 section 6)."""

    def test_content_length_beside_transfer_encoding(self) -> None:
        """Two framings are 400, in either order."""
        for lines in (("Content-Length: 3", CHUNKED), (CHUNKED, "Content-Length: 3")):
            self.assertRefused(400, head("/open", *lines, method="POST") + b"0\r\n\r\n")

    def test_repeated_content_length(self) -> None:
        """Two lengths are 400: differing, equal, or in one field."""
        for lines in (
            ("Content-Length: 1", "Content-Length: 2"),
            ("Content-Length: 2", "Content-Length: 2"),
            ("Content-Length: 2, 2",),
        ):
            self.assertRefused(400, head("/open", *lines, method="POST") + b"ab")

    def test_content_length_is_digits_only(self) -> None:
        """Signs, hexadecimal, fractions, nothing at all, and what no machine can count are 400."""
        for value in ("+1", "-1", "0x1", "1.0", "1e0", "", "1 1", "9" * 30):
            self.assertRefused(400, head("/open", f"Content-Length: {value}", method="POST") + b"a")

    def test_transfer_coding_that_does_not_end_in_chunked(self) -> None:
        """400, and whatever follows is not read."""
        for value in ("chunked, gzip", "gzip", "identity", "chunked, chunked", "xchunked", "chunked;q=1", '"chunked"'):
            self.assertRefused(400, head("/open", f"Transfer-Encoding: {value}", method="POST") + b"0\r\n\r\n")

    def test_repeated_transfer_encoding(self) -> None:
        """Chunked twice is 400, in two fields too."""
        self.assertRefused(400, head("/open", CHUNKED, CHUNKED, method="POST") + b"0\r\n\r\n")

    def test_unknown_transfer_coding(self) -> None:
        """501, in one field or two."""
        for lines in (("Transfer-Encoding: gzip, chunked",), ("Transfer-Encoding: gzip", CHUNKED)):
            self.assertRefused(501, head("/open", *lines, method="POST") + b"0\r\n\r\n")

    def test_transfer_encoding_in_http_1_0(self) -> None:
        """400: HTTP/1.0 has none."""
        self.assertRefused(400, head("/open", CHUNKED, method="POST", version="HTTP/1.0") + b"0\r\n\r\n")

    def test_bodies_reach_the_origin_whole(self) -> None:
        """By length or in chunks, empty or large, with the end that belongs to them."""
        large = b"y" * 300_000
        for framing, body in (
            ("Content-Length: 0", b""),
            ("Content-Length: 300000", large),
            (CHUNKED, b"0\r\n\r\n"),
            (CHUNKED, b"5\r\nhello\r\n0\r\n\r\n"),
        ):
            self.origin.reset()
            self.assertEqual(self.ask(head("/open", framing, method="POST") + body).status, 200)
            self.assertEqual(self.origin.received[0].partition(b"\r\n\r\n")[2], body)
            self.assertIn(framing.encode(), self.origin.received[0])

    def test_malformed_chunks(self) -> None:
        """A chunked body that breaks its framing is 400, and the origin never sees it end."""
        for body in (
            b"x\r\n",
            b"-1\r\n",
            b"0x2\r\nab\r\n",
            b"1\r\nab\r\n",
            b"2\nab\n",
            b" 2\r\nab\r\n",
            b"f" * 20 + b"\r\n",
        ):
            self.origin.reset()
            answer = self.ask(head("/open", CHUNKED, method="POST") + body)
            self.assertEqual((answer.status, answer.values("Connection")), (400, ["close"]), body)
            self.assertFalse(any(request.endswith(b"0\r\n\r\n") for request in self.origin.received), body)

    def test_malformed_chunk_after_a_good_one(self) -> None:
        """The request that is on its way is cut off at the origin."""
        self.origin.whole = False
        self.origin.plan(())
        client = self.client()
        client.send(head("/open", CHUNKED, method="POST"), b"2\r\nab\r\n")
        self.until_received()
        client.send(b"nonsense\r\n0\r\n\r\n")
        self.assertEqual(client.answer().status, 400)
        self.assertTrue(self.origin.closed.wait(5))

    def test_chunk_extensions_are_bounded_and_dropped(self) -> None:
        """A few are dropped; endless ones are 400."""
        self.ask(head("/open", CHUNKED, method="POST") + b"2;a=b\r\nok\r\n0\r\n\r\n")
        self.assertTrue(self.origin.received[0].endswith(b"\r\n\r\n2\r\nok\r\n0\r\n\r\n"))
        client = self.client()
        client.send(head("/open", CHUNKED, method="POST"), b"2;" + b"x" * 200_000)
        self.assertEqual(client.answer().status, 400)


class FieldSyntaxTests(WireTestCase):
    """Header fields (RFC 9112 section 5)."""

    def test_ambiguous_lines(self) -> None:
        """Folded lines, space before the colon, stray CR, LF and NUL, and names that are no tokens are 400."""
        for line in (
            b"X: 1\r\n folded",
            b"X: 1\r\n\tfolded",
            b"X : 1",
            b" X: 1",
            b"X: 1\x002",
            b"X: 1\r2",
            b"X: 1\n2",
            b"X: 1\nY: 2",
            b"X: 1\x01",
            b"X\x00: 1",
            b"X Y: 1",
            b"X(: 1",
            b": 1",
            b"X",
        ):
            self.assertRefused(400, b"GET /open HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n")

    def test_bare_line_feeds(self) -> None:
        """Lines end with CR LF and nothing else."""
        self.assertRefused(400, b"GET /open HTTP/1.1\nHost: a\n\n")
        self.assertRefused(400, b"GET /open HTTP/1.1\r\nHost: a\n\r\n")

    def test_fields_are_passed_as_they_came(self) -> None:
        """Spelling, order, repetition and bytes above 127 stay."""
        self.ask(head("/open", "x-ONE: a", "Accept: b", "x-ONE:c", "X-High: \xe9"))
        self.assertIn(b"x-ONE: a\r\nAccept: b\r\nx-ONE: c\r\nX-High: \xe9\r\n", self.origin.received[0])

    def test_request_lines_that_are_not_http(self) -> None:
        """400, or 505 for another version; never a guess."""
        for line, status in (
            (b"GET /open", 505),
            (b"GET /open HTTP/1.1 x", 400),
            (b"GET /open HTTP/11", 400),
            (b"GET /open http/1.1", 400),
            (b"GET /op en HTTP/1.1", 400),
            (b"GARBAGE /open HTTP/1.1", 400),
            (b"get /open HTTP/1.1", 400),
            (b"\x16\x03\x01\x02\x00", 400),
            (b"PRI * HTTP/2.0", 400),
            (b"GET /open HTTP/2.0", 505),
            (b"GET /open HTTP/1.2", 400),
            (b"GET /open HTTP/0.9", 505),
        ):
            self.assertRefused(status, line + b"\r\nHost: a\r\n\r\n")


class HostTests(WireTestCase):
    """Whom a request is for (RFC 9112 section 3.2)."""

    def test_missing_repeated_and_invalid(self) -> None:
        """400, whatever else the request says."""
        for lines in (
            b"",
            b"Host: a\r\nHost: b\r\n",
            b"Host: a\r\nHost: a\r\n",
            b"Host: \r\n",
            b"Host: a b\r\n",
            b"Host: a, b\r\n",
            b"Host: a/b\r\n",
            b"Host: user@a\r\n",
            b"Host: a:b\r\n",
            b"Host: a:1:2\r\n",
            b"Host: [::1\r\n",
            b"Host: http://a\r\n",
        ):
            self.assertRefused(400, b"GET /open HTTP/1.1\r\n" + lines + b"\r\n")
        self.assertRefused(400, b"GET http://a/open HTTP/1.1\r\n\r\n")

    def test_origin_gets_its_own_host(self) -> None:
        """The client's goes on as X-Forwarded-Host, or as Host where the route says so."""
        self.ask(head("/open"))
        self.ask(head("/hosted"))
        self.assertEqual(self.forwarded("Host"), [f"127.0.0.1:{self.origin.port}"])
        self.assertEqual(self.forwarded("X-Forwarded-Host"), ["api.example.com"])
        self.assertEqual(self.forwarded("Host", 1), ["api.example.com"])

    def test_absolute_form_wins_over_host(self) -> None:
        """An http URL as target is taken apart; its authority counts."""
        answer = self.ask(head("HTTP://other.example:8080/hosted/x?y=1"))
        self.assertEqual(answer.status, 200)
        self.assertTrue(self.origin.received[0].startswith(b"GET /hosted/x?y=1 HTTP/1.1\r\n"))
        self.assertEqual(self.forwarded("Host"), ["other.example:8080"])
        self.assertEqual(self.forwarded("X-Forwarded-Host"), ["other.example:8080"])

    def test_absolute_form_is_guarded_as_any_path(self) -> None:
        """A URL is no way around a guard, and neither is one without a path."""
        self.assertEqual(self.ask(head("http://api.example.com/api/users")).status, 401)
        self.assertEqual(self.ask(head("http://api.example.com")).status, 404)
        for target in ("ftp://a/open", "http:///open", "http://u@a/open", "//a/open", "open", "*"):
            self.assertIn(self.ask(head(target)).status, (400, 404), target)
        self.assertEqual(self.origin.received, [])


class MethodTests(WireTestCase):
    """Methods a gateway does not carry (RFC 9110 section 9.3)."""

    def test_trace_and_connect(self) -> None:
        """405 and 501, and nothing is tunnelled."""
        self.assertRefused(405, head("/open", method="TRACE"))
        self.assertRefused(501, head("api.example.com:443", method="CONNECT") + b"hello")
        self.assertRefused(501, head("/open", method="CONNECT") + b"hello")

    def test_methods_of_other_protocols(self) -> None:
        """RTSP and Icecast look like HTTP, and are not."""
        for method in ("ANNOUNCE", "SETUP", "OPTIONS", "GET", "POST"):
            self.assertRefused(400, head("/open", method=method, version="RTSP/1.0"))
        self.assertRefused(501, head("/open", method="SOURCE", version="ICE/1.0"))
        self.assertRefused(501, head("/open", method="SOURCE"))

    def test_other_methods_pass(self) -> None:
        """With their bodies, GET's too."""
        for method in ("DELETE", "PUT", "PATCH", "OPTIONS", "PROPFIND", "GET"):
            self.origin.reset()
            self.ask(head("/open", "Content-Length: 2", method=method) + b"hi")
            self.assertTrue(self.origin.received[0].startswith(method.encode() + b" /open "), method)
            self.assertTrue(self.origin.received[0].endswith(b"\r\n\r\nhi"), method)


class SizeTests(WireTestCase):
    """How large a request may be."""

    def test_targets(self) -> None:
        """Up to 8 KiB pass; more is 414, with or without its end."""
        path = "/open/" + "x" * (8192 - 6)
        self.assertForwarded(path, head(path))
        self.origin.reset()
        self.assertRefused(414, head(path + "x"))
        self.assertRefused(414, b"GET /" + b"x" * 100_000)

    def test_head_size(self) -> None:
        """Up to 32 KiB pass; more is 431: in one field, in many, or without an end."""
        self.assertEqual(self.ask(head("/open", "X: " + "x" * 32_000)).status, 200)
        self.origin.reset()
        self.assertRefused(431, head("/open", "X: " + "x" * 40_000))
        self.assertRefused(431, head("/open", *["X: " + "x" * 1000] * 40))
        self.assertRefused(431, head("/open")[:-2] + b"X: " + b"x" * 300_000)
        self.assertRefused(431, head("/open")[:-2] + b"x" * 300_000)

    def test_number_of_fields(self) -> None:
        """Up to 100 pass; more is 431."""
        self.assertEqual(self.ask(head("/open", *["X: 1"] * 99)).status, 200)
        self.origin.reset()
        self.assertRefused(431, head("/open", *["X: 1"] * 100))

    def test_body_by_its_content_length(self) -> None:
        """413 at once, before any of it has come."""
        self.assertRefused(413, head("/small", "Content-Length: 1025", method="POST"))
        self.assertEqual(self.ask(post("/small", b"x" * 1024)).status, 200)

    def test_chunked_body_is_counted(self) -> None:
        """413 as soon as it is over; what the origin got of it does not end."""
        chunk = b"400\r\n" + b"x" * 1024 + b"\r\n"
        self.assertEqual(self.ask(head("/small", CHUNKED, method="POST") + chunk + b"0\r\n\r\n").status, 200)
        self.origin.reset()
        client = self.client()
        client.send(head("/small", CHUNKED, method="POST"), chunk)
        client.send(chunk)
        answer = client.answer()
        self.assertEqual((answer.status, answer.values("Connection")), (413, ["close"]))
        self.assertFalse(any(request.endswith(b"0\r\n\r\n") for request in self.origin.received))


class RefusalTests(WireTestCase):
    """How a connection ends that cannot be read any further."""

    def test_refusal_reaches_a_client_that_is_still_sending(self) -> None:
        """The rest is read and dropped for a while, so that no reset eats the answer (RFC 9112 section 9.6)."""
        for start, status in (
            (head("/open", "Transfer-Encoding: gzip", method="POST"), 400),
            (head("/open", "X: " + "x" * 40_000), 431),
            (head("/small", "Content-Length: 4000000", method="POST"), 413),
            (head("/api/users", "Content-Length: 4000000", method="POST"), 401),
            (head("/api/auth/%00"), 400),
        ):
            client = self.client()
            client.send(start)
            for _ in range(40):
                client.send(b"x" * 100_000)
            answer = client.answer()
            self.assertEqual((answer.status, answer.values("Connection")), (status, ["close"]), start[:80])
            self.assertEqual(client.rest(), b"")

    def test_nothing_after_a_refusal_is_a_request(self) -> None:
        """Requests behind one that ended the connection are not served, however they came."""
        for refused in (
            head("/open", "Transfer-Encoding: gzip", method="POST"),
            head("/api/auth/%00"),
            head("/small", "Content-Length: 2000", method="POST"),
            head("/nowhere", "Content-Length: 2000", method="POST"),
        ):
            client = self.client()
            client.send(refused, head("/open/smuggled"), head("/open/smuggled"))
            self.assertEqual(client.answer().values("Connection"), ["close"], refused[:80])
            self.assertEqual(client.rest(), b"", refused[:80])
        self.assertEqual(self.origin.received, [])

    def test_nothing_after_connection_close_is_a_request(self) -> None:
        """A client that said it was done is, in HTTP/1.0 too, where keep-alive is not spoken."""
        for first in (
            head("/nowhere", "Connection: close"),
            head("/nowhere", version="HTTP/1.0"),
            head("/nowhere", "Connection: keep-alive", version="HTTP/1.0"),
        ):
            client = self.client()
            client.send(first, head("/open/smuggled"))
            self.assertEqual(client.answer().status, 404)
            self.assertEqual(client.rest(), b"", first)
        self.assertEqual(self.origin.received, [])


class TimeoutTests(WireTestCase):
    """Clients that take their time."""

    def setUp(self) -> None:
        self.origin, self.gateway = place('head_timeout = "400ms"\nbody_timeout = "400ms"\nidle_timeout = "400ms"')
        self.origin.reset()

    def test_head_that_does_not_end(self) -> None:
        """408, also when a byte comes now and then."""
        client = self.client()
        client.send(b"GET /open HTTP/1.1\r\n")
        for _ in range(3):
            self.assertTrue(client.silent(0.1))
            client.send(b"X: 1\r\n")
        answer = client.answer()
        self.assertEqual((answer.status, answer.values("Connection"), client.rest()), (408, ["close"], b""))

    def test_body_that_stops(self) -> None:
        """408, and the origin's request is cut off."""
        client = self.client()
        client.send(head("/open", "Content-Length: 10", method="POST"), b"half")
        answer = client.answer()
        self.assertEqual((answer.status, answer.values("Connection"), client.rest()), (408, ["close"], b""))
        self.assertTrue(self.origin.closed.wait(5))

    def test_body_that_is_slow_goes_on(self) -> None:
        """What counts is the time between two reads, as long as the body comes at the least rate."""
        client = self.client()
        client.send(head("/open", "Content-Length: 6000", method="POST"))
        for _ in range(6):
            self.assertTrue(client.silent(0.1))
            client.send(bytes(1000))
        self.assertEqual(client.answer().status, 200)

    def test_idle_connections_are_closed_silently(self) -> None:
        """Before a first request and after an answer: an end, and no answer that nobody asked for."""
        fresh, used = self.client(), self.client()
        used.send(head("/open"))
        self.assertEqual(used.answer().status, 200)
        self.assertEqual((fresh.rest(), used.rest()), (b"", b""))

    def test_slow_answers_are_not_idleness(self) -> None:
        """A client that waits for its origin is waited with, its pipelined head too."""
        self.origin.plan((lambda _: time.sleep(0.8), b"HTTP/1.1 204 Late\r\n\r\n"))
        client = self.client()
        client.send(head("/open/1"), head("/open/2"), head("/open/3")[:-2])
        self.assertEqual(client.answer().status, 204)
        client.send(b"\r\n")
        self.assertEqual((client.answer().status, client.answer().status), (200, 200))
