"""Tests of the opening handshakes that Autobahn makes for the bridge."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from autobahn.websocket.types import ConnectingRequest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.errors import BadRequest, GatewayError, UpgradeRequired
from gateway.core.headers import field_name
from gateway.http.upstream import HEAD_LIMIT
from gateway.resources.handshake import Answer, accept, accepting_factory, ask
from tests.resources.upgrades import CLIENT_KEY, HANDSHAKE, accepts, field
from tests.resources.wires import Wire


class Carrier:
    """Keeps what it is told about both handshakes."""

    def __init__(self) -> None:
        self.offer: list[str] | None = None
        self.answered: Deferred[Answer] = Deferred()
        self.answer = b""
        self.accepted_upstream: list[tuple[str | None, bytes]] = []
        self.refused: list[bytes] = []
        self.failed: list[GatewayError] = []
        self.heard = False

    def offered(self, subprotocols: list[str]) -> Deferred[Answer]:
        self.offer = subprotocols
        return self.answered

    def accepted(self, answer: bytes) -> None:
        self.answer = answer

    def wishes(self) -> ConnectingRequest:
        return ConnectingRequest("mcp", 3003, "/ws?x=1", {"X-Request-ID": "id"}, protocols=["mcp", "other"])

    def upstream_heard(self) -> None:
        self.heard = True

    def upstream_accepted(self, subprotocol: str | None, rest: bytes) -> None:
        self.accepted_upstream.append((subprotocol, rest))

    def upstream_refused(self, answer: bytes) -> None:
        self.refused.append(answer)

    def answer_failed(self, error: GatewayError) -> None:
        self.failed.append(error)


class AcceptTests(SynchronousTestCase):
    """The handshake with the client."""

    def setUp(self) -> None:
        self.factory = accepting_factory(Clock())

    def accept(self, *more: tuple[str, str], method: bytes = b"GET", without: str = "", **changes: str) -> Carrier:
        """Autobahn reads a handshake, less and more some fields."""
        named = {name.replace("_", "-"): value for name, value in changes.items()}
        fields = [pair for pair in {**HANDSHAKE, **named}.items() if pair[0] != without] + list(more)
        raw = [(field_name(name.encode()), value.encode("latin-1")) for name, value in fields]
        joined = {known.lower: value for known, value in raw}
        request: Any = SimpleNamespace(method=method, raw_fields=raw, field=joined.get)
        carrier = Carrier()
        accept(self.factory, request, carrier)
        return carrier

    def test_right_handshake(self) -> None:
        """Nothing is answered before the upstream has accepted; then 101 with its subprotocol and the given fields."""
        carrier = self.accept(Sec_WebSocket_Protocol="mcp, other")
        self.assertEqual((carrier.offer, carrier.answer), (["mcp", "other"], b""))
        carrier.answered.callback(("other", {"X-Request-ID": ["id"], "Vary": ["Origin", "Accept"]}))
        head = carrier.answer
        self.assertTrue(head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n"))
        self.assertTrue(head.endswith(b"\r\n\r\n"))
        self.assertEqual(field(head, "Sec-WebSocket-Accept"), accepts(CLIENT_KEY))
        self.assertEqual((field(head, "Sec-WebSocket-Protocol"), field(head, "X-Request-ID")), ("other", "id"))
        self.assertEqual(head.count(b"\r\nVary: "), 2)
        self.assertEqual((field(head, "Upgrade").lower(), field(head, "Connection").lower()), ("websocket", "upgrade"))
        self.assertEqual(field(head, "Server"), "")

    def test_no_subprotocol(self) -> None:
        """Where none is selected none is answered."""
        carrier = self.accept(Sec_WebSocket_Protocol="mcp")
        carrier.answered.callback((None, {}))
        self.assertNotIn(b"Sec-WebSocket-Protocol", carrier.answer)

    def test_extensions_are_never_agreed_on(self) -> None:
        """The offer to compress is not answered: frames pass as they are."""
        carrier = self.accept(("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"))
        carrier.answered.callback((None, {}))
        self.assertNotIn(b"Extensions", carrier.answer)

    def test_wrong_version(self) -> None:
        """426, and the version that would be right (RFC 6455 section 4.2.2)."""
        for version in ("0", "8", "14", "99"):
            error = self.assertRaises(UpgradeRequired, self.accept, Sec_WebSocket_Version=version)
            self.assertIn(b"Sec-WebSocket-Version: 13\r\n", error.fields)
            self.assertIn(b"Upgrade: websocket\r\n", error.fields)

    def test_malformed(self) -> None:
        """What RFC 6455 section 4.2.1 asks for, missing or twice or wrong: 400."""
        for wrong in (
            {"without": "Sec-WebSocket-Key"},
            {"without": "Sec-WebSocket-Version"},
            {"without": "Connection"},
            {"Connection": "keep-alive"},
            {"Sec_WebSocket_Version": "13a"},
            {"Sec_WebSocket_Key": "short"},
            {"Sec_WebSocket_Key": "!GhlIHNhbXBsZSBub25jZQ=="},
            {"Sec_WebSocket_Protocol": "mcp, mcp"},
            {"Sec_WebSocket_Protocol": "mcp, a b"},
            {"Sec_WebSocket_Protocol": "mcp,,other"},
            {"Sec_WebSocket_Protocol": "caf\xe9"},
            {"method": b"POST"},
        ):
            carrier: Any = None
            with self.assertRaises(BadRequest, msg=str(wrong)):
                carrier = self.accept(**wrong)
            self.assertIsNone(carrier)

    def test_repeated_fields(self) -> None:
        """Two keys or two versions are nobody's handshake; two lists of subprotocols are one list."""
        for name in ("Sec-WebSocket-Key", "Sec-WebSocket-Version"):
            self.assertRaises(BadRequest, self.accept, (name, HANDSHAKE[name]))
        self.assertEqual(
            self.accept(("Sec-WebSocket-Protocol", "a"), ("Sec-WebSocket-Protocol", "b")).offer, ["a", "b"]
        )

    def test_no_timer_is_left(self) -> None:
        """The time-outs of a handshake are those of the request."""
        clock = Clock()
        self.factory = accepting_factory(clock)
        self.accept()
        self.assertEqual(clock.getDelayedCalls(), [])


