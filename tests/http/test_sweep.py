"""Tests of gateway.http.sweep: what is in progress ends when its credentials do."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

from gateway.core.errors import GatewayError, Unauthorized
from gateway.core.tokens import Claims
from gateway.http.request import Request
from gateway.http.sweep import PERIOD, Sweep
from tests.http.wire import ByHand, ProxyTestCase, ask

STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"


class SweepTests(ProxyTestCase):
    """Requests in each state, of clients whose names are their paths' second parts."""

    def setUp(self) -> None:
        super().setUp()
        self.hand = ByHand()
        self.gateway.plant(b"/hand", self.hand)
        self.revoked: set[str] = set()
        self.asked: list[str] = []
        self.sweep = Sweep(self.gateway.clock, self.refusal)
        self.sweep.channels = self.gateway.site.channels
        locate = self.gateway.site.locate

        def located(path: bytes) -> Any:
            for channel in self.gateway.site.channels:
                for request in channel.answering:
                    if request.path == path:
                        subject = path.decode().rpartition("/")[2]
                        request.claims = Claims(subject, "user", "", 0.0, 1e9) if subject != "guest" else None
            return locate(path)

        self.gateway.site.locate = located

    def refusal(self, claims: Claims) -> GatewayError | None:
        self.asked.append(claims.subject)
        return Unauthorized("The access token was revoked") if claims.subject in self.revoked else None

    def revoke(self, *subjects: str) -> None:
        """Say so, and let the time pass until it is seen to."""
        self.revoked.update(subjects)
        self.sweep.soon()
        self.after(PERIOD)

    def test_before_the_head(self) -> None:
        """The client gets 401 and may ask again on its connection; the instance is left."""
        self.client.send(ask("/a/ann"))
        self.revoke("ann")
        self.assertEqual([status for status, _ in self.answers()], [401])
        self.assertEqual(self.origin.wires[0].ended, "cut")
        self.assertEqual(self.gateway.recorded[0].decided_by, "revocation")
        self.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "/a/guest")
        self.assertEqual([status for status, _ in self.answers()], [401, 200])

    def test_while_it_connects(self) -> None:
        """The attempt is given up."""
        self.origin.at_once = False
        self.client.send(ask("/a/ann"))
        self.revoke("ann")
        self.assertEqual(([status for status, _ in self.answers()], self.origin.cancelled), ([401], 1))

    def test_an_answer_that_has_begun(self) -> None:
        """It is cut on both sides, and logged as incomplete."""
        self.client.send(ask("/a/ann"))
        self.origin.wires[0].send(STREAM)
        self.revoke("ann")
        self.assertEqual((self.client.ended, self.origin.wires[0].ended), ("cut", "cut"))
        (record,) = self.gateway.recorded
        self.assertEqual((record.status, record.incomplete, record.decided_by), (200, True, "revocation"))

    def test_while_a_body_comes(self) -> None:
        """401, and nothing that comes after it is read as a request."""
        self.client.send(ask("/a/ann", "Content-Length: 5", method="POST", body=b"he"))
        self.revoke("ann")
        (answer,) = self.answers()
        self.assertEqual(answer[0], 401)
        self.assertIn(b"Connection: close", self.client.received)

    def test_behind_no_relay(self) -> None:
        """One that a guard or another resource has is refused; its late answer goes nowhere."""
        self.client.send(ask("/hand/ann"))
        self.revoke("ann")
        self.assertEqual([status for status, _ in self.answers()], [401])
        self.assertTrue(self.hand.requests[0].finished)

    def test_one_that_fails(self) -> None:
        """Whatever goes wrong with one, the others end."""
        for _ in range(3):
            self.gateway.connect().send(ask("/a/ann"))
        end = Mock(side_effect=[ZeroDivisionError, None, None])
        self.patch(Request, "end", end)
        self.revoke("ann")
        self.assertEqual((end.call_count, len(self.flushLoggedErrors(ZeroDivisionError))), (3, 1))

    def test_others(self) -> None:
        """Who is not revoked, or is a guest, notices nothing; connections without a request are no matter."""
        for path in ("/a/bob", "/a/guest"):
            self.gateway.connect().send(ask(path))
        self.revoke("ann")
        self.assertEqual((self.asked, self.gateway.recorded), (["bob"], []))

    def test_many_changes(self) -> None:
        """Those that come together share a look, and each one after that has another."""
        self.client.send(ask("/a/bob"))
        for _ in range(100):
            self.sweep.soon()
        self.after(1)
        self.assertEqual(self.asked, ["bob"])
        self.revoke()
        self.assertEqual(self.asked, ["bob"] * 2)
