"""Tests of upgrades on their way to an instance: what it may answer, what becomes of that, and of the socket's log."""

from __future__ import annotations

import json
from typing import Any

from gateway.core.errors import Unauthorized
from gateway.core.tokens import Claims
from gateway.resources.bridges import CLOSE_TIMEOUT
from tests.resources.upgrades import CLIENT_KEY, FakeInstance, UpgradeCase, accepts, field
from tests.resources.wires import PONG, TEXT, Frame, Wire, close, code, frame, frames

TOKEN = "bearer.eyJh.eyJz.c2ln"


class AcceptedTests(UpgradeCase):
    """The upstream says 101."""

    def test_client_gets_its_own_101(self) -> None:
        """Only after the upstream's; with the accept of its own key, the request's id and what the guards added."""
        upstream = self.asked()
        self.assertEqual(self.client.value(), b"")
        request = self.switch(upstream)
        answer = self.client.taken()
        self.assertTrue(answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\n"))
        self.assertEqual(field(answer, "Sec-WebSocket-Accept"), accepts(CLIENT_KEY))
        self.assertEqual(field(answer, "X-Request-ID"), field(request, "X-Request-ID"))
        self.assertEqual(field(answer, "RateLimit-Limit"), "60")
        self.assertNotEqual(field(request, "Sec-WebSocket-Key"), CLIENT_KEY)

    def test_fields_of_the_upstreams_101_stop(self) -> None:
        """Server, cookies and whatever else came with it."""
        self.switch(self.asked(), "Server: secret", "Set-Cookie: a=b", "X-Request-ID: other")
        self.assertNotRegex(self.client.taken(), b"secret|Set-Cookie|other")

    def test_fields_of_the_client_pass(self) -> None:
        """Each once, with what it had; what belongs to the connection or to the gateway does not."""
        request = self.asked(
            "Cookie: a=1", "Cookie: b=2", "X-Many: 1", "X-Many: 2", "User-Agent: me", "Accept-Language: \xc3\xa9",
            "Connection: X-Hop", "X-Hop: 1", "Keep-Alive: 5", "Cache-Control: max-age=1", "X-User-Id: root",
            "X-Forwarded-For: 6.6.6.6", "Sec-WebSocket-Extensions: permessage-deflate", "TE: trailers",
        ).taken()  # fmt: skip
        expected = {"Cookie": "a=1; b=2", "X-Many": "1, 2", "User-Agent": "me", "Via": "1.1 smartgate"}
        for name, value in {**expected, "Connection": "Upgrade", "Upgrade": "WebSocket"}.items():
            self.assertEqual(field(request, name), value)
        self.assertIn("Accept-Language: é\r\n".encode(), request)
        self.assertNotRegex(request, rb"X-Hop|Keep-Alive|max-age|root|6\.6\.6\.6|deflate|trailers")

    def test_field_that_is_not_utf_8(self) -> None:
        """It cannot be passed on as it is, so it is refused."""
        self.send("X-Name: caf\xe9")
        self.assertEqual((self.status(), self.instance.attempts), (400, []))

    def test_messages_pass_both_ways(self) -> None:
        """The bridge is there."""
        upstream = self.open()
        self.client.taken()
        self.client.receive(frame(TEXT, b"hello", masked=True))
        self.assertEqual(upstream.taken_frames(), [Frame(TEXT, b"hello", True, True)])
        upstream.receive(frame(TEXT, b"hello"))
        self.assertEqual(self.client.taken_frames(), [Frame(TEXT, b"hello", False, True)])

    def test_what_came_with_the_heads(self) -> None:
        """Frames right behind the client's handshake and the upstream's 101 are not lost."""
        upstream = self.open(rest=frame(TEXT, b"server first"))
        rest = self.client.taken().partition(b"\r\n\r\n")[2]
        self.assertEqual(frames(rest), [Frame(TEXT, b"server first", False, True)])
        self.setUp()
        self.send(rest=frame(TEXT, b"client", masked=True))
        self.client.receive(frame(TEXT, b"first", masked=True))
        upstream = self.instance.connected()
        self.switch(upstream)
        self.assertEqual([found.payload for found in upstream.taken_frames()], [b"client", b"first"])

    def test_eager_client_is_not_read_without_end(self) -> None:
        """What it sends before the 101 is held up to a limit, and then left in its socket until the socket opens."""
        upstream = self.asked(rest=frame(TEXT, bytes(100), masked=True) * 700)
        self.assertTrue(self.client.paused)
        self.switch(upstream)
        self.assertFalse(self.client.paused)
        self.assertEqual(len(upstream.taken_frames()), 700)

    def test_instance_counts_as_busy_until_the_end(self) -> None:
        """A balancer that counts sees an open socket as a request under way."""
        upstream = self.open()
        self.assertEqual((self.instance.active, len(self.bridges)), (1, 1))
        self.client.lose()
        upstream.lose()
        self.assertEqual((self.instance.active, len(self.bridges)), (0, 0))

    def test_pooled_connection(self) -> None:
        """A connection that served another request before carries the socket as well."""
        connection, wire = self.instance.connection()
        self.instance.idle.append(connection)
        self.send()
        self.switch(wire)
        self.assertEqual(self.status(), 101)

    def test_dead_pooled_connection(self) -> None:
        """One that turns out to be dead is replaced."""
        connection, wire = self.instance.connection()
        self.instance.idle.append(connection)
        self.send()
        wire.lose()
        self.switch(self.instance.connected())
        self.assertEqual((self.status(), self.instance.active), (101, 1))

    def test_time_outs_of_the_request_do_not_end_the_socket(self) -> None:
        """An open socket has its own: 300 s without a byte of either peer."""
        upstream = self.open()
        self.client.taken()
        for _ in range(10):
            self.clock.advance(299)
            upstream.receive(frame(PONG))
        self.assertEqual(self.client.taken_frames(), [Frame(PONG, b"", False, True)] * 10)
        for _ in range(3):
            self.clock.advance(150)
        self.assertEqual(list(map(code, self.client.taken_frames())), [1001])


class SubprotocolTests(UpgradeCase):
    """Who selects it, and who may not see the token."""

    def test_upstream_selects(self) -> None:
        """What it selects is answered, and nothing else."""
        upstream = self.asked("Sec-WebSocket-Protocol: mcp, other")
        request = self.switch(upstream, "Sec-WebSocket-Protocol: other")
        self.assertEqual(field(request, "Sec-WebSocket-Protocol"), "mcp,other")
        self.assertEqual(field(self.client.taken(), "Sec-WebSocket-Protocol"), "other")

    def test_upstream_selects_nothing(self) -> None:
        """Then nothing is answered."""
        self.switch(self.asked("Sec-WebSocket-Protocol: mcp"))
        self.assertEqual(field(self.client.taken(), "Sec-WebSocket-Protocol"), "")

    def test_token_goes_no_further(self) -> None:
        """The subprotocol that carries the token is offered to no upstream and answered to no client."""
        upstream = self.asked(f"Sec-WebSocket-Protocol: {TOKEN}, mcp")
        request = self.switch(upstream, "Sec-WebSocket-Protocol: mcp")
        self.assertEqual(field(request, "Sec-WebSocket-Protocol"), "mcp")
        answer = self.client.taken()
        self.assertEqual(field(answer, "Sec-WebSocket-Protocol"), "mcp")
        self.assertNotIn(b"bearer", request + answer)

    def test_token_alone(self) -> None:
        """Who offers nothing but a token offers no subprotocol."""
        self.assertNotIn(b"Sec-WebSocket-Protocol", self.asked(f"Sec-WebSocket-Protocol: {TOKEN}").taken())

    def test_upstream_selects_what_was_not_offered(self) -> None:
        """Its 101 is worth nothing: 502; so is one that selects the token."""
        for unasked in ("unasked", TOKEN, "MCP"):
            self.setUp()
            upstream = self.asked(f"Sec-WebSocket-Protocol: mcp, {TOKEN}")
            self.switch(upstream, f"Sec-WebSocket-Protocol: {unasked}")
            self.assertTrue(upstream.aborted)
            upstream.lose()
            self.assertEqual((self.status(), self.instance.active, len(self.bridges)), (502, 0, 0))


class RefusedTests(UpgradeCase):
    """The upstream says something else, or nothing."""

    def test_refusal_is_relayed(self) -> None:
        """Status, fields and body as they are, with the gateway's own fields; then the connection is closed."""
        upstream = self.asked()
        upstream.receive(b"HTTP/1.1 401 Unauth")
        upstream.receive(b"orized\r\nWWW-Authenticate: Basic\r\nServer: secret\r\nContent-Length: 5\r\n\r\nno")
        upstream.receive(b"pe!")
        answer = self.client.taken()
        self.assertTrue(answer.startswith(b"HTTP/1.1 401 Unauthorized\r\n"))
        self.assertTrue(answer.endswith(b"\r\n\r\nnope!"))
        self.assertEqual(field(answer, "WWW-Authenticate"), "Basic")
        self.assertEqual((field(answer, "Server"), field(answer, "X-Frame-Options")), ("", "DENY"))
        self.assertEqual(field(answer, "Connection"), "close")
        self.assertTrue(self.client.half_closed)
        self.assertEqual((self.instance.active, len(self.instance.idle)), (0, 1))
        self.assertEqual([(request.status, request.log_more) for request in self.recorded], [(401, "")])
        self.assertEqual(self.opened, [])

    def test_chunked_refusal(self) -> None:
        """A body in chunks comes through as well."""
        upstream = self.asked()
        upstream.receive(b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nnope\r\n0\r\n\r\n")
        self.assertTrue(self.client.taken().endswith(b"\r\n\r\n4\r\nnope\r\n0\r\n\r\n"))

    def test_plain_200(self) -> None:
        """An upstream that does not know WebSockets; its answer is its answer."""
        self.asked().receive(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        self.assertEqual(self.status(), 200)

    def test_no_http(self) -> None:
        """Nonsense is 502."""
        self.asked().receive(b"hello\r\n\r\n")
        self.assertEqual(self.status(), 502)

    def test_101_after_an_interim_answer(self) -> None:
        """Nothing was asked that an interim answer could answer: 502."""
        upstream = self.asked()
        upstream.receive(
            b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        self.assertEqual(self.status_of_final(), 502)

    def status_of_final(self) -> int:
        """The status after all interim answers."""
        return int(self.client.value().split(b"HTTP/1.1 ")[-1][:3])

    def test_wrong_101(self) -> None:
        """A 101 that does not answer the client's question is 502."""
        for lines, accept in ((("Sec-WebSocket-Extensions: permessage-deflate",), ""), ((), accepts("another"))):
            self.setUp()
            upstream = self.asked()
            self.switch(upstream, *lines, accept=accept)
            upstream.lose()
            self.assertEqual((self.status(), self.failures), (502, ["no_answer"]))

    def test_too_large_a_101(self) -> None:
        """It is not gathered for ever: 502."""
        upstream = self.asked()
        upstream.receive(b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"x" * 70_000)
        self.assertTrue(upstream.aborted)
        upstream.lose()
        self.assertEqual(self.status(), 502)

    def test_upstream_is_away(self) -> None:
        """Two attempts, then 502."""
        self.send()
        self.instance.attempts.pop().errback(ConnectionError())
        self.instance.attempts.pop().errback(ConnectionError())
        self.assertEqual((self.status(), self.instance.active, self.failures), (502, 0, ["connect", "connect"]))

    def test_upstream_is_silent(self) -> None:
        """504 when the time to the first byte is over, and its connection is cut."""
        upstream = self.asked()
        self.clock.advance(60)
        self.assertEqual((self.status(), upstream.aborted, self.instance.active), (504, True, 0))
        upstream.lose()
        self.assertEqual(len(self.recorded), 1)

    def test_upstream_never_finishes_its_101(self) -> None:
        """A head that trickles is no answer: 504."""
        upstream = self.asked()
        for byte in b"HTTP/1.1 101 Switching Protocols\r\nX: a long field that comes":
            upstream.receive(bytes((byte,)))
            self.clock.advance(1)
        self.assertEqual(self.status(), 504)

    def test_upstream_leaves(self) -> None:
        """502 when the connection ends before the 101."""
        self.asked().lose()
        self.assertEqual((self.status(), self.instance.active), (502, 0))


class TwoInstancesTests(UpgradeCase):
    """A second instance, which is asked when the first has not begun to answer."""

    def setUp(self) -> None:
        self.second = FakeInstance("other:3003")
        self.others = (self.second,)
        super().setUp()

    def tearDown(self) -> None:
        """However it went: no request counts as being under way when all have ended."""
        self.client.lose()
        circuit = self.cluster.circuit
        self.assertEqual((circuit.requests, circuit.retries.taken), (0, 0))

    def test_first_is_lost(self) -> None:
        """The second one opens the socket."""
        self.asked().lose()
        self.switch(self.second.connected())
        self.assertEqual((self.status(), self.instance.active, self.second.active), (101, 0, 1))

    def test_first_is_silent(self) -> None:
        """The same; what the first one still says is nobody's."""
        first = self.asked()
        self.clock.advance(60)
        self.switch(first)
        first.lose()
        self.switch(self.second.connected())
        self.assertEqual((self.status(), first.aborted, self.recorded), (101, True, []))

    def test_first_has_begun(self) -> None:
        """Then nobody else is asked."""
        first = self.asked()
        first.receive(b"HTTP/1.1 101")
        first.lose()
        self.assertEqual((self.status(), self.second.attempts), (502, []))

    def test_trial(self) -> None:
        """An instance that opens a socket is well; one that refuses with an error is not, and the other is asked."""
        for well in (True, False):
            self.setUp()
            self.instance.health.eject(self.clock.seconds() - 30, silent=True)
            first = self.asked()
            if well:
                self.switch(first)
            else:
                first.receive(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
                self.switch(self.second.connected())
            self.assertEqual((self.status(), self.instance.health.ejected), (101, not well))
            self.client.lose()

    def test_connections_count(self) -> None:
        """An open socket has its connection until it ends, and so has one that is refused or lost."""
        slots = self.cluster.circuit.connections
        upstream = self.open()
        self.assertEqual((slots.taken, self.cluster.circuit.requests), (1, 0))
        self.client.lose()
        upstream.lose()
        self.assertEqual(slots.taken, 0)
        self.setUp()
        slots = self.cluster.circuit.connections
        self.asked().lose()
        self.second.connected().receive(b"HTTP/1.1 403 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual((self.status(), slots.taken), (403, 0))


class ClientGoneTests(UpgradeCase):
    """A client that leaves during the upgrade takes it along."""

    def test_while_connecting(self) -> None:
        """The attempt is cancelled."""
        self.send()
        self.client.lose()
        self.assertEqual((len(self.instance.cancelled), self.instance.active), (1, 0))

    def test_while_asking(self) -> None:
        """The upstream's connection is cut, and what it still says is nobody's."""
        upstream = self.asked()
        self.client.lose()
        self.assertEqual((upstream.aborted, self.instance.active), (True, 0))
        self.switch(upstream)
        upstream.lose()
        self.assertEqual((self.client.value(), len(self.bridges), len(self.recorded)), (b"", 0, 1))

    def test_refusal_to_nobody(self) -> None:
        """The same for an answer that is none."""
        upstream = self.asked()
        self.client.lose()
        upstream.receive(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual((self.client.value(), len(self.recorded)), (b"", 1))


class LogTests(UpgradeCase):
    """What the access log learns."""

    def more(self, members: str) -> Any:
        """The members of JSON that a line got."""
        return json.loads("{" + members.removeprefix(",") + "}")

    def test_open_and_close(self) -> None:
        """One line when the socket opens, one when it has closed, with bytes both ways and the code."""
        upstream = self.open()
        self.assertEqual(self.opened, [(101, ',"event":"open"')])
        self.assertEqual(self.recorded, [])
        self.client.receive(frame(TEXT, b"12345", masked=True))
        upstream.receive(frame(TEXT, b"123"))
        upstream.receive(close(4000))
        self.client.receive(close(4000, masked=True))
        self.client.lose()
        upstream.lose()
        [request] = self.recorded
        self.assertEqual(self.more(request.log_more), {"event": "close", "received": 19, "closeCode": 4000})
        self.assertEqual((request.status, request.sent, request.upstream), (101, 9, "10.0.0.1:3003"))
        self.assertEqual(request.upstream_time, 0.0)
        self.assertEqual(len(self.site.channels), 0)

    def test_lost_connection(self) -> None:
        """Who is lost without a word shows in the code that the other side was sent."""
        upstream = self.open()
        upstream.lose()
        self.client.lose()
        self.assertEqual(self.more(self.recorded[0].log_more)["closeCode"], 1013)


class StoppingTests(UpgradeCase):
    """The gateway stops."""

    def test_open_sockets_are_not_cut_by_the_drain(self) -> None:
        """They are closed by the bridges (1012), and the drain waits for them."""
        upstream = self.open()
        self.client.taken()
        drained: list[None] = []
        self.site.drain().addCallback(drained.append)
        self.bridges.close_all()
        self.assertEqual(list(map(code, self.client.taken_frames())), [1012])
        self.assertEqual((self.client.aborted, drained), (False, []))
        self.client.lose()
        upstream.lose()
        self.assertEqual(drained, [None])

    def test_upgrade_under_way(self) -> None:
        """It is finished, and the socket closed at once."""
        upstream = self.asked()
        self.site.drain()
        self.bridges.close_all()
        self.switch(upstream)
        self.assertEqual(list(map(code, frames(self.client.taken().partition(b"\r\n\r\n")[2]))), [1012])


class ExpiryTests(UpgradeCase):
    """A socket ends with its token."""

    def expires(self, left: float) -> Wire:
        """A socket opened with a token that has so many seconds left."""
        expires = self.clock.seconds() + left
        self.claims = Claims(subject="ann", role="user", token_id="1", issued_at=0, expires=expires)
        upstream = self.open()
        self.client.taken()
        return upstream

    def codes(self) -> list[int]:
        """The close codes that the client was sent."""
        return list(map(code, self.client.taken_frames()))

    def test_token_expires(self) -> None:
        """1008 at its exp."""
        upstream = self.expires(100)
        self.clock.advance(99)
        self.assertEqual(self.codes(), [])
        self.clock.advance(1)
        self.assertEqual(self.codes(), [1008])
        self.clock.advance(CLOSE_TIMEOUT)
        self.assertTrue(self.client.aborted and upstream.aborted)

    def test_token_within_its_leeway(self) -> None:
        """One that is only good because clocks may differ is good for as long as they may."""
        self.expires(-10)
        self.clock.advance(49)
        self.assertEqual(self.codes(), [])
        self.clock.advance(1)
        self.assertEqual(self.codes(), [1008])

    def test_token_that_expired_during_the_upgrade(self) -> None:
        """The socket is closed as soon as it is open."""
        self.expires(-61)
        self.clock.advance(0)
        self.assertEqual(self.codes(), [1008])

    def test_no_token_no_expiry(self) -> None:
        """A route for everybody has sockets without end."""
        self.open()
        self.client.taken()
        for _ in range(1000):
            self.clock.advance(200)
            self.client.receive(frame(PONG, masked=True))
        self.client.receive(frame(PONG, masked=True))
        self.assertEqual(self.codes(), [])


class EndTests(UpgradeCase):
    """A client that may have nothing more."""

    def end(self) -> None:
        """Its credentials count no longer."""
        (channel,) = self.site.channels
        (request,) = channel.answering
        request.end(Unauthorized("The access token was revoked"))

    def test_open(self) -> None:
        """The client's close frame says why, the instance's that its client goes away; the log says both."""
        upstream = self.open()
        self.client.taken()
        self.end()
        (said,) = self.client.taken_frames()
        self.assertEqual((code(said), said.payload[2:]), (1008, b"the access token was revoked"))
        self.assertEqual([code(each) for each in frames(upstream.taken())], [1001])
        self.clock.advance(CLOSE_TIMEOUT)
        self.client.lose()
        upstream.lose()
        (record,) = self.recorded
        self.assertEqual((record.status, record.decided_by), (101, "revocation"))
        self.assertIn('"closeCode":1008', record.log_more)

    def test_during_the_upgrade(self) -> None:
        """It is refused, and the instance left."""
        upstream = self.asked()
        self.end()
        self.assertEqual((self.status(), upstream.aborted, self.instance.active), (401, True, 0))

    def test_checks(self) -> None:
        """An open socket is none of the timeouts' of a request."""
        self.open()
        self.clock.advance(1000)
        self.assertFalse(self.client.aborted)