class AskTests(SynchronousTestCase):
    """The handshake with the upstream."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.carrier = Carrier()
        self.wire = Wire()
        self.wire.protocol = ask(self.clock, ["mcp", "other"], self.carrier)
        self.wire.protocol.makeConnection(self.wire)
        self.request = self.wire.taken()

    def answer(self, *lines: str, accept: str = "", status: str = "101 Switching Protocols") -> bytes:
        """An answer, right unless told otherwise."""
        accept = accept or accepts(field(self.request, "Sec-WebSocket-Key"))
        right = ("Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {accept}")
        return ("\r\n".join((f"HTTP/1.1 {status}", *right, *lines)) + "\r\n\r\n").encode("latin-1")

    def test_request(self) -> None:
        """A handshake of version 13 with a fresh key, the wished fields, and no extension."""
        self.assertTrue(self.request.startswith(b"GET /ws?x=1 HTTP/1.1\r\nHost: mcp:3003\r\n"))
        self.assertEqual(field(self.request, "X-Request-ID"), "id")
        self.assertEqual(field(self.request, "Sec-WebSocket-Version"), "13")
        self.assertEqual(field(self.request, "Sec-WebSocket-Protocol"), "mcp,other")
        self.assertEqual(field(self.request, "Sec-WebSocket-Extensions"), "")
        self.assertEqual(field(self.request, "User-Agent"), "")
        self.assertNotEqual(field(self.request, "Sec-WebSocket-Key"), "")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_accepted(self) -> None:
        """A right 101 in one piece or byte by byte, with what came after it."""
        self.wire.receive(self.answer("Sec-WebSocket-Protocol: other") + b"\x81\x00")
        self.assertEqual(self.carrier.accepted_upstream, [("other", b"\x81\x00")])
        self.setUp()
        for byte in self.answer():
            self.wire.receive(bytes((byte,)))
        self.wire.lose()
        self.assertEqual(self.carrier.accepted_upstream, [(None, b"")])
        self.assertEqual((self.carrier.refused, self.carrier.failed), ([], []))

    def test_anything_but_101_is_somebody_elses_to_read(self) -> None:
        """As soon as it is not a 101, all that has come is handed over, once."""
        self.wire.receive(b"HTTP/1.1 ")
        self.assertEqual(self.carrier.refused, [])
        self.wire.receive(b"404 Not")
        self.assertEqual(self.carrier.refused, [b"HTTP/1.1 404 Not"])
        self.wire.receive(b" Found\r\n\r\n")
        self.assertEqual(self.carrier.refused, [b"HTTP/1.1 404 Not"])

    def failed(self) -> None:
        """Asserts that the connection was cut, and its loss told as a failure."""
        self.assertTrue(self.wire.aborted)
        self.wire.lose()
        self.assertEqual([error.status for error in self.carrier.failed], [502])
        self.assertEqual(self.carrier.accepted_upstream, [])

    def test_wrong_101(self) -> None:
        """One that is not the answer to the question is worth nothing."""
        for lines in (
            ("Sec-WebSocket-Protocol: unasked",),
            ("Sec-WebSocket-Protocol: mcp", "Sec-WebSocket-Protocol: other"),
            ("Sec-WebSocket-Extensions: permessage-deflate",),
            ("Sec-WebSocket-Extensions: x-unknown",),
            ("Upgrade: h2c",),
            ("X-Bad: \xff",),
        ):
            self.setUp()
            self.wire.receive(self.answer(*lines))
            self.failed()

    def test_wrong_accept(self) -> None:
        """A key that was not read."""
        self.wire.receive(self.answer(accept=accepts(CLIENT_KEY)))
        self.failed()

    def test_status_that_begins_like_101(self) -> None:
        """Four digits are none."""
        self.wire.receive(self.answer(status="1010 Odd"))
        self.failed()

    def test_missing_fields(self) -> None:
        """A 101 alone."""
        self.wire.receive(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        self.failed()

    def test_head_without_end(self) -> None:
        """It is not gathered for ever."""
        self.wire.receive(self.answer()[:-2] + b"X: " + b"x" * HEAD_LIMIT)
        self.failed()

    def test_large_first_frame_is_no_large_head(self) -> None:
        """What comes after the head does not count as head."""
        self.wire.receive(self.answer() + bytes(HEAD_LIMIT))
        self.assertEqual(self.carrier.accepted_upstream, [(None, bytes(HEAD_LIMIT))])

    def test_connection_lost(self) -> None:
        """An upstream that leaves instead of answering."""
        self.wire.receive(self.answer()[:50])
        self.wire.lose()
        self.assertEqual([error.status for error in self.carrier.failed], [502])
