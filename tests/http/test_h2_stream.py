"""Requests over HTTP/2: as the leaves and the upstreams see them, and their answers as the client does."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from gateway.core.errors import Forbidden
from gateway.http.h2_wire import STREAMS, WINDOW
from gateway.http.request import Request
from tests.http.h2_client import Answered, Client, frame
from tests.http.wire import ByHand, Echo, Gateway, Origin

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LARGE = 1024 * 1024
INTERNAL_ERROR, NO_ERROR = 2, 0


class H2TestCase(SynchronousTestCase):
    """A gateway that proxies /a to an origin and echoes at /e, and one client of it."""

    def setUp(self) -> None:
        self.gateway = Gateway(http2=True)
        self.origin = Origin(self.gateway.clock)
        self.reports = self.gateway.proxy(b"/a", self.origin)
        self.gateway.plant(b"/e", Echo(1000))
        self.client = self.connect()

    def connect(self, **options: Any) -> Client:
        return Client(self.gateway.site, self.gateway.clock, **options)

    def tearDown(self) -> None:
        """However it went: no request counts as being in flight when everybody has left."""
        for channel in tuple(self.gateway.site.channels):
            channel.abort()
        self.gateway.clock.advance(0)
        self.assertEqual(self.origin.active, 0)
        self.assertFalse(self.flushLoggedErrors())

    def statuses(self) -> list[int]:
        """Of the requests that are over, once each."""
        return [request.status for request in self.gateway.recorded]

    def answered_early(self, number: int, status: int) -> None:
        """Whether an answer is whole before its request is, and then, after a moment, no more of that wanted."""
        answer = self.client.answer(number)
        self.assertEqual((answer.status, answer.ended, answer.reset), (status, True, None))
        self.gateway.after(2.5)
        self.assertEqual(self.client.answer(number).reset, NO_ERROR)

    def proxied(self, number: int, *pieces: bytes) -> Answered:
        """What comes on a stream once its origin has answered these pieces."""
        self.origin.wires[-1].send(*pieces)
        return self.client.answer(number)


class RequestTests(H2TestCase):
    """From the client to the leaf."""

    def test_answered(self) -> None:
        """A request goes through the tree to its leaf, and its answer comes back."""
        answer = self.client.ask(path="/e/x?y")
        self.assertEqual((answer.status, answer.body, answer.ended, answer.reset), (200, b"/e/x ", True, None))
        self.assertEqual(set(answer.fields), {b":status", b"content-length", b"date", b"x-own", b"x-request-id"})

    def test_upstream(self) -> None:
        """The upstream gets HTTP/1.1 as ever; Via says what the client spoke (RFC 9110 section 7.6.3)."""
        self.client.begin((b"x-a", b"1"), (b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"te", b"trailers"), path="/a/./b")
        head = self.origin.received.decode().split("\r\n")
        self.assertEqual(head[:2], ["GET /a/b HTTP/1.1", "Host: origin:80"])
        self.assertEqual(head[2:5], ["x-a: 1", "cookie: a=1; b=2", "Transfer-Encoding: chunked"])
        self.assertIn("Via: 2.0 smartgate", head)
        self.assertIn("X-Forwarded-Proto: https", head)
        self.assertIn("X-Forwarded-Host: example.com", head)

    def test_no_body(self) -> None:
        """A request that ends with its head has no body."""
        self.client.ask(path="/a")
        self.assertNotIn(b"Transfer-Encoding", self.origin.received)
        self.assertTrue(self.origin.received.endswith(b"\r\n\r\n"))

    def test_body(self) -> None:
        """A body of unknown length goes on in chunks as it comes; a piece of no bytes is none."""
        number = self.client.begin(method="POST", path="/a")
        for piece in (b"abc", b"", b"de"):
            self.client.h2.send_data(number, piece)
            self.client.flush()
        self.assertTrue(self.origin.received.endswith(b"\r\n\r\n3\r\nabc\r\n2\r\nde\r\n"))
        self.client.h2.end_stream(number)
        self.client.flush()
        self.assertTrue(self.origin.received.endswith(b"2\r\nde\r\n0\r\n\r\n"))

    def test_body_with_length(self) -> None:
        """A body of known length goes on as it is."""
        self.client.ask((b"content-length", b"3"), method="POST", path="/a", body=b"abc")
        self.assertIn(b"Content-Length: 3\r\n", self.origin.received)
        self.assertTrue(self.origin.received.endswith(b"\r\n\r\nabc"))

    def test_trailers(self) -> None:
        """Trailers are discarded, and end the body (RFC 9110 section 6.5.1)."""
        number = self.client.begin(method="POST", path="/a")
        self.client.send(number, b"abc")
        self.client.h2.send_headers(number, [(b"x-role", b"admin")], end_stream=True)
        self.client.flush()
        self.assertTrue(self.origin.received.endswith(b"3\r\nabc\r\n0\r\n\r\n"))

    def test_what_is_told_of_a_refused_head(self) -> None:
        """No more than any other request tells: its log line stays short."""
        limit = self.gateway.site.limits.target
        self.client.ask(method="M" * 9000, path="/" + "p" * limit)
        [request] = self.gateway.recorded
        self.assertEqual((len(request.method), len(request.path)), (32, limit))

    def test_trailers_before_the_end(self) -> None:
        """A body that they end too early is none: what comes next on the upstream's connection would be its rest."""
        number = self.client.begin((b"content-length", b"500"), method="POST", path="/a")
        self.client.send(number, b"abc")
        self.client.h2.send_headers(number, [(b"x-t", b"1")], end_stream=True)
        self.client.flush()
        self.assertEqual(self.client.answer(number).status, 400)
        self.assertEqual(self.origin.wires[0].ended, "cut")
        number = self.client.begin((b"content-length", b"500"), method="POST", path="/e")
        self.client.h2.send_headers(number, [(b"x-t", b"1")], end_stream=True)
        self.client.flush()
        self.assertEqual(self.client.answer(number).status, 400)
        self.assertEqual(self.client.channel.answering, [])

    def test_body_of_another_length(self) -> None:
        """One that is shorter or longer than it says ends the connection, and its upstream's too."""
        for body in (b"ab", b"abcd"):
            client, self.client = self.client, self.connect()
            wires = len(self.origin.wires)
            number = client.begin((b"content-length", b"3"), method="POST", path="/a")
            client.raw(frame(0, 1, number, body))
            self.assertIsNotNone(client.ended)
            self.assertEqual(self.origin.wires[wires].ended, "cut")

    def test_malformed(self) -> None:
        """A malformed request is refused, and the others go on (RFC 9113 section 8.1.1)."""
        for fields in ([(b"transfer-encoding", b"chunked")], [(b"X-A", b"1")], [(b"x-a", b"1\r\nx-b: 2")]):
            answer = self.client.ask(*fields, path="/e")
            self.assertEqual((answer.status, answer.code), (400, "BAD_REQUEST"))
        self.assertEqual(self.client.ask(path="/e").status, 200)
        self.assertEqual(self.statuses(), [400, 400, 400, 200])
        self.assertEqual([request.decided_by for request in self.gateway.recorded][:1], ["wire"])

    def test_malformed_with_body(self) -> None:
        """The body of a request that was refused is not wanted (RFC 9113 section 8.1)."""
        self.answered_early(self.client.begin((b"upgrade", b"x"), method="POST", path="/e"), 400)

    def test_length_without_body(self) -> None:
        """A length without a body is refused: an upstream would wait for it."""
        self.assertEqual(self.client.ask((b"content-length", b"3"), path="/a").code, "BAD_REQUEST")
        self.assertEqual(self.origin.received, b"")

    def test_length_not_kept(self) -> None:
        """A body that is not as long as it was said to be ends the connection, and is never complete upstream."""
        number = self.client.begin((b"content-length", b"5"), method="POST", path="/a")
        self.client.h2.send_data(number, b"abc", end_stream=True)
        self.client.flush()
        self.assertEqual(self.client.ended.error_code, 1)  # type: ignore[union-attr]
        self.assertEqual(self.origin.wires[0].ended, "cut")

    def test_path(self) -> None:
        """What is matched and passed on is normal; what cannot be is refused."""
        self.client.begin(path="/x/../a/%7Eb")
        self.assertTrue(self.origin.received.startswith(b"GET /a/~b HTTP/1.1\r\n"))
        self.assertEqual(self.client.ask(path="/a/%00").status, 400)

    def test_limits(self) -> None:
        """Heads and targets have the limits of HTTP/1.1, and the same answers."""
        self.assertEqual(self.client.ask((b"x-a", b"x" * 33000)).code, "HEADERS_TOO_LARGE")
        self.assertEqual(self.client.ask(*[(b"x-a", b"")] * 101).code, "HEADERS_TOO_LARGE")
        self.assertEqual(self.client.ask(path="/" * 9000).code, "URI_TOO_LONG")

    def test_methods(self) -> None:
        """TRACE and CONNECT are refused, and so is a WebSocket over HTTP/2 (RFC 8441)."""
        self.assertEqual(self.client.ask(method="TRACE").status, 405)
        self.assertEqual(
            self.client.answer(self.client.headers([(b":method", b"CONNECT"), (b":authority", b"a:1")])).status, 501
        )
        self.assertEqual(self.client.ask(method="CONNECT", protocol="websocket").status, 400)

    def test_too_large(self) -> None:
        """A body that is too large is answered at once, and no more of it wanted."""
        number = self.client.begin((b"content-length", b"1001"), method="POST", path="/e")
        self.assertEqual(self.client.answer(number).code, "BODY_TOO_LARGE")
        number = self.client.begin(method="POST", path="/e")
        self.client.send(number, b"x" * 1001)
        self.answered_early(number, 413)
        self.assertEqual(self.client.ask(path="/e").status, 200)

    def waiting(self) -> tuple[int, Request]:
        """A stream whose body nobody takes yet, and its request."""
        leaf = ByHand()
        self.gateway.plant(b"/h", leaf)
        number = self.client.begin(method="POST", path="/h")
        return number, leaf.requests[0]

    def test_empty_pieces_before_the_body_is_wanted(self) -> None:
        """They are nothing: written as a chunk, each would end the body, and its rest be taken for a request."""
        number, request = self.waiting()
        self.client.raw(frame(0, 0, number), frame(0, 0, number, b"x"), frame(0, 8, number, b"\2\0\0"))
        self.client.raw(frame(0, 1, number))
        self.assertTrue(request.body_complete)
        self.assertEqual(request.body, [b"x"])

    def test_small_pieces_before_the_body_is_wanted(self) -> None:
        """They are joined: a piece takes more memory than its two bytes."""
        number, request = self.waiting()
        self.client.raw(frame(0, 0, number, b"ab") * 3000)
        self.assertEqual(b"".join(request.body), b"ab" * 3000)
        self.assertLess(len(request.body), 10)

    def test_body_before_it_is_wanted(self) -> None:
        """What comes of a body before somebody takes it waits, and no more comes than the stream's window."""
        leaf = ByHand()
        self.gateway.plant(b"/h", leaf)
        number = self.client.begin(method="POST", path="/h")
        self.client.send(number, b"x" * LARGE)
        self.assertEqual(leaf.requests[0].body_received, WINDOW)
        taken: list[bytes] = []

        class Sink:
            body_data = staticmethod(taken.append)
            body_end = staticmethod(lambda: taken.append(b"end"))

        leaf.requests[0].stream_to(Sink())
        self.client.read()
        self.client.send(number, b"y", end=True)
        self.assertEqual(taken[-2:], [b"y", b"end"])
        leaf.requests[0].respond(204, b"")
        self.assertEqual(self.client.answer(number).status, 204)

    def test_expect(self) -> None:
        """A client that waits for leave to send its body gets it when its upstream is known."""
        number = self.client.begin((b"expect", b"100-continue"), method="POST", path="/a")
        self.assertEqual([head[b":status"] for head in self.client.answer(number).interim], [b"100"])


