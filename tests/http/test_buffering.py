"""Tests of gateway.http.buffering: when an instance hears of a body that comes in pieces, and when in a crowd."""

from __future__ import annotations

from typing import Any

from gateway.core.circuit import Circuit, Limits
from gateway.core.errors import Unauthorized
from gateway.http.buffering import CROWD, ENOUGH
from tests.http.test_h2_stream import H2TestCase
from tests.http.wire import READ, LateWire, ProxyTestCase, ask

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEAD = ask("/a", "Content-Length: 5", method="POST")
LONG = ask("/a", f"Content-Length: {ENOUGH + 1}", method="POST")


class UploadsTests(ProxyTestCase):
    """What makes a crowd."""

    def setUp(self) -> None:
        super().setUp()
        self.gateway.proxy(b"/a", self.origin)
        self.circuit = self.gateway.cluster.circuit

    def test_few(self) -> None:
        """An instance hears of a few at once; it may answer before they are there."""
        self.client.send(HEAD)
        self.assertEqual((len(self.origin.wires), self.circuit.uploads), (1, 1))
        self.client.send(b"hello")
        self.assertEqual(self.circuit.uploads, 0)
        self.origin.wires[0].send(OK)
        self.assertEqual(self.answers(), [(200, b"ok")])

    def test_many(self) -> None:
        """It hears of a hundred, and of others once one of these has ended, whichever its end."""
        clients = [self.gateway.connect() for _ in range(CROWD + 1)]
        for client in clients:
            client.send(HEAD)
        self.assertEqual((len(self.origin.wires), self.circuit.uploads), (CROWD, CROWD))
        clients[0].leave()
        self.client.send(HEAD)
        self.assertEqual((len(self.origin.wires), self.circuit.uploads), (CROWD + 1, CROWD))

    def test_whole_ones(self) -> None:
        """Those that are there when their turn has come are none of them."""
        self.origin.at_once = False
        self.client.send(ask("/a"))
        self.gateway.connect().send(HEAD + b"hello")
        self.assertEqual((self.circuit.requests, self.circuit.uploads), (2, 0))

    def test_refused_ones(self) -> None:
        """Those count no longer."""
        self.circuit.max_requests = 0
        self.client.send(HEAD)
        self.assertEqual((self.code(), self.circuit.uploads), ("SERVICE_UNAVAILABLE", 0))


