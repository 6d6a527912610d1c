"""Tests of gateway.http.relay: a request on its way to an instance, its answer on its way back, and what goes wrong."""

from __future__ import annotations

from gateway.core.balance import RoundRobin
from gateway.core.errors import Unavailable, UpstreamFailed, UpstreamTimeout
from gateway.http.relay import KEPT
from gateway.http.site import Limits
from tests.http.wire import READ, ByHand, LateWire, ProxyTestCase, ask, chunks, read_answers

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
POST = ask("/a", "Content-Length: 5", method="POST", body=b"hello")


class RequestTests(ProxyTestCase):
    """The way there."""

    def test_without_a_body(self) -> None:
        """The head goes on by itself."""
        self.exchange(OK)
        self.assertTrue(self.origin.received.startswith(b"GET /a HTTP/1.1\r\nHost: origin:80\r\n"))
        self.assertTrue(self.origin.received.endswith(b"\r\n\r\n"))
        self.assertNotIn(b"Content-Length", self.origin.received)

    def test_content_length(self) -> None:
        """The body goes on as it comes, under its length."""
        self.client.send(POST[:-3])
        self.assertTrue(self.origin.received.endswith(b"\r\n\r\nhe"))
        self.client.send(b"llo")
        self.assertTrue(self.origin.received.endswith(b"\r\n\r\nhello"))
        self.assertIn(b"\r\nContent-Length: 5\r\n", self.origin.received)
        self.origin.wires[0].send(OK)
        self.assertEqual(self.answers(), [(200, b"ok")])

    def test_chunked(self) -> None:
        """The body goes on in chunks, and its end as soon as it is known."""
        self.client.send(ask("/a", "Transfer-Encoding: chunked", method="POST"), b"2;x=y\r\nhe\r\n")
        self.assertTrue(self.origin.received.endswith(b"\r\n\r\n2\r\nhe\r\n"))
        self.client.send(b"3\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\n")
        self.assertTrue(self.origin.received.endswith(b"\r\n\r\n" + chunks(b"he", b"llo")))
        self.origin.wires[0].send(OK)
        self.exchange(OK)
        self.assertEqual((self.answers(), len(self.origin.wires)), ([(200, b"ok")] * 2, 1))

    def test_an_empty_body_in_chunks(self) -> None:
        """It is still chunked."""
        self.client.send(ask("/a", "Transfer-Encoding: chunked", method="POST", body=chunks()))
        self.assertTrue(self.origin.received.endswith(b"\r\n\r\n0\r\n\r\n"))

    def test_an_upgrade(self) -> None:
        """It is not passed on, and the body is read as it should be."""
        upgrade = ("Connection: Upgrade", "Upgrade: h2c", "Content-Length: 5")
        self.client.send(ask("/a", *upgrade, method="POST", body=b"hello"))
        self.assertNotIn(b"pgrade", self.origin.received)
        self.assertTrue(self.origin.received.endswith(b"\r\n\r\nhello"))

    def test_expect_continue(self) -> None:
        """The client is told to go on when somebody takes the body, and not before."""
        self.origin.at_once = False
        self.client.send(ask("/a", "Content-Length: 5", "Expect: 100-continue", method="POST"))
        self.assertEqual(self.client.received, b"")
        self.origin.accept()
        self.assertEqual(self.client.received, b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertNotIn(b"Expect", self.origin.received)
        self.client.send(b"hello")
        self.origin.wires[0].send(OK)
        self.assertEqual(self.answers(), [(200, b"ok")])

    def test_expect_continue_from_a_client_that_does_not_wait(self) -> None:
        """It need not be told."""
        self.client.send(ask("/a", "Content-Length: 5", "Expect: 100-continue", method="POST", body=b"he"))
        self.assertEqual(self.client.received, b"")

    def test_an_instance_that_reads_slowly(self) -> None:
        """Neither is more of the body read from the client, until the instance goes on."""
        size = READ * 8
        self.client.send(ask("/a", f"Content-Length: {size}", method="POST"))
        self.origin.wires[0].stop_taking()
        self.client.send(*[b"x" * READ] * 8)
        self.assertGreaterEqual(len(self.client.unread), READ * 6)
        self.origin.wires[0].take_again()
        self.assertEqual(self.client.unread, b"")
        self.assertTrue(self.origin.received.endswith(b"\r\n\r\n" + b"x" * size))

    def test_connections_are_shared(self) -> None:
        """The next client's request goes on the connection that is free; at the same time, each has its own."""
        self.exchange(OK)
        self.client = self.gateway.connect()
        self.exchange(OK)
        self.assertEqual(len(self.origin.wires), 1)
        self.client.send(ask("/a"))
        self.gateway.connect().send(ask("/a"))
        self.assertEqual((len(self.origin.wires), self.origin.active), (2, 2))

    def test_what_is_recorded(self) -> None:
        """The instance, its time and what was sent."""
        self.client.send(ask("/a"))
        self.after(0.25)
        self.origin.wires[0].send(OK)
        request = self.gateway.recorded[0]
        self.assertEqual(
            (request.status, request.upstream, request.upstream_time, request.sent, request.decided_by),
            (200, "origin:80", 0.25, 2, ""),
        )


class AnswerTests(ProxyTestCase):
    """The way back."""

    def test_events_go_on_as_they_come(self) -> None:
        """Nothing is held back for more."""
        self.exchange(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.assertTrue(self.client.received.endswith(b"\r\n\r\n"))
        self.origin.wires[0].send(b"9\r\ndata: 1\n\n\r\n")
        self.assertTrue(self.client.received.endswith(b"9\r\ndata: 1\n\n\r\n"))
        self.origin.wires[0].send(b"0\r\n\r\n")
        self.assertEqual(self.answers(), [(200, b"data: 1\n\n")])

    def test_http_1_0_clients(self) -> None:
        """They get the body plainly, whatever its framing, and the end of the connection ends it."""
        for answer in (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b"o", b"k"),
            b"HTTP/1.0 200 OK\r\n\r\nok",
            OK,
        ):
            self.client = self.gateway.connect()
            self.client.send(ask("/a", version="1.0"))
            self.origin.wires[-1].send(answer)
            self.origin.wires[-1].leave()
            self.after(0)
            head, _, body = self.client.received.partition(b"\r\n\r\n")
            self.assertEqual((body, self.client.ended), (b"ok", "closed"))
            self.assertNotIn(b"chunked", head)

    def test_the_gateways_fields(self) -> None:
        """The request's id, and whether the connection goes on."""
        self.exchange(OK)
        self.client.send(ask("/a", "Connection: close"))
        self.origin.wires[0].send(OK)
        first, second = read_answers(self.client.received)
        self.assertEqual([first.fields["X-Request-ID"], second.fields["X-Request-ID"]],
                         [request.id for request in self.gateway.recorded])  # fmt: skip
        self.assertEqual((first.fields["Connection"], second.fields["Connection"]), (None, "close"))
        self.assertEqual(self.client.ended, "closed")

    def test_a_client_that_reads_slowly(self) -> None:
        """No more is read from the instance, until the client goes on."""
        size = READ * 8
        self.client.stop_taking()
        self.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        wire = self.origin.wires[0]
        wire.send(*[b"x" * READ] * 8)
        self.assertGreaterEqual(len(wire.unread), READ * 6)
        self.client.take_again()
        self.assertEqual((wire.unread, self.answers()), (b"", [(200, b"x" * size)]))

    def test_a_client_that_has_not_taken_the_answer_before(self) -> None:
        """It takes no part of this one either, though it was told before there was anything to pause."""
        hand = ByHand()
        self.gateway.plant(b"/hand", hand)
        self.client = self.gateway.connect(of=LateWire)
        self.client.stop_taking()
        self.origin.at_once = False
        self.client.send(ask("/hand") + ask("/a"))
        hand.requests[0].respond(200, b"", b"x" * READ * 2)
        self.after(0)
        self.origin.accept()
        wire, size = self.origin.wires[0], READ * 8
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size, *[b"x" * READ] * 8)
        self.assertGreaterEqual(len(wire.unread), READ * 6)
        self.client.take_again()
        self.assertEqual([len(body) for _, body in self.answers()], [READ * 2, size])

    def test_a_connection_that_a_slow_client_leaves_behind(self) -> None:
        """When the last bytes of an answer filled the client's side, the connection is still read for the next one."""
        self.client.stop_taking()
        size = READ + 1000
        self.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * (size // 2))
        self.origin.wires[0].send(b"x" * (size // 2))
        slow, self.client = self.client, self.gateway.connect()
        self.exchange(OK)
        self.assertEqual((self.answers(), len(self.origin.wires)), ([(200, b"ok")], 1))
        slow.take_again()
        self.assertEqual([len(answer.body) for answer in read_answers(slow.received)], [size])

    def test_an_early_answer(self) -> None:
        """One that comes before the body is complete goes on, and ends both connections."""
        self.client.send(POST[:-3])
        self.origin.wires[0].send(OK)
        self.client.send(ask("/a"))
        self.assertEqual(self.answers(), [(200, b"ok")])
        self.assertIn(b"Connection: close\r\n", self.client.received)
        self.assertEqual((self.client.ended, self.origin.wires[0].ended), ("half closed", "cut"))
        self.assertEqual(len(self.origin.wires), 1)

    def test_an_early_head(self) -> None:
        """While its body comes, the request's may still go on."""
        self.client.send(POST[:-3])
        self.origin.wires[0].send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n")
        self.client.send(b"llo")
        self.assertTrue(self.origin.received.endswith(b"hello"))
        self.origin.wires[0].send(b"0\r\n\r\n")
        self.assertEqual(self.answers(), [(200, b"h")])
        self.assertEqual(self.client.ended, "closed")


class ConnectTests(ProxyTestCase):
    """Instances that take no connection."""

    def setUp(self) -> None:
        super().setUp()
        self.origin.at_once = self.other.at_once = False

    def test_another_instance(self) -> None:
        """Nothing was sent, so that any request can be tried on another one."""
        self.client.send(ask("/two", "Content-Length: 5", method="POST", body=b"hello"))
        self.origin.refuse(UpstreamFailed())
        self.other.accept()
        self.assertTrue(self.other.received.endswith(b"\r\n\r\nhello"))
        self.other.wires[0].send(OK)
        self.assertEqual(self.answers(), [(200, b"ok")])
        self.assertEqual(self.gateway.recorded[0].upstream, "other:80")

    def test_no_instance(self) -> None:
        """After two attempts the client gets 502, in the standard format."""
        self.client.send(ask("/two"))
        self.origin.refuse(UpstreamFailed())
        self.other.refuse(UpstreamFailed())
        self.assertEqual(self.code(), "UPSTREAM_UNAVAILABLE")
        self.assertEqual(self.gateway.recorded[0].decided_by, "proxy")
        self.assertEqual((self.origin.attempts, self.other.attempts), ([], []))

    def test_nobody_is_left(self) -> None:
        """When there is none to try it on again, the client gets what the cluster says."""
        self.client.send(ask("/two"))

        def pick(*_: object) -> None:
            raise Unavailable

        self.patch(RoundRobin, "pick", pick)
        self.origin.refuse(UpstreamFailed())
        self.assertEqual((self.code(), self.gateway.recorded[0].decided_by), ("SERVICE_UNAVAILABLE", "proxy"))

    def test_the_only_instance(self) -> None:
        """It is tried twice, too."""
        self.client.send(ask("/a"))
        self.origin.refuse(UpstreamFailed())
        self.origin.accept()
        self.origin.wires[0].send(OK)
        self.assertEqual((self.answers(), self.reports), ([(200, b"ok")], ["connect"]))

    def test_too_late(self) -> None:
        """An attempt that timed out is 504."""
        self.client.send(ask("/a"))
        self.origin.refuse(UpstreamFailed())
        self.origin.refuse(UpstreamTimeout())
        self.assertEqual((self.code(), self.reports), ("UPSTREAM_TIMEOUT", ["connect", "connect_timeout"]))

    def test_a_failure_nobody_foresaw(self) -> None:
        """It is a 502 without details."""
        self.client.send(ask("/a"))
        self.origin.refuse(ValueError("a secret"))
        self.origin.refuse(ValueError("a secret"))
        self.assertEqual(self.code(), "UPSTREAM_UNAVAILABLE")
        self.assertNotIn(b"secret", self.client.received)

    def test_client_leaves_meanwhile(self) -> None:
        """The attempt is given up; until then, it has a timer of its own."""
        self.client.send(ask("/a"))
        self.after(60)
        self.client.leave()
        self.assertEqual((self.origin.cancelled, self.origin.attempts, self.reports), (1, [], []))

    def test_a_body_breaks_meanwhile(self) -> None:
        """The attempt is given up, and the client told why."""
        self.client.send(ask("/a", "Transfer-Encoding: chunked", method="POST"), b"zz\r\n")
        self.assertEqual((self.code(), self.origin.cancelled), ("BAD_REQUEST", 1))


class LossTests(ProxyTestCase):
    """Either side is gone in the middle."""

    def test_client_leaves_before_the_head(self) -> None:
        """The instance need not work any more."""
        self.client.send(ask("/a"))
        self.client.leave()
        self.assertEqual((self.origin.wires[0].ended, self.origin.active), ("cut", 0))
        self.assertEqual(self.reports, [])

    def test_client_leaves_within_its_body(self) -> None:
        """What was sent of it must not look complete."""
        self.client.send(POST[:-3])
        self.client.leave()
        self.assertEqual(self.origin.wires[0].ended, "cut")

    def test_client_leaves_within_the_answer(self) -> None:
        """The rest is not fetched."""
        self.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
        self.client.leave()
        self.assertEqual((self.origin.wires[0].ended, self.origin.active), ("cut", 0))
        self.assertEqual([request.status for request in self.gateway.recorded], [200])

    def test_a_body_that_breaks(self) -> None:
        """The instance's connection is cut, and the client told why."""
        self.client.send(ask("/a", "Transfer-Encoding: chunked", method="POST"), b"2\r\nhe\r\n", b"zz\r\n")
        self.assertEqual((self.code(), self.origin.wires[0].ended), ("BAD_REQUEST", "cut"))
        self.assertFalse(self.origin.received.endswith(b"0\r\n\r\n"))

    def test_a_body_that_stops(self) -> None:
        """The same, after its time."""
        self.gateway.proxy(b"/patient", self.origin, first_byte_timeout=100.0)
        self.client.send(ask("/patient", "Content-Length: 5", method="POST", body=b"he"))
        self.after(31)
        self.assertEqual((self.code(), self.origin.wires[0].ended), ("REQUEST_TIMEOUT", "cut"))

    def test_instance_dies_before_its_head(self) -> None:
        """On a new connection that is 502, even for GET: it may have been the request that killed it."""
        self.client.send(ask("/a"))
        self.origin.wires[0].leave()
        self.after(0)
        self.assertEqual((self.code(), self.reports), ("UPSTREAM_UNAVAILABLE", ["no_answer"]))
        self.assertEqual(self.client.ended, "")

    def test_instance_dies_within_its_head(self) -> None:
        """Nothing of it goes on."""
        self.exchange(b"HTTP/1.1 200 OK\r\nX-Half: ")
        self.origin.wires[0].leave()
        self.after(0)
        self.assertEqual(self.code(), "UPSTREAM_UNAVAILABLE")
        self.assertNotIn(b"X-Half", self.client.received)

    def test_instance_dies_within_its_body(self) -> None:
        """The client's connection is cut, whichever framing: nobody takes a part for the whole."""
        for answer in (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n",
        ):
            self.client = self.gateway.connect()
            self.exchange(answer)
            self.origin.wires[-1].leave()
            self.after(0)
            self.assertEqual(self.client.ended, "cut")
            self.assertTrue(self.gateway.recorded[-1].incomplete)
            self.assertFalse(self.client.received.endswith(b"0\r\n\r\n"))
        self.assertEqual(self.reports, ["body", "body"])

    def test_a_pooled_connection_that_was_dead(self) -> None:
        """A request that may be repeated and has no body is sent again on a new one."""
        for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE"):
            with_it = len(self.origin.wires)
            self.exchange(OK)
            self.client.send(ask("/a", method=method))
            self.origin.wires[-1].leave()
            self.after(0)
            self.assertIn(f"{method} /a".encode(), self.origin.wires[-1].received)
            self.origin.wires[-1].send(b"HTTP/1.1 204 No Content\r\n\r\n")
            self.assertGreater(len(self.origin.wires), with_it)
        self.assertEqual([status for status, _ in self.answers()], [200, 204] * 5)
        self.assertEqual(self.reports, [])

    def test_a_post_when_its_instance_has_just_closed(self) -> None:
        """It goes out on a new connection: on the pooled one, whose end is not read yet, it would be lost."""
        self.exchange(OK)
        dead = self.origin.wires[-1]
        dead.unread = b"what stands for the end"
        self.client.send(ask("/a", "Content-Length: 2", method="POST", body=b"hi"))
        self.assertEqual((len(self.origin.wires), dead.ended), (2, "cut"))
        self.assertIn(b"POST /a", self.origin.wires[-1].received)

    def test_a_request_that_may_not_be_repeated(self) -> None:
        """POST, or what has a body that is not in hand any more or not yet, is 502: it may have been served."""
        for method, lines, body in (
            ("POST", (), b""),
            ("POST", ("Content-Length: 5",), b"hello"),
            ("PUT", (f"Content-Length: {KEPT + 1}",), b"x" * (KEPT + 1)),
            ("PUT", ("Content-Length: 5",), b"hell"),
        ):
            self.client = self.gateway.connect()
            self.exchange(OK)
            attempts = len(self.origin.wires)
            self.client.send(ask("/a", *lines, method=method, body=body))
            self.origin.wires[-1].leave()
            self.after(0)
            self.assertEqual((self.code(), len(self.origin.wires)), ("UPSTREAM_UNAVAILABLE", attempts), (method, lines))

    def test_a_body_in_hand(self) -> None:
        """It is sent again as it was sent before, whichever its framing."""
        big = b"x" * KEPT
        for lines, body, framed in (
            (("Content-Length: 5",), b"hello", b"hello"),
            ((f"Content-Length: {KEPT}",), big, big),
            (("Transfer-Encoding: chunked",), chunks(b"hello"), chunks(b"hello")),
            (("Transfer-Encoding: chunked",), chunks(), chunks()),
        ):
            self.exchange(OK)
            self.client.send(ask("/a", *lines, method="PUT", body=body))
            self.origin.wires[-1].leave()
            head, _, sent = self.origin.wires[-1].received.partition(b"\r\n\r\n")
            self.assertEqual((head[:6], sent), (b"PUT /a", framed))
            self.origin.wires[-1].send(OK)
        self.assertEqual(self.answers(), [(200, b"ok")] * 8)

    def test_small_pieces_of_a_body_in_hand(self) -> None:
        """They are kept joined: a piece takes more memory than its two bytes."""
        self.client.send(ask("/a", "Transfer-Encoding: chunked", method="PUT", body=chunks(*[b"ab"] * 3000)[:-5]))
        [channel] = self.gateway.site.channels
        [request] = channel.answering
        self.assertLess(len(request.relay._kept), 10)  # type: ignore[union-attr]

    def test_the_rest_of_the_answer_before(self) -> None:
        """Bytes that are no answer at all do not spoil the next request on their connection."""
        self.exchange(OK)
        self.exchange(b"stray bytes")
        self.origin.wires[1].send(OK)
        self.assertEqual((self.answers(), self.reports, len(self.origin.wires)), ([(200, b"ok")] * 2, [], 2))

    def test_an_answer_that_is_not_http(self) -> None:
        """On a new connection, or behind an interim answer, there is no answer before: 502."""
        self.exchange(b"stray bytes")
        self.exchange(OK)
        self.exchange(b"HTTP/1.1 103 Early Hints\r\n\r\nstray bytes")
        self.assertEqual([request.status for request in self.gateway.recorded], [502, 200, 502])
        self.assertEqual(self.reports, ["no_answer", "no_answer"])

    def test_a_repetition_is_made_once(self) -> None:
        """When the new connection dies, too, that is the answer."""
        self.exchange(OK)
        self.client.send(ask("/a"))
        self.origin.wires[0].leave()
        self.origin.wires[1].leave()
        self.after(0)
        self.assertEqual((self.code(), len(self.origin.wires)), ("UPSTREAM_UNAVAILABLE", 2))

    def test_a_pooled_connection_that_dies_within_its_answer(self) -> None:
        """Whatever was heard of it, the request has reached the instance, and is not sent again."""
        for heard in (b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTT"):
            self.client = self.gateway.connect()
            self.exchange(OK)
            attempts = len(self.origin.wires)
            self.exchange(heard)
            self.origin.wires[-1].leave()
            self.after(0)
            self.assertTrue(self.client.received.endswith(b"}"))
            self.assertEqual((self.gateway.recorded[-1].status, len(self.origin.wires)), (502, attempts))

    def test_another_instance_than_that_of_a_dead_connection(self) -> None:
        """It may be dead itself, so that another one is asked where there is one."""
        self.exchange(OK, path="/two")
        self.other.at_once = self.origin.at_once = False
        self.client.send(ask("/two/skipped"))
        self.other.accept()
        self.other.wires[0].send(OK)
        self.client.send(ask("/two/again"))
        self.origin.wires[0].leave()
        self.other.wires[0].send(OK)
        self.assertEqual(self.answers(), [(200, b"ok")] * 3)


class TimeTests(ProxyTestCase):
    """Instances that take too long: 20 s to the first byte, 40 s between two reads."""

    def test_no_first_byte(self) -> None:
        """504, and the instance's connection is cut."""
        self.client.send(ask("/a"))
        self.after(19.9)
        self.assertEqual(self.client.received, b"")
        self.after(0.7)
        self.assertEqual((self.code(), self.reports), ("UPSTREAM_TIMEOUT", ["timeout"]))
        self.assertEqual((self.origin.wires[0].ended, self.client.ended), ("cut", ""))
        self.exchange(OK)
        self.assertEqual([status for status, _ in self.answers()], [504, 200])

    def test_first_byte_after_the_idle_time(self) -> None:
        """The connection on which 504 was answered stays open, however long that took: its client may ask again."""
        self.gateway.proxy(b"/slow", self.origin, first_byte_timeout=80.0)
        self.client.send(ask("/slow", method="POST"))
        self.after(81)
        self.assertEqual(([status for status, _ in self.answers()], self.client.ended), ([504], ""))

    def test_while_the_body_comes(self) -> None:
        """An instance cannot answer before it has the request: the time counts from its last piece."""
        self.gateway.site.limits = Limits(min_rate=0.01)
        self.client.send(POST[:-5])
        for byte in b"hello":
            self.after(15)
            self.client.send(bytes((byte,)))
        self.after(15)
        self.origin.wires[0].send(OK)
        self.assertEqual(self.answers(), [(200, b"ok")])

    def test_while_the_body_comes_behind_an_early_head(self) -> None:
        """There, too, what the client still sends is a sign of life."""
        self.gateway.site.limits = Limits(min_rate=0.01)
        self.client.send(POST[:-5])
        self.origin.wires[0].send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for byte in b"hello":
            self.after(25)
            self.client.send(bytes((byte,)))
        self.origin.wires[0].send(chunks(b"ok"))
        self.assertEqual(self.answers(), [(200, b"ok")])

    def test_a_client_that_takes_it_slowly(self) -> None:
        """Its instance, which is not read from meanwhile, is not late."""
        self.gateway.site.limits = Limits(min_rate=0.01)
        self.client.stop_taking()
        self.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (READ + 1))
        self.origin.wires[0].send(bytes(READ))  # in one read: nothing is left that would come at once afterwards
        for _ in range(50):
            self.client.take_some(10)
            self.after(1)
        self.client.take_again()
        self.after(30)
        self.origin.wires[0].send(b"!")
        self.assertEqual((len(self.answers()), self.reports), (1, []))

    def test_a_client_that_takes_nothing(self) -> None:
        """It is cut, and its instance with it: nobody waits for the answer any more."""
        self.client.stop_taking()
        self.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (READ * 3) + bytes(READ * 2))
        self.after(31)
        self.assertEqual((self.client.ended, self.origin.wires[0].ended, self.reports), ("cut", "cut", []))

    def test_an_answer_that_stops(self) -> None:
        """The client's connection is cut, since the answer is not complete."""
        self.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nh")
        self.after(39)
        self.origin.wires[0].send(b"e")
        self.after(39)
        self.assertEqual(self.client.ended, "")
        self.after(2)
        self.assertEqual((self.client.ended, self.origin.wires[0].ended), ("cut", "cut"))
        self.assertEqual((self.reports, self.gateway.recorded[0].incomplete), (["idle"], True))

    def test_after_the_answer(self) -> None:
        """Nothing is counted any more."""
        self.exchange(OK)
        self.after(50)
        self.assertEqual((self.client.ended, self.origin.wires[0].ended, self.reports), ("", "", []))