class AnswerTests(H2TestCase):
    """From the upstream to the client."""

    def test_relayed(self) -> None:
        """An answer comes as the upstream gave it, less what concerned its connection."""
        number = self.client.begin(path="/a")
        answer = self.proxied(
            number,
            b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\nConnection: X-Hop\r\nX-Hop: 1\r\n"
            b"Keep-Alive: 5\r\nX-Kept: yes \r\nSet-Cookie: a=b\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        )
        self.assertEqual((answer.status, answer.body), (201, b"ok"))
        self.assertEqual(set(answer.fields), {b":status", b"x-kept", b"set-cookie", b"x-request-id"})
        self.assertEqual(answer.fields[b"x-kept"], b"yes")

    def test_streams(self) -> None:
        """Pieces of an answer are passed on as they come, and so is its head."""
        number = self.client.begin(path="/a")
        answer = self.proxied(number, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertEqual(self.proxied(number, b"data: 1\n\n").body, b"data: 1\n\n")
        self.assertFalse(answer.ended)

    def test_at_once(self) -> None:
        """Many requests are answered in whatever order their answers come."""
        numbers = [self.client.begin(path=f"/a/{number}", method="PUT") for number in range(3)]
        for wire in reversed(self.origin.wires):
            path = wire.received.split(b" ")[1]
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))
        self.assertEqual([self.client.answer(number).body for number in numbers], [b"/a/0", b"/a/1", b"/a/2"])

    def test_no_body(self) -> None:
        """Answers to HEAD, and 204 and 304, end with their heads."""
        for method, status in (("HEAD", b"200 OK"), ("GET", b"204 No Content"), ("GET", b"304 Not Modified")):
            number = self.client.whole("/a", method)
            length = b"Content-Length: 5\r\n" if method == "HEAD" else b""
            answer = self.proxied(number, b"HTTP/1.1 " + status + b"\r\n" + length + b"\r\n")
            self.assertEqual((answer.status, answer.body, answer.ended), (int(status[:3]), b"", True))

    def test_interim(self) -> None:
        """Interim answers are passed on."""
        number = self.client.begin(path="/a")
        self.proxied(number, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        self.assertEqual(self.client.answer(number).interim, [{b":status": b"103", b"link": b"</a>"}])

    def test_interim_too_late(self) -> None:
        """An interim answer for a client that left in the same moment goes nowhere."""
        leaf = ByHand()
        self.gateway.plant(b"/h", leaf)
        number = self.client.whole("/h")
        leaf.requests[0].channel._connection._wire.reset_stream(number)
        leaf.requests[0].channel.interim(103, b"", b"")
        leaf.requests[0].respond(200, b"", b"x")
        self.client.wire.send(b"")
        self.assertEqual(self.client.answer(number).status, 0)

    def test_cut_off(self) -> None:
        """An answer that ends early is reset, never ended; its line in the log says incomplete."""
        number = self.client.begin(path="/a")
        self.proxied(number, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        self.origin.wires[0].leave()
        answer = self.client.answer(number)
        self.assertEqual((answer.status, answer.ended, answer.reset), (200, False, INTERNAL_ERROR))
        self.assertEqual([request.incomplete for request in self.gateway.recorded], [True])
        self.assertEqual(self.client.ask(path="/e").status, 200)

    def test_aborted_at_once(self) -> None:
        """A request that is aborted before its body is read, which came with it, is reset, and the others go on."""

        class Leaf(Resource):
            isLeaf = True

            def render(self, request: Any) -> int:
                request.abort()
                return NOT_DONE_YET

        self.gateway.plant(b"/s", Leaf())
        head = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"a"), (b":path", b"/s")]
        for number, last in ((1, "end_stream"), (3, "reset_stream")):
            self.client.h2.send_headers(number, head)
            self.client.h2.send_data(number, b"abc")
            getattr(self.client.h2, last)(number)
            self.client.flush()
        self.assertEqual([(request.gone, request.incomplete) for request in self.gateway.recorded], [(True, True)] * 2)
        self.client.raw(frame(6, 0, 0, b"12345678"))
        self.assertIsNone(self.client.ended)

    def test_early(self) -> None:
        """An answer that comes before the body has is complete, and no more of the body wanted."""
        number = self.client.begin(method="POST", path="/a")
        self.client.send(number, b"abc")
        self.proxied(number, OK)
        self.answered_early(number, 200)

    def test_early_and_the_rest(self) -> None:
        """A client that sends the rest of its body in spite of the answer ends the stream itself."""
        number = self.client.begin(method="POST", path="/a")
        self.client.send(number, b"abc")
        self.proxied(number, OK)
        self.client.send(number, b"abc", end=True)
        self.assertFalse(self.client.channel._streams)
        self.assertIsNone(self.client.answer(number).reset)

    def test_body_after_answer(self) -> None:
        """What still comes of a body whose answer waits for the client is taken by nobody."""
        client = self.client = self.connect(takes=False)
        number = client.begin(method="POST", path="/a")
        self.proxied(number, b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + b"x" * 99999)
        client.send(number, b"abc", end=True)
        client.open_window(LARGE)
        client.open_window(LARGE, number)
        answer = client.answer(number)
        self.assertEqual((len(answer.body), answer.ended, answer.reset), (99999, True, None))

    def test_upstream_away(self) -> None:
        """Nobody answers: the client is told so."""
        self.origin.at_once = False
        number = self.client.begin(path="/a")
        for _ in range(2):
            self.origin.refuse(Forbidden())
        self.assertEqual(self.client.answer(number).status, 403)


