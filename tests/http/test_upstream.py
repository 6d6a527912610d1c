"""Tests of gateway.http.upstream: what an instance answers, and what becomes of it and of its connection."""

from __future__ import annotations

import gc
from typing import Any
from weakref import ref

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.errors import UpstreamFailed
from gateway.http.upstream import UpstreamConnection
from tests.http.wire import READ, Origin, ProxyTestCase, Wire, ask, chunks, read_answers

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class AnswerTests(ProxyTestCase):
    """Answers in every framing."""

    def test_content_length(self) -> None:
        """The body goes on as it came, under its length, and the connection serves the next request."""
        self.exchange(OK)
        self.exchange(OK)
        self.assertEqual(self.answers(), [(200, b"ok"), (200, b"ok")])
        self.assertIn(b"Content-Length: 2\r\n", self.client.received)
        self.assertEqual(len(self.origin.wires), 1)

    def test_byte_by_byte(self) -> None:
        """How the bytes are cut into reads makes no difference."""
        for answer in (OK, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b"o", b"k")):
            self.client.send(ask("/a"))
            self.origin.wires[0].send(*(bytes((byte,)) for byte in answer))
        self.assertEqual(self.answers(), [(200, b"ok"), (200, b"ok")])

    def test_chunked(self) -> None:
        """It stays chunked; extensions and trailers are dropped."""
        body = b"2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\n"
        self.exchange(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
        self.exchange(OK)
        answers = read_answers(self.client.received)
        self.assertEqual([answer.body for answer in answers], [b"hello", b"ok"])
        self.assertEqual(answers[0].fields["Transfer-Encoding"], "chunked")
        self.assertNotIn(b"Trailer", self.client.received)
        self.assertEqual(len(self.origin.wires), 1)

    def test_until_the_connection_closes(self) -> None:
        """It goes on chunked, and ends when the instance closes; the client's connection goes on."""
        self.exchange(b"HTTP/1.1 200 OK\r\n\r\nhel")
        self.origin.wires[0].send(b"lo")
        self.origin.wires[0].leave()
        self.exchange(OK)
        self.assertEqual(self.answers(), [(200, b"hello"), (200, b"ok")])
        self.assertEqual(len(self.origin.wires), 2)

    def test_until_the_connection_breaks(self) -> None:
        """Then nobody knows whether it was complete: the client's connection is cut."""
        self.exchange(b"HTTP/1.1 200 OK\r\n\r\nhel")
        self.origin.wires[0].leave(clean=False)
        self.after(0)
        self.assertEqual((self.client.ended, self.reports), ("cut", ["body"]))

    def test_head(self) -> None:
        """Whatever framing the answer to HEAD announces, there is no body, and the connection serves the next one."""
        for line in (b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 0\r\n"):
            self.exchange(b"HTTP/1.1 200 OK\r\n" + line + b"\r\n", method="HEAD")
        self.exchange(OK)
        answers = self.answers("HEAD", "HEAD", "HEAD")
        self.assertEqual(answers, [(200, b""), (200, b""), (200, b""), (200, b"ok")])
        self.assertIn(b"Content-Length: 5\r\n", self.client.received)
        self.assertEqual(len(self.origin.wires), 1)

    def test_a_body_after_head(self) -> None:
        """An instance that sends one all the same is not asked again on this connection."""
        self.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", method="HEAD")
        self.exchange(OK)
        self.assertEqual(self.answers("HEAD"), [(200, b""), (200, b"ok")])
        self.assertEqual([wire.ended for wire in self.origin.wires], ["cut", ""])

    def test_head_and_close(self) -> None:
        """Connection: close counts there, too."""
        self.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n", method="HEAD")
        self.assertEqual(self.origin.wires[0].ended, "cut")

    def test_statuses_without_a_body(self) -> None:
        """204 and 304 have none, even where a length is given."""
        for answer in (b"204 No Content\r\n", b"304 Not Modified\r\n", b"304 Not Modified\r\nContent-Length: 5\r\n"):
            self.exchange(b"HTTP/1.1 " + answer + b"\r\n")
        self.exchange(OK)
        self.assertEqual(self.answers(), [(204, b""), (304, b""), (304, b""), (200, b"ok")])
        self.assertEqual(len(self.origin.wires), 1)

    def test_an_instance_that_closes(self) -> None:
        """After Connection: close, or in HTTP/1.0, the connection serves nobody else."""
        self.exchange(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
        self.exchange(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self.exchange(OK)
        self.assertEqual(self.answers(), [(200, b"ok")] * 3)
        self.assertEqual([wire.ended for wire in self.origin.wires], ["cut", "cut", ""])
        self.assertEqual(self.client.ended, "")

    def test_the_reason(self) -> None:
        """It goes on as it came, also when there is none."""
        self.exchange(b"HTTP/1.1 299 Quite Fine\r\nContent-Length: 0\r\n\r\n")
        self.exchange(b"HTTP/1.1 299\r\nContent-Length: 0\r\n\r\n")
        self.assertTrue(self.client.received.startswith(b"HTTP/1.1 299 Quite Fine\r\n"))
        self.assertIn(b"HTTP/1.1 299 \r\n", self.client.received)

    def test_a_reason_that_is_none(self) -> None:
        """Control characters in it are no HTTP (RFC 9112 section 4), and never reach a client."""
        for reason in (b"\x00", b"O\x1bK", b"\x7f"):
            self.exchange(b"HTTP/1.1 200 %b\r\nContent-Length: 0\r\n\r\n" % reason)
            self.assertEqual(self.code(), "UPSTREAM_UNAVAILABLE")
        self.assertNotIn(b"HTTP/1.1 200", self.client.received)


class InterimTests(ProxyTestCase):
    """1xx answers (RFC 9110 section 15.2)."""

    def test_early_hints(self) -> None:
        """They go on before the answer."""
        self.exchange(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        self.assertEqual(self.client.received, b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        self.origin.wires[0].send(OK)
        self.exchange(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)
        self.assertEqual(self.client.received.count(b"HTTP/1.1 103 Early Hints\r\n"), 2)
        self.assertEqual(self.client.received.count(b"HTTP/1.1 200 OK\r\n"), 2)

    def test_never_to_http_1_0(self) -> None:
        """Such a client gets the final answer alone."""
        self.client.send(ask("/a", version="1.0"))
        self.origin.wires[0].send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n", OK)
        self.assertEqual(self.answers(), [(200, b"ok")])

    def test_continue(self) -> None:
        """It goes on to whom it may concern; a client that asked for it has had the gateway's own."""
        self.exchange(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
        self.assertTrue(self.client.received.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"))
        self.client = self.gateway.connect()
        self.client.send(ask("/a", "Content-Length: 1", "Expect: 100-continue", method="POST"), b"x")
        self.origin.wires[0].send(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
        self.assertEqual(self.client.received.count(b"HTTP/1.1 100 Continue\r\n\r\n"), 1)

    def test_lengths_in_interim_answers(self) -> None:
        """They have none (RFC 9110 section 8.6): what follows could be read as a body, or as the final answer."""
        self.exchange(b"HTTP/1.1 103 Early Hints\r\nContent-Length: 2\r\n\r\nok")
        self.assertEqual(self.code(), "UPSTREAM_UNAVAILABLE")
        self.assertEqual(self.origin.wires[-1].ended, "cut")

    def test_the_length_of_no_content(self) -> None:
        """204 has none either; it is dropped, since nothing follows whatever it says."""
        self.exchange(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n")
        self.assertNotIn(b"Content-Length", self.client.received)

    def test_switching_protocols_unasked(self) -> None:
        """That is no answer to what was asked."""
        for head in (
            b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
            b"HTTP/1.1 101 S\r\n\r\n",
        ):
            self.exchange(head)
            self.assertEqual(self.code(), "UPSTREAM_UNAVAILABLE")
            self.assertEqual(self.origin.wires[-1].ended, "cut")

    def test_an_interim_answer_that_is_broken(self) -> None:
        """It is refused as a final one is."""
        self.exchange(b"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: gzip\r\n\r\n")
        self.assertEqual(self.code(), "UPSTREAM_UNAVAILABLE")

    def test_a_flood_of_them(self) -> None:
        """A hundred go on, counted for each request; with one more the instance is cut."""
        hints = b"HTTP/1.1 103 Early Hints\r\n\r\n"
        self.exchange(hints * 100 + OK)
        self.exchange(hints * 100 + OK)
        self.assertEqual(self.client.received.count(b" 103 "), 200)
        self.assertEqual(self.client.received.count(b" 200 "), 2)
        self.exchange(hints * 1000)
        self.assertEqual(self.client.received.count(b" 103 "), 300)
        self.assertEqual(self.code(), "UPSTREAM_UNAVAILABLE")
        self.assertEqual(self.origin.wires[-1].ended, "cut")


class NonsenseTests(ProxyTestCase):
    """What an instance says is not trusted either."""

    def test_what_is_no_answer(self) -> None:
        """The client gets 502, and the connection is cut."""
        for answer in (
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"HTTP/1.1 OK\r\n\r\n",
            b"HTTP/1.1 099 Low\r\n\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        ):
            self.exchange(answer)
            self.assertEqual(self.code(), "UPSTREAM_UNAVAILABLE", answer)
            self.assertEqual(self.origin.wires[-1].ended, "cut", answer)
        self.assertNotIn(b"X-", self.client.received.replace(b"X-Own", b"").replace(b"X-Request-ID", b""))

    def test_large_heads(self) -> None:
        """64 KiB and 256 fields are enough, in one read or in many."""
        self.exchange(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 255 + b"Content-Length: 2\r\n\r\nok")
        self.assertEqual(self.client.received.count(b"A: b\r\n"), 255)
        self.client = self.gateway.connect()
        self.exchange(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 258, method="POST")
        self.assertEqual(self.code(), "UPSTREAM_UNAVAILABLE")
        self.exchange(b"HTTP/1.1 200 OK\r\nA: " + b"x" * READ, method="POST")
        self.assertEqual(self.code(), "UPSTREAM_UNAVAILABLE")
        self.client.send(ask("/a", method="POST"))
        whole = b"HTTP/1.1 200 OK\r\n" + b"A: %b\r\n" % bytes(b"x" * 9000) * 8 + b"Content-Length: 2\r\n\r\nok"
        self.origin.wires[-1]._protocol.dataReceived(whole)  # in one large read
        self.assertEqual(self.code(), "UPSTREAM_UNAVAILABLE")

    def test_large_bodies_with_small_heads(self) -> None:
        """The bound is on the head alone."""
        self.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (READ * 3) + b"x" * READ * 3)
        self.assertEqual(self.answers(), [(200, b"x" * READ * 3)])

    def test_large_trailers(self) -> None:
        """They are dropped, but held until then: what has no end ends the answer."""
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.exchange(head + b"2\r\nhe\r\n0\r\nX: " + b"x" * (READ - 100))
        self.origin.wires[0].send(b"\r\n\r\n")
        self.assertEqual(self.answers(), [(200, b"he")])
        self.exchange(head + b"2\r\nhe\r\n0\r\nX: ")
        self.assertEqual(self.client.ended, "")
        self.origin.wires[0].send(b"x" * READ, b"x" * READ)
        self.assertEqual((self.client.ended, self.reports), ("cut", ["body"]))

    def test_a_body_that_breaks_its_framing(self) -> None:
        """The client's connection is cut, without an end of the body."""
        self.exchange(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n")
        self.origin.wires[0].send(b"zz\r\n")
        self.assertEqual((self.client.ended, self.reports), ("cut", ["body"]))
        self.assertTrue(self.client.received.endswith(b"2\r\nhe\r\n"))
        self.assertTrue(self.gateway.recorded[0].incomplete)

    def test_more_than_one_answer(self) -> None:
        """The first one counts; the connection is not used again."""
        self.exchange(OK + OK)
        self.exchange(OK + b"x")
        self.exchange(OK)
        self.assertEqual(self.answers(), [(200, b"ok")] * 3)
        self.assertEqual([wire.ended for wire in self.origin.wires], ["cut", "cut", ""])

    def test_an_answer_without_a_question(self) -> None:
        """What comes on an idle connection ends it, and nobody gets it."""
        self.exchange(OK)
        self.origin.wires[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
        self.assertEqual(self.origin.wires[0].ended, "cut")
        self.exchange(OK)
        self.assertEqual(self.answers(), [(200, b"ok")] * 2)

    def test_an_answer_just_before_the_question(self) -> None:
        """A connection that is being cut is not taken for the next request, not even in the same turn."""
        self.exchange(OK)
        wire = self.origin.wires[0]
        wire.unread += b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
        wire.resumeProducing()
        self.gateway.clock.callLater(0, self.client.send, ask("/a", method="POST"))
        self.after(0)
        self.origin.wires[-1].send(OK)
        self.assertEqual(self.answers(), [(200, b"ok")] * 2)

    def test_an_idle_connection_that_closes(self) -> None:
        """It is forgotten, and the next request gets a new one."""
        self.exchange(OK)
        self.origin.wires[0].leave()
        self.exchange(OK)
        self.assertEqual((len(self.origin.wires), self.answers()), (2, [(200, b"ok")] * 2))


class Reader:
    """A reader of answers that fails."""

    def __init__(self) -> None:
        self.failures: list[UpstreamFailed] = []

    def answer_head(self, *args: Any) -> Any:
        raise ValueError("a mistake of the gateway's own")

    def answer_failed(self, error: UpstreamFailed) -> None:
        self.failures.append(error)


class ConnectionTests(SynchronousTestCase):
    """A connection by itself."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.connection = UpstreamConnection(Origin(self.clock))
        self.wire = Wire(self.clock, self.connection)

    def test_a_reader_that_fails(self) -> None:
        """The mistake reaches the log, and the reader hears that the connection is gone."""
        reader = Reader()
        self.connection.request(reader, b"GET / HTTP/1.1\r\n\r\n")  # type: ignore[arg-type]
        self.wire.send(OK)
        self.assertEqual(len(reader.failures), 1)
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_without_a_reader(self) -> None:
        """Nobody is told that an idle connection is slow."""
        self.wire.stop_taking()
        self.connection.transport.write(b"x" * READ * 2)  # type: ignore[union-attr]
        self.wire.take_again()
        self.assertEqual(len(self.wire.received), READ * 2)

    def test_lost(self) -> None:
        """What it held is let go with it, and does not wait until garbage is collected."""
        gc.disable()
        self.addCleanup(gc.enable)
        connection = UpstreamConnection(Origin(self.clock))
        connection.connectionLost(Failure(ConnectionDone()))
        known = ref(connection)
        del connection
        self.assertIsNone(known())

    def test_aborted_before_it_is_made(self) -> None:
        """There is nothing to cut, and it is not to be used."""
        connection = UpstreamConnection(Origin(self.clock))
        connection.abort()
        self.assertFalse(connection.reusable)
