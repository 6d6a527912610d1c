"""Tests of gateway.guards.size."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface.verify import verifyObject

from gateway.guards.size import SizeGuard
from gateway.interfaces import IGuard
from gateway.resources.guarded import GuardedResource
from tests.wire import Client, body, fields, status


class Upload(Resource):
    """Takes a body, and answers when it is complete."""

    isLeaf = True
    taken = b""

    def render(self, request: Any) -> int:
        """Begin to take it."""
        self.request = request
        request.stream_to(self)
        return NOT_DONE_YET

    def body_data(self, data: bytes) -> None:
        """The next piece."""
        self.taken += data

    def body_end(self) -> None:
        """All of it."""
        self.request.respond(200, b"")


class SizeGuardTests(SynchronousTestCase):
    """Bodies of a route that takes eight bytes."""

    def setUp(self) -> None:
        self.leaf = Upload()
        self.client = Client(GuardedResource([SizeGuard(8)], self.leaf))

    def assertRefused(self, answer: bytes) -> None:
        """It is 413 in the standard format, and the connection is not read any further."""
        self.assertEqual((status(answer), json.loads(body(answer))["code"]), (413, "BODY_TOO_LARGE"))
        self.assertIn(("connection", "close"), fields(answer))
        self.assertEqual(self.client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), b"")

    def test_is_a_guard(self) -> None:
        """It provides the interface."""
        guard = SizeGuard(8)
        verifyObject(IGuard, guard)
        self.assertEqual(guard.name, "size")

    def test_no_body(self) -> None:
        """A request without one passes."""
        self.assertEqual(status(self.client.ask()), 200)

    def test_announced(self) -> None:
        """As many bytes as the limit pass."""
        answer = self.client.ask("Content-Length: 8", method="POST", body=b"12345678")
        self.assertEqual((status(answer), self.leaf.taken), (200, b"12345678"))

    def test_announced_too_large(self) -> None:
        """One more is refused by the head alone, before any of it has come; the leaf hears nothing."""
        self.assertRefused(self.client.ask("Content-Length: 9", method="POST"))
        self.assertEqual((self.leaf.taken, self.client.over[0].decided_by), (b"", "size"))

    def test_not_announced(self) -> None:
        """A chunked body is counted: its bytes, not the framing."""
        answer = self.client.ask("Transfer-Encoding: chunked", method="POST", body=b"4\r\n1234\r\n4\r\n5678\r\n")
        self.assertEqual(answer, b"")
        self.assertEqual(status(self.client.send(b"0\r\n\r\n")), 200)
        self.assertEqual(self.leaf.taken, b"12345678")

    def test_grows_too_large(self) -> None:
        """A chunked body is refused with the byte that is one too many, and its leaf never takes it for complete."""
        self.client.ask("Transfer-Encoding: chunked", method="POST", body=b"4\r\n1234\r\n4\r\n5678\r\n")
        self.assertRefused(self.client.send(b"1\r\n9\r\n0\r\n\r\n"))
        self.assertEqual(self.leaf.taken, b"12345678")

    def test_too_large_with_the_head(self) -> None:
        """What came in one read with the head is counted too."""
        answer = self.client.ask("Transfer-Encoding: chunked", method="POST", body=b"9\r\n123456789\r\n0\r\n\r\n")
        self.assertRefused(answer)
        self.assertEqual(self.leaf.taken, b"")