class FlowTests(H2TestCase):
    """Back-pressure, both ways."""

    def test_large_answer(self) -> None:
        """An answer larger than any window arrives whole."""
        number = self.client.begin(path="/a")
        self.proxied(number, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE, b"x" * LARGE)
        self.client.wait_until(lambda: self.client.answer(number).ended)
        self.assertEqual(len(self.client.answer(number).body), LARGE)

    def test_slow_reader(self) -> None:
        """While a client opens no window its upstream is not read, and when it does all of it comes."""
        client = self.client = self.connect(takes=False)
        number = client.begin(path="/a")
        self.proxied(number, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE, b"x" * LARGE)
        self.assertTrue(self.origin.wires[0].unread)
        self.assertEqual(len(client.answer(number).body), WINDOW)
        client.open_window(LARGE)
        client.open_window(LARGE, number)
        client.wait_until(lambda: client.answer(number).ended)
        self.assertEqual(len(client.answer(number).body), LARGE)

    def test_slow_connection(self) -> None:
        """A client that takes no bytes holds its streams' upstreams back, and their queues are small."""
        self.client.h2.update_settings({4: LARGE * 2})
        self.client.open_window(LARGE * 2)
        self.client.wire.stop_taking()
        number = self.client.begin(path="/a")
        self.proxied(number, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE, b"x" * LARGE)
        self.assertTrue(self.origin.wires[0].unread)
        self.client.wire.take_again()
        self.client.wait_until(lambda: self.client.answer(number).ended)
        self.assertEqual(len(self.client.answer(number).body), LARGE)

    def test_slow_upstream(self) -> None:
        """While the upstream takes nothing no more of the body comes than two windows, and then all of it."""
        number = self.client.begin(method="POST", path="/a")
        self.origin.wires[0].stop_taking()
        self.client.send(number, b"x" * LARGE)
        self.assertLess(self.client.channel._streams[number].request.body_received, 4 * WINDOW)
        self.origin.wires[0].take_again()
        self.client.read()
        self.client.send(number, b"x" * 1000, end=True)
        self.assertTrue(self.origin.received.endswith(b"0\r\n\r\n"))

    def test_one_stream_does_not_hold_another(self) -> None:
        """A body that nobody takes leaves room for the others'."""
        self.gateway.plant(b"/h", ByHand())
        for _ in range(STREAMS - 1):
            self.client.send(self.client.begin(method="POST", path="/h"), b"x" * WINDOW)
        self.assertEqual(self.client.ask(method="POST", path="/e", body=b"abc").body, b"/e abc")

    def test_small_window(self) -> None:
        """A client may open its windows in steps, and close them by its settings."""
        client = self.client = self.connect(takes=False)
        client.h2.update_settings({4: 0})
        client.flush()
        number = client.ask(path="/e")
        self.assertEqual((number.status, number.body), (200, b""))
        client.open_window(2, 1)
        self.assertEqual(client.answer(1).body, b"/e")
        client.h2.update_settings({4: 1000})
        client.flush()
        self.assertEqual(client.answer(1).body, b"/e ")

    def test_window_is_given_back(self) -> None:
        """Streams that end with a body nobody took leave the connection's window as it was."""
        self.gateway.plant(b"/h", ByHand())
        for _ in range(STREAMS + 20):
            number = self.client.begin(method="POST", path="/h")
            self.client.send(number, b"x" * WINDOW)
            self.client.reset(number)
        self.assertEqual(self.client.ask(method="POST", path="/e", body=b"abc").body, b"/e abc")


