"""Tests of gateway.http.site: who asks, under which id, and how a listener ends."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource, Resource

from gateway.core.errors import Forbidden
from gateway.http.patience import FRESH
from gateway.http.site import BREATH, LEAST_BREATH, LONGEST_PERIOD, LOOK, Limits, Site
from tests.http.wire import ByHand, Echo, Gateway, SecureWire, Wire, ask, read_answers


class Raising(Resource):
    """A leaf that fails."""

    isLeaf = True

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def render(self, request: Any) -> int:
        raise self._error


class LocalWire(Wire):
    """A connection on a Unix socket."""

    def getPeer(self) -> UNIXAddress:  # type: ignore[override]
        return UNIXAddress(b"/run/peer")


class SiteTestCase(SynchronousTestCase):
    """A gateway behind a proxy at 10.0.0.0/8."""

    def setUp(self) -> None:
        self.gateway = Gateway(trusted=("10.0.0.0/8",))
        self.hand = ByHand()
        self.gateway.plant(b"/hand", self.hand)
        self.gateway.plant(b"/echo", Echo())

    def asked(self, *lines: str, peer: str = "192.0.2.1", of: Any = Wire) -> Any:
        """The request that a client at ``peer`` made."""
        self.gateway.connect(peer, of).send(ask("/hand", *lines))
        return self.hand.requests[-1]


class IdentityTests(SiteTestCase):
    """Whom a request is from."""

    def test_request_ids(self) -> None:
        """Each request has its own, in its answer and in its record."""
        client = self.gateway.connect()
        client.send(ask("/echo"), ask("/echo"))
        ids = [answer.fields["X-Request-ID"] for answer in read_answers(client.received)]
        self.assertEqual(len(set(ids)), 2)
        self.assertEqual(ids, [request.id for request in self.gateway.recorded])

    def test_an_id_from_a_trusted_proxy(self) -> None:
        """It is kept when it is harmless."""
        self.assertEqual(self.asked("X-Request-ID: abcd-1234", peer="10.0.0.1").id, "abcd-1234")
        self.assertNotIn("{", self.asked("X-Request-ID: {abcd-1234}", peer="10.0.0.1").id)

    def test_an_id_from_anybody(self) -> None:
        """It is replaced."""
        self.assertNotEqual(self.asked("X-Request-ID: abcd-1234").id, "abcd-1234")

    def test_forwarded_by_a_trusted_proxy(self) -> None:
        """The client is who the proxy says, and so is the scheme."""
        lines = ("X-Forwarded-For: 6.6.6.6, 198.51.100.7", "X-Forwarded-Proto: HTTPS")
        request = self.asked(*lines, peer="10.0.0.1")
        self.assertEqual((request.remote, request.isSecure()), ("198.51.100.7", True))

    def test_forwarded_by_anybody(self) -> None:
        """It counts for nothing."""
        request = self.asked("X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https")
        self.assertEqual((request.remote, request.isSecure()), ("192.0.2.1", False))

    def test_a_trusted_proxy_that_says_nothing(self) -> None:
        """Then it is the client itself."""
        request = self.asked(peer="10.0.0.1")
        self.assertEqual((request.remote, request.isSecure()), ("10.0.0.1", False))

    def test_plain_http_in_front_of_tls(self) -> None:
        """A trusted proxy may say so."""
        self.assertTrue(self.asked(of=SecureWire).isSecure())
        self.assertFalse(self.asked("X-Forwarded-Proto: http", peer="10.0.0.1", of=SecureWire).isSecure())

    def test_ipv4_in_ipv6(self) -> None:
        """A listener for both families sees IPv4 clients under IPv6 addresses; for us they are IPv4, trusted or not."""
        self.assertEqual(self.asked(peer="::ffff:192.0.2.9").remote, "192.0.2.9")
        self.assertEqual(self.asked("X-Forwarded-For: 198.51.100.7", peer="::ffff:10.0.0.1").remote, "198.51.100.7")

    def test_a_peer_without_an_address(self) -> None:
        """A client on a Unix socket has none."""
        self.assertEqual(self.asked(of=LocalWire).remote, "")


class AnswerTests(SiteTestCase):
    """What every answer has, and what failures look like."""

    def test_own_lines(self) -> None:
        """The date, anew each second, and the constant lines."""
        client = self.gateway.connect()
        for _ in range(3):
            client.send(ask("/echo"))
            self.gateway.clock.advance(0.6)
        answers = read_answers(client.received)
        self.assertEqual({answer.fields["X-Own"] for answer in answers}, {"yes"})
        self.assertEqual(
            [answer.fields["Date"] for answer in answers],
            ["Thu, 01 Jan 1970 00:00:00 GMT"] * 2 + ["Thu, 01 Jan 1970 00:00:01 GMT"],
        )

    def test_own_lines_over_https(self) -> None:
        """They may be others."""
        client = self.gateway.connect(of=SecureWire)
        client.send(ask("/echo"))
        self.assertEqual(read_answers(client.received)[0].fields["X-Own"], "both")

    def test_a_path_that_is_not_there(self) -> None:
        """The standard error format, on a connection that goes on."""
        client = self.gateway.connect()
        client.send(ask("/nowhere"), ask("/echo"))
        answers = read_answers(client.received)
        self.assertEqual(
            [(answer.status, answer.fields["Connection"]) for answer in answers], [(404, None), (200, None)]
        )
        self.assertIn(f'"requestId":"{answers[0].fields["X-Request-ID"]}"'.encode(), answers[0].body)

    def site(self, locate: Any) -> Wire:
        clock = Clock()
        return Wire(clock, Site(clock, locate, self.recorded.append, Limits()).buildProtocol(None))

    def test_a_leaf_that_refuses(self) -> None:
        """Its error is the answer."""
        self.recorded: list[Any] = []
        client = self.site(lambda path: Raising(Forbidden()))
        client.send(ask())
        self.assertEqual(read_answers(client.received)[0].code, "FORBIDDEN")

    def test_a_leaf_that_fails(self) -> None:
        """500 without details; the log has them, and the request's id."""
        self.recorded = []
        client = self.site(lambda path: Raising(ValueError("a secret")))
        client.send(ask(), ask())
        answers = read_answers(client.received)
        self.assertEqual([(answer.status, answer.code) for answer in answers], [(500, "INTERNAL_ERROR")] * 2)
        self.assertNotIn(b"secret", client.received)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)
        self.assertEqual([request.status for request in self.recorded], [500, 500])

    def test_a_tree_that_fails(self) -> None:
        """Looking for the leaf may fail, too."""
        self.recorded = []

        def locate(path: bytes) -> IResource:
            raise KeyError(path)

        client = self.site(locate)
        client.send(ask())
        self.assertEqual(read_answers(client.received)[0].status, 500)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)


