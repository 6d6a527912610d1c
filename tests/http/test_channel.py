"""Tests of gateway.http.channel: what a client sends, and what it gets for it."""

from __future__ import annotations

import gc
from typing import Any
from weakref import ref

from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from gateway.core.errors import BodyTooLarge, Forbidden
from gateway.http.channel import SLICE, HTTPChannel
from gateway.http.site import Limits
from gateway.http.transport import LONG
from tests.http.wire import READ, ByHand, Echo, Gateway, SecureWire, Wire, ask, chunks, read_answers


class ChannelTestCase(SynchronousTestCase):
    """A gateway with an echo below /echo and a leaf that is answered by hand below /hand, and one client."""

    def setUp(self) -> None:
        self.begin(Limits())

    def begin(self, limits: Limits) -> None:
        """Start over, with other limits."""
        self.gateway = Gateway(limits)
        self.hand = ByHand()
        self.gateway.plant(b"/hand", self.hand)
        self.gateway.plant(b"/echo", Echo())
        self.gateway.plant(b"/small", Echo(limit=10))
        self.client = self.gateway.connect()

    def after(self, seconds: float) -> None:
        self.gateway.after(seconds)

    def answers(self, client: Wire | None = None) -> list[tuple[int, bytes]]:
        """Status and body of what the client got so far."""
        return [(answer.status, answer.body) for answer in read_answers((client or self.client).received)]

    def refusal(self, *sent: bytes) -> tuple[int, str]:
        """Status and code of the one answer that a new connection gets, which says that it closes."""
        client = self.gateway.connect()
        client.send(*sent)
        answers = read_answers(client.received)
        self.assertEqual(len(answers), 1, sent)
        answer = answers[0]
        self.assertEqual((answer.fields["Connection"], answer.fields["X-Own"]), ("close", "yes"), sent)
        self.assertIn(client.ended, ("closed", "half closed"), sent)
        return answer.status, answer.code