class BufferingTests(ProxyTestCase):
    """A body that comes when the crowd is there."""

    def setUp(self) -> None:
        super().setUp()
        self.proxy(Circuit())

    def proxy(self, circuit: Circuit) -> None:
        """What there is at /a."""
        circuit.uploads = CROWD
        self.gateway.proxy(b"/a", self.origin, circuit=circuit)

    def send(self, *pieces: bytes) -> None:
        """What the client sends, and a turn of the reactor."""
        self.client.send(*pieces)
        self.after(0)

    def test_all_of_it(self) -> None:
        """The instance hears of a small one when it is there."""
        self.send(HEAD, b"he", b"ll")
        self.assertEqual(self.origin.wires, [])
        self.send(b"o")
        self.assertTrue(self.origin.received.endswith(b"\r\n\r\nhello"))
        self.origin.wires[0].send(OK)
        self.assertEqual(self.answers(), [(200, b"ok")])

    def test_enough_of_it(self) -> None:
        """It hears of a large one when there is enough of it, and gets the rest as it comes."""
        self.send(LONG, bytes(ENOUGH - 1))
        self.assertEqual(self.origin.wires, [])
        self.send(b"1")
        self.assertTrue(self.origin.received.endswith(bytes(ENOUGH - 1) + b"1"))
        self.send(b"2")
        self.assertTrue(self.origin.received.endswith(b"12"))

    def test_enough_at_once(self) -> None:
        """What came with the head needs not wait, nor does what has no body."""
        self.client.send(HEAD + b"hello")
        self.assertEqual(len(self.origin.wires), 1)
        self.gateway.connect().send(ask("/a"))
        self.assertEqual(len(self.origin.wires), 2)

    def test_chunks(self) -> None:
        """They may be one half of a conversation, and go on at once."""
        self.client.send(ask("/a", "Transfer-Encoding: chunked", method="POST"))
        self.assertEqual(len(self.origin.wires), 1)

    def test_expected(self) -> None:
        """A client that waits to be told to go on is told, once."""
        self.send(ask("/a", "Content-Length: 5", "Expect: 100-continue", method="POST"))
        self.assertEqual((self.client.received, self.origin.wires), (b"HTTP/1.1 100 Continue\r\n\r\n", []))
        self.send(b"hello")
        self.origin.wires[0].send(OK)
        self.assertEqual(self.client.received.count(b"100 Continue"), 1)

    def test_the_client_leaves(self) -> None:
        """No instance has heard of it."""
        self.send(HEAD, b"he")
        self.client.leave()
        self.after(1)
        [request] = self.gateway.recorded
        self.assertEqual((self.origin.wires, request.relay, request.sink), ([], None, None))
        circuit = self.gateway.cluster.circuit
        self.assertEqual((circuit.requests, circuit.uploads), (0, CROWD))

    def test_it_stops(self) -> None:
        """The client is told so, and again no instance has heard of it."""
        self.send(HEAD, b"he")
        self.after(31)
        self.assertEqual((self.code(), self.origin.wires), ("REQUEST_TIMEOUT", []))

    def test_the_answer_before_is_not_taken_yet(self) -> None:
        """TLS says so only when the next request has begun: that is served all the same."""
        self.client = self.gateway.connect(of=LateWire)
        self.client.stop_taking()
        self.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (2 * READ, bytes(2 * READ)))
        self.send(HEAD, b"he")
        self.client.take_again()
        self.send(b"llo")
        self.origin.wires[0].send(OK)
        self.assertEqual(self.answers(), [(200, bytes(2 * READ)), (200, b"ok")])

    def test_the_client_may_have_nothing_more(self) -> None:
        """Its token is revoked: it is refused, and what still comes goes nowhere, nor what has come."""
        for come, rest in ((b"l", b"lo"), (b"llo", b"")):
            self.client = self.gateway.connect()
            self.client.send(HEAD, b"he")
            channel: Any
            [channel] = [channel for channel in self.gateway.site.channels if channel.answering]
            [request] = channel.answering
            channel.dataReceived(come)
            request.end(Unauthorized())
            self.send(rest)
            self.assertEqual((self.code(), self.origin.wires), ("UNAUTHORIZED", []))

    def test_no_room_when_there_is_enough(self) -> None:
        """It is refused then; of what came behind it nothing is left, not even in the log."""
        self.proxy(Circuit(Limits(requests=0)))
        self.send(LONG, bytes(ENOUGH - 1), b"1")
        self.send(b"2" + ask("/a"))
        self.assertEqual((self.code(), self.origin.wires), ("SERVICE_UNAVAILABLE", []))
        self.client.leave()
        self.assertEqual([request.status for request in self.gateway.recorded], [503])


class StreamTests(H2TestCase):
    """The same over HTTP/2."""

    def setUp(self) -> None:
        super().setUp()
        self.gateway.cluster.circuit.uploads = CROWD
        self.number = self.client.begin((b"content-length", b"5"), method="POST", path="/a")

    def test_all_of_it(self) -> None:
        """The instance hears of it when it is there, whether or not its stream has ended."""
        self.client.send(self.number, b"hell")
        self.gateway.after(0)
        self.assertEqual(self.origin.wires, [])
        self.client.send(self.number, b"o")
        self.gateway.after(0)
        self.assertTrue(self.origin.received.endswith(b"\r\n\r\nhello"))
        self.assertEqual(self.proxied(self.number, OK).status, 200)

    def test_it_stops(self) -> None:
        """Its time ends, whatever has come of it before."""
        self.client.send(self.number, b"he")
        self.gateway.after(31)
        self.assertEqual((self.client.answer(self.number).status, self.origin.wires), (408, []))