class UnwantedTests(SiteTestCase):
    """Clients that are not wanted."""

    def test_turned_away(self) -> None:
        """Their connections are cut, and nothing they sent is read."""
        site = Site(Clock(), lambda path: ByHand(), lambda request: None, Limits(), turns_away="192.0.2.1".__eq__)
        wires = [
            Wire(Clock(), site.buildProtocol(IPv4Address("TCP", peer, 1)), peer) for peer in ("192.0.2.1", "192.0.2.2")
        ]
        self.assertEqual(([wire.ended for wire in wires], len(site.channels)), (["cut", ""], 1))

    def test_a_peer_without_an_address(self) -> None:
        """A client on a Unix socket is asked about as what it is in the log: nobody."""
        asked: list[str] = []
        site = Site(Clock(), lambda path: ByHand(), lambda request: None, Limits(), turns_away=asked.append)  # type: ignore[arg-type]
        site.buildProtocol(UNIXAddress(b"/run/peer"))
        self.assertEqual(asked, [""])


class OverdueTests(SiteTestCase):
    """Who takes too long."""

    def test_many_are_looked_at_in_turns(self) -> None:
        """No more than a hundred in a row, so that requests never wait for long; and nobody is forgotten."""
        clients = [self.gateway.connect() for _ in range(250)]
        self.gateway.clock.advance(self.gateway.site.limits.head_timeout - 0.01)
        ended = [0]
        for _ in range(120):
            self.gateway.clock.advance(0.01)
            ended.append(sum(client.ended != "" for client in clients))
        self.assertEqual(ended[-1], 250)
        self.assertLessEqual(max(after - before for before, after in pairwise(ended)), 100)

    def test_what_takes_long_is_interrupted(self) -> None:
        """To end a connection takes a while, in which requests wait: the next one is ended a little later."""
        looks = self.overdue()
        self.gateway.clock.advance(LONGEST_PERIOD)
        self.assertEqual(len(looks), 1)
        self.gateway.clock.advance(BREATH)
        self.assertEqual(len(looks), 2)

    def test_one_that_fails(self) -> None:
        """It is logged, and the others are looked at all the same."""
        looks = self.overdue(ValueError("looked at"))
        self.gateway.clock.pump([LONGEST_PERIOD, BREATH, BREATH])
        self.assertEqual((len(looks), len(self.flushLoggedErrors(ValueError))), (3, 3))

    def test_where_there_is_no_room(self) -> None:
        """They are ended sooner when no more are taken."""
        self.gateway.site.connections.most = 3
        looks = self.overdue()
        self.gateway.clock.advance(LONGEST_PERIOD)
        self.gateway.clock.advance(LEAST_BREATH)
        self.assertEqual(len(looks), 2)

    def overdue(self, error: Exception | None = None) -> list[float]:
        """When each of three was looked at, which takes long, and fails with this error."""
        clock, looks = self.gateway.clock, []

        class Overdue:
            peer = ""

            def check(self, now: float) -> None:
                looks.append(now)
                clock.rightNow += 2 * LOOK
                if error is not None:
                    raise error

        for _ in range(3):
            self.gateway.site.opened(Overdue())  # type: ignore[arg-type]
        return looks


