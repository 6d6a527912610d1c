"""Whatever a client sends: what the origin receives is what a strict server would have understood, or nothing."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.rules import Conversation, understood
from tests.properties import messages
from tests.properties.reference import read_answers, read_requests

HOP_BY_HOP = (b"connection", b"keep-alive", b"te", b"trailer", b"upgrade", b"proxy-connection", b"expect")
ONCE = (b"host", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-request-id", b"via")


class RequestsTests(SynchronousTestCase):
    """Generated requests, through a gateway to an origin in memory."""

    def converse(
        self, data: st.DataObject, requests: st.SearchStrategy[bytes], most: int
    ) -> tuple[Conversation, bytes]:
        sent = b"".join(data.draw(st.lists(requests, min_size=1, max_size=most)))
        conversation = Conversation()
        conversation.send(data.draw(messages.reads(sent)))
        return conversation, sent

    @given(st.data())
    def test_good_ones_arrive(self, data: st.DataObject) -> None:
        """Requests that are right are all forwarded, in their order, whole, and all answered."""
        conversation, sent = self.converse(data, messages.good_requests(), 4)
        expected = understood(sent)
        self.assertEqual([(*message.start, message.body) for message in conversation.forwarded], expected)
        methods = [method for method, _, _ in expected]
        got = read_answers(conversation.client.received, methods, False)
        self.assertEqual([message.start for message in got.messages], [(b"200",)] * len(expected))

    @settings(max_examples=400)
    @given(st.data())
    def test_odd_ones_are_understood_or_stopped(self, data: st.DataObject) -> None:
        """Nothing reaches the origin but the first requests that the reference understood too, in the same way."""
        conversation, sent = self.converse(data, messages.requests(), 3)
        forwarded = [(*message.start, message.body) for message in conversation.forwarded]
        routed = understood(sent)
        self.assertEqual(forwarded, routed[: len(forwarded)])

    @settings(max_examples=400)
    @given(st.data())
    def test_what_is_forwarded_is_strict(self, data: st.DataObject) -> None:
        """What the origin receives has no rest that a server could take for a message, and each own field once."""
        conversation, _ = self.converse(data, messages.requests(), 3)
        for wire in conversation.origin.wires:
            read = read_requests(wire.received)
            self.assertFalse(read.broken)
            for message in read.messages:
                self.assertEqual([name for name, _ in message.fields if name in HOP_BY_HOP], [])
                self.assertEqual([len(message.values(name)) for name in ONCE], [1] * len(ONCE))
                self.assertEqual(message.values(b"x-forwarded-for"), [b"192.0.2.1"])
                self.assertEqual([name for name, _ in message.fields if b"user" in name], [])

    @settings(max_examples=400)
    @given(st.data())
    def test_every_answer_is_strict(self, data: st.DataObject) -> None:
        """The client never gets what is no HTTP, however odd its requests are."""
        conversation, sent = self.converse(data, messages.requests(), 3)
        self.assertFalse(conversation.answered(sent).broken)