class LeavingTests(H2TestCase):
    """Clients that do not wait."""

    def test_reset(self) -> None:
        """A client that leaves a stream takes its upstream request with it; the others go on."""
        number = self.client.begin(path="/a")
        self.client.reset(number)
        self.assertEqual(self.origin.wires[0].ended, "cut")
        self.assertEqual([request.gone for request in self.gateway.recorded], [True])
        self.assertEqual(self.client.ask(path="/e").status, 200)

    def test_reset_in_the_answer(self) -> None:
        """The same when the answer has begun."""
        client = self.client = self.connect(takes=False)
        number = client.begin(path="/a")
        self.proxied(number, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE, b"x" * LARGE)
        client.reset(number)
        self.assertEqual(self.origin.wires[0].ended, "cut")
        self.assertEqual(self.statuses(), [200])

    def test_reset_with_the_request(self) -> None:
        """A request that is left in the moment it comes is recorded once."""
        number = self.client._next
        self.client.h2.send_headers(
            number, [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a"), (b":path", b"/e")], True
        )
        self.client.h2.reset_stream(number)
        self.client.flush()
        self.assertEqual(len(self.gateway.recorded), 1)

    def test_connection_lost(self) -> None:
        """A connection that is lost takes all its requests with it."""
        for _ in range(3):
            self.client.begin(path="/a")
        self.client.wire.leave(clean=False)
        self.assertEqual([wire.ended for wire in self.origin.wires], ["cut"] * 3)
        self.assertEqual([request.gone for request in self.gateway.recorded], [True] * 3)
        self.assertFalse(self.gateway.site.channels)

    def test_goaway(self) -> None:
        """A client that ends the conversation ends its requests."""
        self.client.begin(path="/a")
        self.client.h2.close_connection()
        self.client.flush()
        self.assertEqual(self.origin.wires[0].ended, "cut")
        self.assertEqual(self.client.wire.ended, "closed")


class StockTests(H2TestCase):
    """Resources of twisted.web."""

    def test_renders(self) -> None:
        """A static resource answers."""

        class Leaf(Resource):
            isLeaf = True

            def render(self, request: Any) -> int:
                request.setHeader(b"Connection", b"close")
                request.setHeader(b"Content-Type", b"text/plain")
                request.write(b"static")
                request.finish()
                return NOT_DONE_YET

        self.gateway.plant(b"/s", Leaf())
        answer = self.client.ask(path="/s")
        self.assertEqual((answer.body, answer.fields[b"content-type"], answer.ended), (b"static", b"text/plain", True))
        self.assertNotIn(b"connection", answer.fields)

    def test_pull_producer(self) -> None:
        """A pull producer is asked while there is room, and told when the client has left."""
        asked: list[str] = []

        class Leaf(Resource):
            isLeaf = True

            def render(self, request: Any) -> int:
                class Producer:
                    def resumeProducing(self) -> None:
                        asked.append("more")
                        request.write(b"x" * 50000)

                    def stopProducing(self) -> None:
                        asked.append("stop")

                request.registerProducer(Producer(), False)
                return NOT_DONE_YET

        self.gateway.plant(b"/s", Leaf())
        client = self.client = self.connect(takes=False)
        number = client.whole("/s")
        for _ in range(10):
            self.gateway.clock.advance(0)
        self.assertEqual(len(asked), 2)
        client.open_window(LARGE)
        client.open_window(60000, number)
        for _ in range(10):
            self.gateway.clock.advance(0)
        self.assertGreater(len(asked), 2)
        client.reset(number)
        self.assertEqual(asked[-1], "stop")

    def test_push_producer(self) -> None:
        """A push producer is paused and resumed, and unregistered when it is done."""
        told: list[str] = []
        leaf = ByHand()
        self.gateway.plant(b"/s", leaf)
        client = self.client = self.connect(takes=False)
        number = client.whole("/s")

        class Producer:
            pauseProducing = staticmethod(lambda: told.append("pause"))
            resumeProducing = staticmethod(lambda: told.append("resume"))

        request = leaf.requests[0]
        request.registerProducer(Producer(), True)
        request.write(b"x" * 200000)
        client.open_window(LARGE)
        client.open_window(LARGE, number)
        request.unregisterProducer()
        request.finish()
        self.gateway.clock.advance(0)
        self.assertEqual(told, ["pause", "resume"])
        self.assertEqual(len(client.answer(number).body), 200000)
        self.assertEqual((request.transport, request.isSecure()), (client.wire, True))

    def test_pull_producer_done(self) -> None:
        """A resource's output that is full after its producer has gone holds nobody."""
        leaf = ByHand()
        self.gateway.plant(b"/s", leaf)
        client = self.client = self.connect(takes=False)
        number = client.whole("/s")
        leaf.requests[0].write(b"x" * 200000)
        leaf.requests[0].finish()
        client.open_window(LARGE)
        client.open_window(LARGE, number)
        self.assertEqual((len(client.answer(number).body), client.answer(number).ended), (200000, True))