class EndTests(SiteTestCase):
    """How a gateway stops."""

    def drain(self) -> list[None]:
        """Stop; the list has an entry once the last connection has closed."""
        drained: list[None] = []
        self.gateway.site.drain().addCallback(drained.append)
        self.gateway.clock.advance(0)
        return drained

    def test_without_connections(self) -> None:
        """There is nothing to wait for."""
        self.assertEqual(self.drain(), [None])

    def test_idle_connections_are_closed(self) -> None:
        """At once, whether they have served or not."""
        clients = [self.gateway.connect(), self.gateway.connect()]
        clients[0].send(ask("/echo"))
        self.gateway.clock.advance(FRESH)
        self.assertEqual(self.drain(), [None])
        self.assertEqual([client.ended for client in clients], ["closed", "closed"])

    def test_new_connections_may_ask_once(self) -> None:
        """The first request of a connection is on its way: it is answered, if it does not take long."""
        asks, silent = self.gateway.connect(), self.gateway.connect()
        drained = self.drain()
        self.assertEqual((asks.ended, silent.ended), ("", ""))
        asks.send(ask("/echo"))
        self.assertEqual(read_answers(asks.received)[0].fields["Connection"], "close")
        asks.leave()
        self.gateway.clock.pump([0.1] * 15)
        self.assertEqual((silent.ended, drained), ("closed", [None]))

    def test_requests_are_finished(self) -> None:
        """The one being served and those behind it are answered; the last answer says that the connection closes."""
        client = self.gateway.connect()
        client.send(ask("/hand"))
        drained = self.drain()
        self.assertEqual((client.ended, drained), ("", []))
        self.hand.requests[0].respond(200, b"", b"done")
        self.assertEqual(client.ended, "half closed")
        client.leave()
        self.assertEqual(drained, [None])
        self.assertEqual(read_answers(client.received)[0].fields["Connection"], "close")

    def test_a_request_that_has_just_come(self) -> None:
        """It is answered, whether it is still to be read or its head has begun; the answer says that it is the last."""
        clients = [self.gateway.connect(), self.gateway.connect()]
        for client in clients:
            client.send(ask("/echo"))
        clients[0].unread = ask("/echo")
        clients[1].send(ask("/echo")[:10])
        drained = self.drain()
        clients[0].send(b"")
        clients[1].send(ask("/echo")[10:])
        for client in clients:
            first, second = read_answers(client.received)
            self.assertEqual((first.fields["Connection"], second.fields["Connection"]), (None, "close"))
            client.leave()
        self.assertEqual(drained, [None])

    def test_a_client_that_is_not_wanted_has_one_answer_more(self) -> None:
        """What it has just sent is answered, and nothing after that."""
        client = self.gateway.connect()
        client.send(ask("/echo"))
        client.unread = ask("/echo")
        self.gateway.site.evict(lambda address: True)
        client.send(b"", ask("/echo"))
        self.assertEqual([answer.fields["Connection"] for answer in read_answers(client.received)], [None, "close"])

    def test_connections_that_come_late(self) -> None:
        """They serve one request."""
        keeper = self.gateway.connect()
        keeper.send(ask("/hand"))
        self.drain()
        client = self.gateway.connect()
        client.send(ask("/echo"))
        self.assertEqual((len(read_answers(client.received)), client.ended), (1, "half closed"))

    def test_abort(self) -> None:
        """Whatever is left is cut, and its request recorded as incomplete or without an answer."""
        clients = [self.gateway.connect(), self.gateway.connect()]
        clients[0].send(ask("/hand"))
        self.gateway.clock.advance(FRESH)
        drained = self.drain()
        self.gateway.site.abort()
        self.gateway.clock.advance(0)
        self.assertEqual([client.ended for client in clients], ["cut", "closed"])
        self.assertEqual((drained, len(self.gateway.recorded)), ([None], 1))
