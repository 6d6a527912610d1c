"""Whatever an instance answers: the client gets what a strict client would have understood, a 502, or a cut."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.http.wire import Gateway, Origin, ask
from tests.properties import messages
from tests.properties.reference import read_answers


class AnswersTests(SynchronousTestCase):
    """Generated answers, through a gateway to a client in memory."""

    @given(st.sampled_from((b"GET", b"HEAD", b"POST")), st.data())
    def test_good_ones_arrive(self, method: bytes, data: st.DataObject) -> None:
        """An answer that is right arrives with its status and its body."""
        said = data.draw(messages.good_answers())
        if method == b"HEAD":
            said = said.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        received, _ = self.exchange(method, data.draw(messages.reads(said)), False)
        (right,) = read_answers(said, [method], True).messages
        (got,) = read_answers(received, [method], True).messages
        self.assertEqual((got.start, got.body), (right.start, right.body))

    @settings(max_examples=600)
    @given(st.sampled_from((b"GET", b"HEAD", b"POST")), st.booleans(), st.data())
    def test_odd_ones_are_understood_or_stopped(self, method: bytes, closes: bool, data: st.DataObject) -> None:
        """What the client takes for a whole answer is what the reference read, or the gateway's own 502."""
        said = data.draw(messages.answers())
        received, ended = self.exchange(method, data.draw(messages.reads(said)), closes)
        got = read_answers(received, [method], ended == "closed")
        self.assertFalse(got.broken)
        right = read_answers(said, [method], closes)
        for message in got.messages:
            if message.start != (b"502",):
                self.assertEqual([(message.start, message.body)], [(each.start, each.body) for each in right.messages])

    @settings(max_examples=300)
    @given(st.data())
    def test_nothing_is_left_for_the_next(self, data: st.DataObject) -> None:
        """After any answer the next client gets its own, never a rest of the one before."""
        gateway = Gateway()
        origin = Origin(gateway.clock)
        gateway.proxy(b"/a", origin)
        gateway.connect().send(ask("/a"))
        said = data.draw(messages.answers())
        origin.wires[-1].send(*data.draw(messages.reads(said)))
        second = gateway.connect()
        second.send(ask("/a/second"))
        right = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond"
        fresh = [wire for wire in origin.wires if b"/a/second" in wire.received and not wire.ended]
        if fresh:
            fresh[-1].send(right)
        got = read_answers(second.received, [b"GET"], False)
        self.assertEqual([(message.start, message.body) for message in got.messages], [((b"200",), b"second")])

    def exchange(self, method: bytes, pieces: list[bytes], closes: bool) -> tuple[bytes, str]:
        """What a client gets of an answer in these pieces, and how its connection ended."""
        gateway = Gateway()
        origin = Origin(gateway.clock)
        gateway.proxy(b"/a", origin)
        client = gateway.connect()
        client.send(ask("/a", "Content-Length: 0", method=method.decode()))
        wire = origin.wires[-1]
        for piece in pieces:
            if not wire.ended:
                wire.send(piece)
        if closes and not wire.ended:
            wire.leave()
        gateway.clock.advance(0)
        return client.received, client.ended