class SequenceTests(ChannelTestCase):
    """One request after the other on one connection."""

    def test_keep_alive(self) -> None:
        """The connection serves another request, however long after."""
        self.client.send(ask("/echo/1"))
        self.after(60)
        self.client.send(ask("/echo/2"))
        self.assertEqual(self.answers(), [(200, b"/echo/1 "), (200, b"/echo/2 ")])
        self.assertEqual(self.client.ended, "")
        self.assertNotIn(b"Connection:", self.client.received)

    def test_byte_by_byte(self) -> None:
        """How the bytes are cut into reads makes no difference."""
        whole = ask("/echo/1", "Transfer-Encoding: chunked", method="POST", body=chunks(b"ab", b"c")) + ask("/echo/2")
        self.client.send(*(bytes((byte,)) for byte in whole))
        self.assertEqual(self.answers(), [(200, b"/echo/1 abc"), (200, b"/echo/2 ")])

    def test_pipelined_requests_are_answered_in_their_order(self) -> None:
        """A request begins when the one before it has been answered."""
        self.client.send(ask("/hand/1") + ask("/echo/2") + ask("/hand/3"))
        self.assertEqual([request.path for request in self.hand.requests], [b"/hand/1"])
        self.hand.requests[0].respond(200, b"", b"first")
        self.assertEqual([request.path for request in self.hand.requests], [b"/hand/1", b"/hand/3"])
        self.hand.requests[1].respond(200, b"", b"third")
        self.assertEqual(self.answers(), [(200, b"first"), (200, b"/echo/2 "), (200, b"third")])
        self.assertEqual([request.path for request in self.gateway.recorded], [b"/hand/1", b"/echo/2", b"/hand/3"])

    def test_many_pipelined_requests(self) -> None:
        """A thousand requests in a few reads get a thousand answers."""
        self.client.send(b"".join(ask(f"/echo/{number}") for number in range(1000)))
        self.assertEqual(self.answers(), [(200, b"/echo/%d " % number) for number in range(1000)])

    def test_how_many_wait(self) -> None:
        """Of a large read of small requests only a few are taken apart at a time; all are answered, in their order."""
        begin = b"POST /hand HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n" + bytes(9000)
        small = b"GET /hand HTTP/1.1\r\nHost: a\r\n\r\n"
        self.client.send(begin + small * 1000)
        channel: Any = next(iter(self.gateway.site.channels))
        number = 0
        while number < len(self.hand.requests):
            self.assertLess(len(channel._waiting), SLICE / len(small) + 1)
            self.hand.requests[number].respond(200, b"", b"%d" % number)
            number += 1
            self.after(0)
        self.assertEqual(self.answers(), [(200, b"%d" % index) for index in range(1001)])
        self.assertEqual(channel._ahead, b"")

    def test_more_than_what_waits(self) -> None:
        """TLS hands over all records of a read, whether or not anybody reads: the later ones keep their place."""
        channel: Any = next(iter(self.gateway.site.channels))
        for later in (1, 1000):
            self.hand.requests.clear()
            channel.dataReceived(ask("/hand/first") * 1000)
            channel.dataReceived(ask("/hand/later") * later)
            number = 0
            while number < len(self.hand.requests):
                self.hand.requests[number].respond(200, b"")
                number += 1
                self.after(0)
            paths = [request.path for request in self.hand.requests]
            self.assertEqual(paths, [b"/hand/first"] * 1000 + [b"/hand/later"] * later)

    def test_many_that_take_long(self) -> None:
        """Requests that are answered at once are served for a while, and the next ones when others had a turn."""
        served = self.take_long(1000)
        self.assertLess(served, SLICE / len(self.SMALL) + 11)
        self.after(1)
        self.assertEqual(len(self.answers()), 1000)

    def test_stopping_before_those(self) -> None:
        """One more of them is answered when the gateway stops, and that says that it is the last."""
        served = self.take_long(1000)
        self.gateway.site.close_idle()
        self.after(1)
        answers = read_answers(self.client.received)
        self.assertEqual((len(answers), answers[-1].fields["Connection"]), (served + 1, "close"))

    SMALL = b"GET /taking HTTP/1.1\r\nHost: a\r\n\r\n"

    def take_long(self, count: int) -> int:
        """Send so many requests that take a while at once; returns how many are answered in the same turn."""
        clock, served = self.gateway.clock, []

        class Taking(Resource):
            isLeaf = True

            def render(self, request: Any) -> int:
                served.append(request.path)
                clock.rightNow += LONG / 10
                request.respond(404, b"")
                return NOT_DONE_YET

        self.gateway.plant(b"/taking", Taking())
        channel: Any = next(iter(self.gateway.site.channels))
        channel.dataReceived(self.SMALL * count)
        return len(served)

    def test_requests_behind_a_last_one(self) -> None:
        """Those that were not taken apart yet are not served either."""
        self.client.send(b"GET /hand HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + ask("/hand") * 1000)
        self.hand.requests[0].respond(200, b"")
        self.after(0)
        self.assertEqual((len(self.hand.requests), self.client.ended), (1, "closed"))

    def test_much_behind_an_upgrade(self) -> None:
        """It is kept as it came, for the protocol that gets the connection."""
        later = bytes(range(256)) * 100
        self.client.send(ask("/hand", "Connection: upgrade", "Upgrade: x") + later)
        _, held = self.hand.requests[0].channel.detach()
        self.assertEqual(held, later)

    def test_small_pieces_of_a_body_that_waits(self) -> None:
        """They are joined: a piece takes more memory than its two bytes."""
        self.client.send(ask("/hand", "Transfer-Encoding: chunked", method="POST", body=chunks(*[b"ab"] * 3000)))
        [request] = self.hand.requests
        self.assertEqual(b"".join(request.body), b"ab" * 3000)
        self.assertLess(len(request.body), 10)

    def test_nothing_is_read_while_a_request_waits(self) -> None:
        """What comes behind a waiting request stays in the client's socket."""
        self.client.send(ask("/hand/1") + ask("/hand/2"), ask("/echo/3"))
        self.assertEqual(self.client.unread, ask("/echo/3"))
        self.hand.requests[0].respond(200, b"")
        self.after(0)
        self.hand.requests[1].respond(200, b"")
        self.after(0)
        self.assertEqual(self.answers(), [(200, b""), (200, b""), (200, b"/echo/3 ")])

    def test_answers_that_nobody_takes_are_bounded(self) -> None:
        """A client that sends requests but takes no answers is not read any further, and neither is its queue begun."""
        self.client.stop_taking()
        number = 0
        while not self.client.unread:
            number += 1
            self.assertLess(number, 100)
            self.client.send(ask("/echo/" + "x" * 4000) * 8)
        self.assertLess(len(self.gateway.recorded) * 4000, READ + 8000)
        self.client.take_again()
        self.assertEqual(len(self.answers()), number * 8)

    def test_a_body_is_read_while_the_client_takes_nothing(self) -> None:
        """Somebody may take an answer only after sending the whole body."""
        self.client.stop_taking()
        self.client.send(ask("/hand", "Content-Length: 6", method="POST", body=b"abc"))
        request = self.hand.requests[0]
        request.write(b"x" * READ * 2)
        self.client.send(b"def")
        self.assertEqual((b"".join(request.body), request.body_complete), (b"abcdef", True))

    def test_connection_close(self) -> None:
        """A client that wants no more gets its answer, and the connection is closed."""
        self.client.send(ask("/echo/1", "Connection: close"))
        self.assertEqual(self.answers(), [(200, b"/echo/1 ")])
        self.assertIn(b"Connection: close\r\n", self.client.received)
        self.assertEqual(self.client.ended, "closed")

    def test_nothing_follows_connection_close(self) -> None:
        """What comes after the last request is no request."""
        self.client.send(ask("/hand", "Connection: close") + ask("/echo/1"), ask("/echo/2"))
        self.hand.requests[0].respond(200, b"")
        self.assertEqual(self.answers(), [(200, b"")])

    def test_http_1_0(self) -> None:
        """It is answered and closed, with or without Host, whatever it says of keep-alive."""
        for sent in (b"GET /echo HTTP/1.0\r\n\r\n", b"GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 2):
            client = self.gateway.connect()
            client.send(sent)
            self.assertEqual(self.answers(client), [(200, b"/echo ")])
            self.assertEqual(client.ended, "closed")

    def test_nothing_is_begun_after_the_last_answer(self) -> None:
        """A request behind it may be sent again on another connection, so that it must not be served here."""
        self.client.send(ask("/echo", "Connection: keep-alive", version="1.0") + ask("/hand") + ask("/hand"))
        self.assertEqual(self.hand.requests, [])
        self.assertEqual((len(self.answers()), self.gateway.recorded[0].path), (1, b"/echo"))

    def test_head_has_no_body(self) -> None:
        """An answer to HEAD says how long the body would be, and the next answer follows at once."""
        self.client.send(ask("/echo/12", method="HEAD") + ask("/echo/2"))
        first, second = read_answers(self.client.received, "HEAD")
        self.assertEqual((first.fields["Content-Length"], first.body, second.body), ("9", b"", b"/echo/2 "))

    def test_answers_that_have_no_body(self) -> None:
        """204 and 304 carry neither a body nor its length."""
        for status in (204, 304):
            self.client.send(ask("/hand"))
            self.hand.requests[-1].respond(status, b"", b"never")
        self.assertEqual(self.answers(), [(204, b""), (304, b"")])
        self.assertNotIn(b"Content-Length", self.client.received)

    def test_client_leaves(self) -> None:
        """The request being served and the one behind it are over, and recorded once."""
        self.client.send(ask("/hand/1") + ask("/hand/2"))
        self.client.leave()
        self.assertEqual([request.path for request in self.gateway.recorded], [b"/hand/1", b"/hand/2"])
        self.assertTrue(self.hand.requests[0].gone)
        self.assertEqual(self.gateway.site.channels, set())
        self.assertEqual(self.gateway.clock.getDelayedCalls()[1:], [])

    def test_a_request_whose_client_left_cannot_be_refused(self) -> None:
        """There is nobody to tell."""
        self.client.send(ask("/hand"))
        self.client.leave()
        self.hand.requests[0].refuse(Forbidden())
        self.assertEqual(self.client.received, b"")


class BodyTests(ChannelTestCase):
    """Bodies, in either framing."""

    def test_content_length(self) -> None:
        """As many bytes as announced, and then the next request."""
        self.client.send(ask("/echo/1", "Content-Length: 5", method="POST", body=b"hel"), b"lo" + ask("/echo/2"))
        self.assertEqual(self.answers(), [(200, b"/echo/1 hello"), (200, b"/echo/2 ")])

    def test_no_content(self) -> None:
        """A length of 0 is a body that is complete with the head."""
        self.client.send(ask("/hand", "Content-Length: 0", method="POST"))
        self.assertTrue(self.hand.requests[0].body_complete)

    def test_chunked(self) -> None:
        """Chunks are joined; extensions and trailers are dropped."""
        body = b'2;a=b;c="d"\r\nhe\r\n3\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\n'
        self.client.send(ask("/hand", "Transfer-Encoding: chunked", method="POST", body=body))
        request = self.hand.requests[0]
        self.assertEqual((b"".join(request.body), request.body_complete), (b"hello", True))
        self.assertEqual([name for name, _ in request.fields], [b"Host", b"Transfer-Encoding"])
        self.assertIsNone(request.field(b"x-trailer"))

    def test_a_body_nobody_takes_is_not_read_on(self) -> None:
        """One buffer of it is kept until somebody takes it; the rest stays with the client."""
        self.client.send(ask("/hand", f"Content-Length: {READ * 4}", method="POST"), b"x" * READ * 4)
        request = self.hand.requests[0]
        self.assertLessEqual(sum(map(len, request.body)), READ)
        self.assertEqual(len(self.client.unread), READ * 3)
        sink = Sink()
        request.stream_to(sink)
        self.after(0)
        self.assertEqual((len(sink.taken), sink.ends), (READ * 4, 1))
        self.assertEqual(self.client.unread, b"")

    def test_a_sink_that_is_full(self) -> None:
        """Reading stops until it takes more."""
        self.client.send(ask("/hand", "Content-Length: 6", method="POST"))
        request, sink = self.hand.requests[0], Sink()
        request.stream_to(sink)
        self.client.send(b"ab")
        request.pause_body()
        self.client.send(b"cd")
        self.assertEqual((sink.taken, self.client.unread), (b"ab", b"cd"))
        request.resume_body()
        self.client.send(b"ef")
        self.assertEqual((sink.taken, sink.ends), (b"abcdef", 1))

    def test_an_answer_before_the_body_is_complete(self) -> None:
        """It says that the connection closes, and what still comes of the body is never taken for a request."""
        self.client.send(ask("/hand", "Content-Length: 100", method="POST"))
        self.hand.requests[0].respond(200, b"", b"enough")
        self.client.send(ask("/echo"))
        self.assertEqual(self.answers(), [(200, b"enough")])
        self.assertIn(b"Connection: close\r\n", self.client.received)

    def test_a_body_that_comes_after_its_answer_began(self) -> None:
        """The head has said keep-alive or close; the rest of the body decides nothing any more."""
        self.client.send(ask("/hand", "Content-Length: 5", method="POST", body=b"he"))
        request = self.hand.requests[0]
        request.write(b"early")
        self.client.send(b"llo")
        request.finish()
        self.assertEqual(self.answers(), [(200, b"early")])
        self.assertEqual(self.client.ended, "closed")

    def test_a_body_whose_request_was_answered(self) -> None:
        """What came with it in one read is dropped."""
        self.client.send(ask("/small", "Content-Length: 11", method="POST", body=b"hello world"))
        self.assertEqual([status for status, _ in self.answers()], [413])

    def test_client_leaves_within_a_body(self) -> None:
        """The body is never said to be complete."""
        self.client.send(ask("/hand", "Content-Length: 5", method="POST"))
        sink = Sink()
        self.hand.requests[0].stream_to(sink)
        self.client.send(b"he")
        self.client.leave()
        self.assertEqual((sink.taken, sink.ends, self.hand.requests[0].gone), (b"he", 0, True))

    def test_a_sink_that_fails(self) -> None:
        """The client gets a 500 without details, and the log what happened."""
        self.client.send(ask("/hand", "Content-Length: 5", method="POST"))
        self.hand.requests[0].stream_to(Broken())
        self.client.send(b"hello")
        self.assertEqual([answer.code for answer in read_answers(self.client.received)], ["INTERNAL_ERROR"])
        self.assertNotIn(b"broken", self.client.received)
        self.assertEqual(self.client.ended, "half closed")


class Sink:
    """Takes a body."""

    def __init__(self) -> None:
        self.taken = b""
        self.ends = 0

    def body_data(self, data: bytes) -> None:
        self.taken += data

    def body_end(self) -> None:
        self.ends += 1


class Broken(Sink):
    """Takes none."""

    def body_data(self, data: bytes) -> None:
        raise ValueError("broken")


class RefusalTests(ChannelTestCase):
    """What is refused, with which answer; the connection is closed after each."""

    def test_messages_that_can_be_read_in_two_ways(self) -> None:
        """They get 400."""
        for sent in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"hello\r\n\r\n",
            b"GET /echo HTTP/1.1\nHost: a\n\n",
            b"BREW /echo HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /echo HTTP/1.1\r\n\r\n",
            b"GET /echo HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            b"GET /echo HTTP/1.1\r\nHost: a b\r\n\r\n",
            b"GET /echo HTTP/1.1\r\nHost:\r\n\r\n",
            b"GET /echo HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n",
            b"GET /echo HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
            b"GET /echo HTTP/1.1\r\nHost: a\r\nX: b\x00c\r\n\r\n",
            b"GET /echo#part HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /echo?a#part HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
            ask("/echo", "Content-Length: 3", "Transfer-Encoding: chunked", method="POST", body=chunks(b"abc")),
            ask("/echo", "Content-Length: 3", "Content-Length: 4", method="POST", body=b"abc"),
            ask("/echo", "Content-Length: +3", method="POST", body=b"abc"),
            ask("/echo", "Transfer-Encoding: chunked, gzip", method="POST"),
            ask("/echo", "Transfer-Encoding: gzip", method="POST"),
            ask("/echo", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked", method="POST"),
            ask("/echo", "Transfer-Encoding: chunked", method="POST", version="1.0"),
            ask("/hand", "Transfer-Encoding: chunked", method="POST", body=b"zz\r\n"),
            ask("/hand", "Transfer-Encoding: chunked", method="POST", body=b"1\r\nabc"),
        ):
            self.assertEqual(self.refusal(sent), (400, "BAD_REQUEST"), sent)

    def test_what_the_gateway_does_not_speak(self) -> None:
        """Codings and methods of other servers, and other versions of HTTP."""
        for sent, answer in (
            (ask("/echo", "Transfer-Encoding: gzip, chunked", method="POST"), (501, "NOT_IMPLEMENTED")),
            (ask("a:443", method="CONNECT"), (501, "NOT_IMPLEMENTED")),
            (ask("/echo", method="TRACE"), (405, "METHOD_NOT_ALLOWED")),
            (ask("/echo", version="2.0"), (505, "HTTP_VERSION_NOT_SUPPORTED")),
            (b"GET /echo\r\n\r\n", (505, "HTTP_VERSION_NOT_SUPPORTED")),
        ):
            self.assertEqual(self.refusal(sent), answer)

    def test_rtsp(self) -> None:
        """Its request lines differ from those of HTTP by the protocol's name alone, however they are cut into reads."""
        for method in ("OPTIONS", "GET", "POST"):
            for head in (f"{method} /echo RTSP/1.0\r\nCSeq: 1\r\nHost: a\r\n\r\n", f"{method} /echo RTSP/1.0\r\n\r\n"):
                sent = head.encode()
                self.assertEqual(self.refusal(sent), (400, "BAD_REQUEST"), sent)
                self.assertEqual(self.refusal(*(bytes((byte,)) for byte in sent)), (400, "BAD_REQUEST"), sent)

    def test_rtsp_behind_another_request(self) -> None:
        """It is refused there, too."""
        self.client.send(ask("/echo/1") + b"GET /echo/2 RTSP/1.0\r\nHost: a\r\n\r\n")
        self.assertEqual([answer.status for answer in read_answers(self.client.received)], [200, 400])

    def test_what_only_tells_of_rtsp(self) -> None:
        """A field or a body may."""
        self.client.send(ask("/echo/1", "User-Agent: player RTSP/1.0", "Content-Length: 19", method="POST"))
        self.client.send(b"GET /echo/1 RTSP/1.0"[:19])
        self.assertEqual(self.answers(), [(200, b"/echo/1 GET /echo/1 RTSP/1.")])

    def test_absolute_form(self) -> None:
        """The target's host wins over the Host field."""
        self.client.send(ask("http://other.example/hand?a=b"))
        request = self.hand.requests[0]
        self.assertEqual((request.authority, request.path, request.query), (b"other.example", b"/hand", b"a=b"))

    def test_long_targets(self) -> None:
        """8 KiB pass, one byte more does not, in however many reads it comes."""
        self.client.send(ask("/hand/".ljust(8192, "x")))
        self.assertEqual(len(self.hand.requests[0].uri), 8192)
        long = ask("/hand/".ljust(8193, "x"))
        self.assertEqual(self.refusal(long), (414, "URI_TOO_LONG"))
        self.assertEqual(self.refusal(long[:5000], long[5000:]), (414, "URI_TOO_LONG"))

    def test_large_heads(self) -> None:
        """Their size and the number of their fields are bounded."""
        self.client.send(ask("/hand", *["A: b"] * 99))
        self.assertEqual(len(self.hand.requests[0].fields), 100)
        self.assertEqual(self.refusal(ask("/hand", *["A: b"] * 100)), (431, "HEADERS_TOO_LARGE"))
        self.assertEqual(self.refusal(ask("/hand", *["A: " + "x" * 1000] * 33)), (431, "HEADERS_TOO_LARGE"))

    def test_a_field_without_an_end(self) -> None:
        """A single field is bounded while it comes."""
        sent = ask("/hand")[:-2] + b"A: "
        self.assertEqual(self.refusal(sent, *[b"x" * READ] * 4), (431, "HEADERS_TOO_LARGE"))

    def test_large_bodies(self) -> None:
        """Refused by their length at once, or as soon as too much has come."""
        for body in (
            ask("/small", "Content-Length: 11", method="POST"),
            ask("/small", "Transfer-Encoding: chunked", method="POST", body=b"5\r\nhello\r\n6\r\nworld!\r\n"),
        ):
            self.assertEqual(self.refusal(body), (413, "BODY_TOO_LARGE"))
        sent = ask("/small", "Transfer-Encoding: chunked", method="POST")
        self.assertEqual(self.refusal(sent, b"5\r\nhello\r\n", b"6\r\nworld!\r\n"), (413, "BODY_TOO_LARGE"))

    def test_a_limit_that_comes_late(self) -> None:
        """What came before the limit was known counts too."""
        self.client.send(ask("/hand", "Transfer-Encoding: chunked", method="POST", body=b"5\r\nhello\r\n"))
        request = self.hand.requests[0]
        with self.assertRaises(BodyTooLarge) as caught:
            request.limit_body(4)
        request.refuse(caught.exception)
        self.assertEqual([answer.code for answer in read_answers(self.client.received)], ["BODY_TOO_LARGE"])

    def test_bodies_within_the_limit(self) -> None:
        """Exactly the limit passes."""
        self.client.send(ask("/small", "Content-Length: 10", method="POST", body=b"0123456789"))
        self.assertEqual(self.answers(), [(200, b"/small 0123456789")])

    def test_chunk_extensions(self) -> None:
        """They, and trailers, are bounded; small chunks are not."""
        sent = ask("/hand", "Transfer-Encoding: chunked", method="POST")
        self.assertEqual(self.refusal(sent, *[b"1;" + b"x" * 9000 + b"\r\na\r\n"] * 8), (400, "BAD_REQUEST"))
        trailer = b"X: " + b"y" * 9000 + b"\r\n"
        self.assertEqual(self.refusal(sent, b"0\r\n", *[trailer] * 8), (400, "BAD_REQUEST"))
        echo = ask("/echo", "Transfer-Encoding: chunked", method="POST")
        self.client.send(echo, b"1\r\na\r\n" * 10000, b"1\r\na\r\n" * 10000, b"0\r\n\r\n")
        self.assertEqual(self.answers(), [(200, b"/echo " + b"a" * 20000)])

    def test_trailers_after_small_chunks(self) -> None:
        """Chunks that took less than they may save nothing up for what comes behind them."""
        sent = ask("/hand", "Transfer-Encoding: chunked", method="POST")
        small, trailer = b"1\r\na\r\n" * 10_000, b"X: " + b"y" * 9000 + b"\r\n"
        self.assertEqual(self.refusal(sent, small, b"0\r\n", *[trailer] * 9), (400, "BAD_REQUEST"))

    def test_good_requests_before_a_bad_one(self) -> None:
        """They are answered first; nothing behind it is."""
        self.client.send(ask("/hand") + ask("/echo/2") + b"hello\r\n\r\n" + ask("/echo/3"))
        self.assertEqual(self.client.received, b"")
        self.hand.requests[0].respond(200, b"", b"first")
        self.assertEqual([status for status, _ in self.answers()], [200, 200, 400])
        self.assertEqual([request.path for request in self.gateway.recorded], [b"/hand", b"/echo/2", b""])

    def test_a_waiting_request_whose_body_is_bad(self) -> None:
        """It is refused when its turn comes, without a leaf having seen it."""
        bad = ask("/hand/2", "Transfer-Encoding: chunked", method="POST", body=b"zz\r\n")
        self.client.send(ask("/hand/1") + bad)
        self.hand.requests[0].respond(200, b"")
        self.assertEqual([status for status, _ in self.answers()], [200, 400])
        self.assertEqual(len(self.hand.requests), 1)
        self.assertEqual([request.decided_by for request in self.gateway.recorded], ["", "wire"])

    def test_a_bad_body_of_an_answer_that_has_begun(self) -> None:
        """The connection is cut, so that nobody takes the answer for complete."""
        self.client.send(ask("/hand", "Transfer-Encoding: chunked", method="POST"))
        self.hand.requests[0].write(b"so far")
        self.client.send(b"zz\r\n")
        self.assertEqual(self.client.ended, "cut")
        self.assertTrue(self.gateway.recorded[0].incomplete)
        self.assertTrue(self.client.received.endswith(b"6\r\nso far\r\n"))

    def test_expectations(self) -> None:
        """Only 100-continue counts, in HTTP/1.1, and where there is a body to wait for."""
        for lines, version, expected in (
            (("Content-Length: 5", "Expect: 100-Continue"), "1.1", True),
            (("Content-Length: 5", "Expect: tea"), "1.1", False),
            (("Content-Length: 5", "Expect: 100-continue"), "1.0", False),
            (("Content-Length: 0", "Expect: 100-continue"), "1.1", False),
        ):
            self.gateway.connect().send(ask("/hand", *lines, method="POST", version=version))
            self.assertEqual(self.hand.requests[-1].expects_continue, expected, (lines, version))

    def test_repeated_fields(self) -> None:
        """Their values are joined, cookies with a semicolon."""
        self.client.send(ask("/hand", "X: 1", "Cookie: a=1", "x: 2", "X: 3", "cookie: b=2"))
        request = self.hand.requests[0]
        self.assertEqual((request.field(b"x"), request.field(b"cookie")), (b"1, 2, 3", b"a=1; b=2"))
        self.assertEqual([name for name, _ in request.fields], [b"Host", b"X", b"Cookie", b"x", b"X", b"cookie"])


class TimeTests(ChannelTestCase):
    """How long a client may take: 10 s for a head, 30 s between the pieces of a body, 75 s between requests."""

    def test_nothing_comes(self) -> None:
        """A connection that stays silent is closed without a word."""
        self.after(9.9)
        self.assertEqual(self.client.ended, "")
        self.after(0.7)
        self.assertEqual((self.client.received, self.client.ended), (b"", "closed"))

    def test_a_head_that_does_not_end(self) -> None:
        """It gets 408, after the answers to what came before it."""
        self.client.send(ask("/echo") + b"GET /echo HT")
        self.after(9.9)
        self.assertEqual(len(self.answers()), 1)
        self.after(0.7)
        self.assertEqual([status for status, _ in self.answers()], [200, 408])
        self.assertEqual(self.gateway.recorded[-1].decided_by, "wire")

    def test_a_head_that_drips(self) -> None:
        """A byte now and then does not buy time."""
        for byte in b"GET /echo HTTP/1.1\r\nHost: ":
            self.client.send(bytes((byte,)))
            self.after(0.5)
        self.assertEqual([status for status, _ in self.answers()], [408])

    def test_each_head_has_its_own_time(self) -> None:
        """A client whose reads always end in the middle of the next head is as fast as any other."""
        head = ask("/echo")
        self.client.send(head[:10])
        for _ in range(8):
            self.after(3)
            self.client.send(head[10:] + head[:10])
        self.assertEqual(self.answers(), [(200, b"/echo ")] * 8)

    def test_a_head_that_was_not_read(self) -> None:
        """While the gateway does not read, it is not the client who is late."""
        head = ask("/echo/3")
        self.client.send(ask("/hand/1") + ask("/hand/2") + head[:10], head[10:])
        self.after(20)
        for index in (0, 1):
            self.hand.requests[index].respond(200, b"")
            self.after(0)
        self.assertEqual([status for status, _ in self.answers()], [200, 200, 200])

    def test_a_request_at_the_last_moment(self) -> None:
        """A connection that was idle for too long is not closed when a request has just come."""
        self.client.send(ask("/echo"))
        self.after(74)
        self.client.unread = ask("/echo")
        self.after(2)
        self.client.send(b"")
        self.assertEqual([status for status, _ in self.answers()], [200, 200])
        self.after(76)
        self.assertEqual(self.client.ended, "closed")

    def test_a_body_that_stops(self) -> None:
        """It gets 408; what was sent on is never completed."""
        self.begin(Limits(min_rate=0.01))
        self.client.send(ask("/hand", "Content-Length: 5", method="POST", body=b"he"))
        sink = Sink()
        self.hand.requests[0].stream_to(sink)
        self.after(29)
        self.client.send(b"l")
        self.after(29)
        self.assertEqual(self.answers(), [])
        self.after(1.6)
        self.assertEqual([answer.code for answer in read_answers(self.client.received)], ["REQUEST_TIMEOUT"])
        self.assertEqual((sink.taken, sink.ends), (b"hel", 0))

    def test_a_body_that_drips(self) -> None:
        """It gets 408 though it goes on: 240 bytes a second are asked for, over 30 s."""
        self.client.send(ask("/hand", "Content-Length: 100000", method="POST"))
        self.hand.requests[0].stream_to(Sink())
        for _ in range(30):
            self.client.send(b"x" * 239)
            self.assertEqual(self.answers(), [])
            self.after(1)
        self.after(0.6)
        self.assertEqual([answer.code for answer in read_answers(self.client.received)], ["REQUEST_TIMEOUT"])

    def test_a_slow_body(self) -> None:
        """One that keeps up takes as long as it takes."""
        self.client.send(ask("/echo", "Content-Length: 25000", method="POST"))
        for _ in range(100):
            self.after(1)
            self.client.send(b"x" * 250)
        self.assertEqual([status for status, _ in self.answers()], [200])

    def test_a_body_that_was_not_read_for_a_while(self) -> None:
        """Only the client's own time counts."""
        self.client.send(ask("/hand", "Content-Length: 100", method="POST"))
        request = self.hand.requests[0]
        request.stream_to(Sink())
        self.after(29)
        for _ in range(5):
            request.pause_body()
            self.after(29)
            request.resume_body()
            self.after(2)
        self.assertEqual(self.answers(), [])

    def test_line_breaks_before_a_request(self) -> None:
        """They are no beginning of a head, and win no time."""
        for _ in range(10):
            self.assertEqual(self.client.ended, "")
            self.client.send(b"\r\n")
            self.after(1)
        self.after(0.6)
        self.assertEqual(self.client.ended, "closed")

    def test_a_body_that_is_not_taken(self) -> None:
        """While its sink is full, the client is not late."""
        self.client.send(ask("/hand", "Content-Length: 5", method="POST", body=b"he"))
        request = self.hand.requests[0]
        request.stream_to(Sink())
        request.pause_body()
        self.after(100)
        request.resume_body()
        self.client.send(b"llo")
        request.respond(200, b"", b"ok")
        self.assertEqual(self.answers(), [(200, b"ok")])

    def test_between_requests(self) -> None:
        """An idle connection is closed silently."""
        self.client.send(ask("/echo"))
        self.after(74)
        self.assertEqual(self.client.ended, "")
        self.after(1.6)
        self.assertEqual((len(self.answers()), self.client.ended), (1, "closed"))

    def test_while_a_request_is_served(self) -> None:
        """The client waits, and nothing is held against it."""
        self.client.send(ask("/hand"))
        self.after(1000)
        self.hand.requests[0].respond(200, b"", b"at last")
        self.assertEqual(self.answers(), [(200, b"at last")])

    def test_lingering(self) -> None:
        """After a refused body the rest is read and dropped for a while, so that no reset eats the answer."""
        self.client.send(ask("/small", "Content-Length: 1000000", method="POST"))
        self.assertEqual(self.client.ended, "half closed")
        self.client.send(b"x" * READ * 3)
        self.assertEqual(self.client.unread, b"")
        self.after(1.9)
        self.assertEqual(self.client.ended, "half closed")
        self.after(0.7)
        self.assertEqual(([status for status, _ in self.answers()], self.client.ended), ([413], "cut"))
        self.assertEqual(self.gateway.site.channels, set())

    def test_last_answers_that_are_taken_slowly(self) -> None:
        """A client has as long for its last answer as for any other, and what is listened to comes after that."""
        for lines, of in (((), Wire), ((), SecureWire), (("Content-Length: 100",), Wire)):
            self.setUp()
            client = self.gateway.connect(of=of)
            client.stop_taking()
            client.send(ask("/hand", *lines))
            if not lines:
                self.gateway.site.retire()
            self.hand.requests[0].respond(200, b"", bytes(60_000))
            for _ in range(60):
                client.take_some(1000)
                self.after(0.5)
            client.take_again()
            self.assertEqual(self.answers(client), [(200, bytes(60_000))], (lines, of))

    def test_lingering_after_a_head_that_is_refused(self) -> None:
        """The rest of a head that is too large may still be on its way."""
        self.client.send(ask("/hand", *["A: b"] * 100))
        self.assertEqual(self.client.ended, "half closed")
        self.client.leave()
        self.assertEqual(self.gateway.site.channels, set())

    def test_lingering_with_tls(self) -> None:
        """TLS cannot close one half: the connection is closed after the answer."""
        client = self.gateway.connect(of=SecureWire)
        client.send(ask("/small", "Content-Length: 1000000", method="POST"))
        self.assertEqual(([status for status, _ in self.answers(client)], client.ended), ([413], "closed"))

    def test_a_last_answer_that_nobody_takes(self) -> None:
        """The connection is cut after the time for taking an answer."""
        self.client.stop_taking()
        self.client.send(ask("/echo", "Connection: close"))
        self.after(30)
        self.assertEqual(self.client.ended, "")
        self.after(1.1)
        self.assertEqual((self.client.ended, self.gateway.site.channels), ("cut", set()))

    def test_answers_that_nobody_takes(self) -> None:
        """A client that asks again and takes nothing is cut after the time for taking an answer."""
        self.client.stop_taking()
        while not self.client.unread:
            self.client.send(ask("/echo/" + "x" * 4000) * 8)
        self.after(30)
        self.assertEqual(self.client.ended, "")
        self.after(1.1)
        self.assertEqual((self.client.ended, self.gateway.site.channels), ("cut", set()))

    def test_an_answer_that_drips_away(self) -> None:
        """Taking a little now and then is too slow as well."""
        self.client.stop_taking()
        self.client.send(ask("/hand"))
        self.hand.requests[0].respond(200, b"", bytes(READ * 2))
        for _ in range(30):
            self.assertEqual(self.client.ended, "")
            self.client.take_some(239)
            self.after(1)
        self.after(1.1)
        self.assertEqual((self.client.ended, self.gateway.site.channels), ("cut", set()))

    def test_an_answer_that_is_taken_slowly(self) -> None:
        """A client that keeps up is waited for."""
        self.client.stop_taking()
        self.client.send(ask("/hand"))
        self.hand.requests[0].respond(200, b"", bytes(READ * 2))
        for _ in range(200):
            self.client.take_some(300)
            self.after(1)
        self.client.take_again()
        self.assertEqual([(200, bytes(READ * 2))], self.answers())

    def test_a_stream_that_has_nothing_to_send(self) -> None:
        """Nobody is too slow to take nothing."""
        self.client.send(ask("/hand"))
        self.hand.requests[0].write(b"data: x\n\n")
        self.after(1000)
        self.assertEqual(self.client.ended, "")


class MemoryTests(SynchronousTestCase):
    """What a connection held is let go with it, and does not wait until garbage is collected."""

    def setUp(self) -> None:
        gc.disable()
        self.addCleanup(gc.enable)
        self.gateway = Gateway(Limits())
        self.site = self.gateway.site

    def channel(self) -> tuple[HTTPChannel, StringTransport]:
        """A connection that has been read from."""
        channel, transport = HTTPChannel(self.site), Transport()
        channel.makeConnection(transport)
        channel.dataReceived(b"GET / HTTP/1.1\r\n")
        return channel, transport

    def test_lost(self) -> None:
        """A client has left."""
        channel, transport = self.channel()
        transport.unregisterProducer()
        channel.connectionLost(Failure(ConnectionDone()))
        known = ref(channel)
        del channel, transport
        self.assertIsNone(known())

    def test_refused(self) -> None:
        """A client has sent what is no request, and left."""
        channel, transport = self.channel()
        channel.dataReceived(b"Host: a\r\nHost: b\r\n\r\n")
        self.assertIn(b" 400 ", transport.value())
        channel.connectionLost(Failure(ConnectionDone()))
        self.gateway.recorded.clear()
        known = ref(channel)
        del channel, transport
        self.assertIsNone(known())

    def test_given_away(self) -> None:
        """Another protocol has the transport."""
        channel, transport = self.channel()
        channel.detach()
        self.site.closed(channel)
        known = ref(channel)
        del channel, transport
        self.assertIsNone(known())


class Transport(StringTransport):
    """One that has the option of TCP."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing to be done."""


class IdleTests(ChannelTestCase):
    """Which connections can be closed for others."""

    def idle(self) -> float | None:
        """Since when the only connection has been idle."""
        [channel] = self.gateway.site.channels
        return channel.idle_since()

    def test_after_an_answer(self) -> None:
        """One that waits for its next request."""
        self.after(5)
        self.client.send(ask("/echo"))
        self.after(5)
        self.assertEqual(self.idle(), 5)

    def test_before_the_first_request(self) -> None:
        """A new one is not idle: it has little time anyway."""
        self.assertIsNone(self.idle())

    def test_while_something_happens(self) -> None:
        """Neither is one with a request, or a part of one, or an answer that is not taken."""
        self.client.send(ask("/echo"), ask("/hand"))
        self.assertIsNone(self.idle())
        self.hand.requests[0].respond(200, b"")
        self.assertIsNotNone(self.idle())
        self.client.send(b"G")
        self.assertIsNone(self.idle())
        self.client.send(b"ET /hand HTTP/1.1\r\nHost: a\r\n\r\n")
        self.client.stop_taking()
        self.hand.requests[1].respond(200, b"", bytes(READ * 2))
        self.assertIsNone(self.idle())


class UpgradeTests(ChannelTestCase):
    """Requests that ask for another protocol (RFC 9110 section 7.8)."""

    upgrade = ("Connection: Upgrade", "Upgrade: h2c")

    def test_without_a_body(self) -> None:
        """Where it is not wanted, the request is served as any other, and the next one too."""
        self.client.send(ask("/echo/1", *self.upgrade) + ask("/echo/2"))
        self.assertEqual(self.answers(), [(200, b"/echo/1 "), (200, b"/echo/2 ")])
        self.client.send(ask("/echo/3"))
        self.assertEqual(len(self.answers()), 3)

    def test_nothing_behind_it(self) -> None:
        """Nothing has to be read again."""
        self.client.send(ask("/echo/1", *self.upgrade))
        self.client.send(ask("/echo/2"))
        self.assertEqual(self.answers(), [(200, b"/echo/1 "), (200, b"/echo/2 ")])

    def test_with_a_body(self) -> None:
        """The body is read as what it is, in both framings, and what follows as the next request."""
        counted = ask("/echo/1", *self.upgrade, "Content-Length: 5", method="POST", body=b"hello")
        chunked = ask("/echo/2", *self.upgrade, "Transfer-Encoding: chunked", method="POST", body=chunks(b"hello"))
        self.client.send(counted, chunked)
        self.client.send(ask("/echo/3"))
        self.assertEqual(self.answers(), [(200, b"/echo/1 hello"), (200, b"/echo/2 hello"), (200, b"/echo/3 ")])

    def test_with_a_body_that_comes_later(self) -> None:
        """It does not matter when the rest comes."""
        self.client.send(ask("/echo/1", *self.upgrade, "Content-Length: 5", method="POST", body=b"he"))
        self.client.send(b"llo")
        self.assertEqual(self.answers(), [(200, b"/echo/1 hello")])

    def test_a_body_that_looks_like_a_request(self) -> None:
        """It never becomes one."""
        inner = ask("/echo/smuggled")
        self.client.send(ask("/echo/1", *self.upgrade, f"Content-Length: {len(inner)}", method="POST", body=inner))
        self.assertEqual(self.answers(), [(200, b"/echo/1 " + inner)])

    def test_behind_another_request(self) -> None:
        """It waits for its turn as every other."""
        self.client.send(ask("/hand") + ask("/echo/2", *self.upgrade) + ask("/echo/3"))
        self.hand.requests[0].respond(200, b"")
        self.after(0)
        self.assertEqual(self.answers(), [(200, b""), (200, b"/echo/2 "), (200, b"/echo/3 ")])

    def test_a_leaf_that_does_not_care(self) -> None:
        """Its answer closes the connection: what the client speaks now cannot be known."""
        self.client.send(ask("/hand", *self.upgrade), ask("/echo"))
        self.hand.requests[0].respond(200, b"")
        self.assertEqual(self.answers(), [(200, b"")])
        self.assertIn(b"Connection: close\r\n", self.client.received)
        self.assertEqual(self.client.ended, "half closed")

    def test_in_http_1_0(self) -> None:
        """There is no upgrade in it."""
        self.client.send(ask("/hand", *self.upgrade, version="1.0"))
        self.assertFalse(self.hand.requests[0].upgrading)

    def test_what_comes_meanwhile_is_bounded(self) -> None:
        """Reading stops when as much is held as one read brings."""
        self.client.send(ask("/hand", *self.upgrade), *[b"x" * READ] * 3)
        self.assertEqual(len(self.client.unread), READ * 2)

    def test_ignoring_twice(self) -> None:
        """The second time there is nothing to ignore."""
        self.client.send(ask("/hand", *self.upgrade, "Content-Length: 5", method="POST", body=b"he"))
        request = self.hand.requests[0]
        request.channel.ignore_upgrade()
        request.channel.ignore_upgrade()
        self.client.send(b"llo")
        self.assertEqual((b"".join(request.body), request.body_complete), (b"hello", True))

    def test_client_leaves_before_its_bytes_are_read_again(self) -> None:
        """They are dropped."""
        self.client.send(ask("/hand", *self.upgrade) + ask("/hand/2"))
        self.hand.requests[0].channel.ignore_upgrade()
        self.client.leave()
        self.after(0)
        self.assertEqual(len(self.hand.requests), 1)

    def test_giving_the_connection_away(self) -> None:
        """Another protocol gets the transport, reading, and what came behind the head."""
        self.client.send(ask("/hand", *self.upgrade) + b"frames", b"x" * READ)
        request = self.hand.requests[0]
        transport, held = request.channel.detach()
        self.assertIs(transport, self.client)
        self.assertEqual(held, b"frames" + b"x" * READ)
        transport.registerProducer(object(), True)  # the channel is none any more
        self.after(1000)
        self.client.send(b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual((self.client.received, self.client.ended, self.gateway.recorded), (b"", "", []))

    def test_a_connection_given_away_ends(self) -> None:
        """Its request is recorded then; a gateway that stops waits for it, and leaves its closing to who has it."""
        self.client.send(ask("/hand", *self.upgrade))
        request = self.hand.requests[0]
        _, held = request.channel.detach()
        self.assertEqual(held, b"")
        drained: list[None] = []
        self.gateway.site.drain().addCallback(drained.append)
        self.assertEqual((self.client.ended, drained), ("", []))
        request.channel.detached_closed(request)
        self.assertEqual((self.gateway.recorded, drained), ([request], [None]))

    def test_reading_goes_on_when_the_connection_is_given_away(self) -> None:
        """Although it had stopped."""
        self.client.send(ask("/hand", *self.upgrade), *[b"x" * READ] * 2)
        self.hand.requests[0].channel.detach()
        self.after(0)
        self.assertEqual(self.client.unread, b"")


class Pushing:
    """A producer of twisted.web's kind that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


class Pulling(Pushing):
    """One that writes a piece each time it is asked, until there are no more."""

    def __init__(self, request: Any, pieces: int, size: int) -> None:
        super().__init__()
        self._request = request
        self.left = pieces
        self._size = size

    def resumeProducing(self) -> None:
        if self.left:
            self.left -= 1
            self._request.write(b"x" * self._size)
        else:
            self._request.unregisterProducer()
            self._request.finish()


class ProducerTests(ChannelTestCase):
    """Answers of twisted.web resources that come from a producer, and clients that read slowly."""

    def test_push(self) -> None:
        """It is paused while the client takes nothing, and resumed when it does."""
        self.client.send(ask("/hand"))
        request, producer = self.hand.requests[0], Pushing()
        request.registerProducer(producer, True)
        self.client.stop_taking()
        request.write(b"x" * READ * 2)
        self.assertEqual(producer.told, ["pause"])
        self.client.take_again()
        self.assertEqual(producer.told, ["pause", "resume"])
        request.unregisterProducer()
        request.finish()
        self.assertEqual(self.answers(), [(200, b"x" * READ * 2)])

    def test_pull(self) -> None:
        """It is asked for as much as the client takes."""
        self.client.send(ask("/hand"))
        request = self.hand.requests[0]
        self.client.stop_taking()
        producer = Pulling(request, 20, READ // 2)
        request.registerProducer(producer, False)
        self.after(0)
        self.assertEqual(producer.left, 18)
        self.client.take_again()
        self.assertEqual(self.answers(), [(200, b"x" * 10 * READ)])

    def test_pull_is_asked_once_a_turn(self) -> None:
        """Also when the client stops and goes on within one."""
        self.client.send(ask("/hand"))
        request = self.hand.requests[0]
        self.client.stop_taking()
        request.registerProducer(Pulling(request, 1000, READ * 2), False)
        self.after(0)
        for _ in range(5):
            self.client.take_once()
        due = [call for call in self.gateway.clock.getDelayedCalls() if call.getTime() == 0]
        self.assertEqual(len(due), 1)

    def test_client_leaves(self) -> None:
        """Either kind is told to stop, and is not asked again."""
        for streaming in (True, False):
            client = self.gateway.connect()
            client.send(ask("/hand"))
            request = self.hand.requests[-1]
            producer = Pushing() if streaming else Pulling(request, 5, 10)
            request.registerProducer(producer, streaming)
            client.leave()
            self.after(0)
            self.assertEqual(producer.told, ["stop"])
        self.assertEqual(producer.left, 5)  # type: ignore[attr-defined]

    def test_a_slow_client_of_nobodys(self) -> None:
        """Between two answers there is nobody to pause."""
        self.client.stop_taking()
        self.client.send(ask("/hand"))
        self.hand.requests[0].respond(200, b"", b"x" * READ * 2)
        self.client.take_again()
        self.client.send(ask("/echo"))
        self.assertEqual(len(self.answers()), 2)
