"""Tests of gateway.resources.guarded: through the server's channel, bytes in and bytes out."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from gateway.core.errors import Forbidden, GatewayError, NotFound, RateLimited
from gateway.guards.cors import Preflight
from gateway.interfaces import IGuard
from gateway.resources.guarded import GuardedResource
from tests.wire import Client, body, fields, status


@implementer(IGuard)
class Guard:
    """Notes that it was asked, then does what it is told: passes, raises, or waits."""

    def __init__(self, name: str, asked: list[str], error: Exception | None = None, waits: bool = False) -> None:
        self.name = name
        self.waiting: Deferred[None] | None = Deferred() if waits else None
        self._asked = asked
        self._error = error

    def check(self, request: Any) -> Deferred[None] | None:
        """:raises Exception: the one it was given."""
        self._asked.append(self.name)
        if self._error is not None:
            raise self._error
        return self.waiting


class Leaf(Resource):
    """Answers everything, or fails."""

    isLeaf = True

    def __init__(self, asked: list[str], error: Exception | None = None, begins: bool = False) -> None:
        super().__init__()
        self._asked = asked
        self._error = error
        self._begins = begins

    def render(self, request: Any) -> int:
        """:raises Exception: the one it was given."""
        self._asked.append("leaf")
        self.request = request
        if self._begins:
            request.write(b"hel")
        if self._error is not None:
            raise self._error
        request.respond(200, b"", b"hello")
        return NOT_DONE_YET


class GuardedCase(SynchronousTestCase):
    """A leaf that notes when it is asked, as its guards do."""

    def setUp(self) -> None:
        self.asked: list[str] = []

    def guard(self, name: str, error: Exception | None = None, waits: bool = False) -> Guard:
        return Guard(name, self.asked, error, waits)

    def client(self, *guards: Guard, leaf: Leaf | None = None) -> Client:
        return Client(GuardedResource(guards, leaf or Leaf(self.asked)))

    def assertRefused(self, answer: bytes, code: int, name: str) -> None:
        """The answer is an error in the standard format."""
        said = json.loads(body(answer))
        self.assertEqual((status(answer), said["code"]), (code, name))
        self.assertEqual(said["requestId"], dict(fields(answer))["x-request-id"])


class OrderTests(GuardedCase):
    """Who is asked, and when."""

    def test_no_guards(self) -> None:
        """The leaf answers at once."""
        self.assertEqual(body(self.client().ask()), b"hello")

    def test_one_after_the_other(self) -> None:
        """Guards are asked in their order, then the leaf; nobody decided."""
        client = self.client(self.guard("a"), self.guard("b"))
        self.assertEqual(body(client.ask()), b"hello")
        self.assertEqual((self.asked, client.over[0].decided_by), (["a", "b", "leaf"], ""))

    def test_only_who_waits_is_waited_for(self) -> None:
        """What needs no waiting is done in the same turn, before and after a guard that waits."""
        waits = self.guard("waits", waits=True)
        client = self.client(self.guard("a"), waits, self.guard("b"))
        self.assertEqual((client.ask(), self.asked), (b"", ["a", "waits"]))
        waits.waiting.callback(None)  # type: ignore[union-attr]
        self.assertEqual(body(client.answered()), b"hello")
        self.assertEqual(self.asked, ["a", "waits", "b", "leaf"])

    def test_two_who_wait(self) -> None:
        """The second one is not asked before the first has passed the request on."""
        first, second = self.guard("first", waits=True), self.guard("second", waits=True)
        client = self.client(first, second)
        client.ask()
        self.assertEqual(self.asked, ["first"])
        first.waiting.callback(None)  # type: ignore[union-attr]
        self.assertEqual((self.asked, client.answered()), (["first", "second"], b""))
        second.waiting.callback(None)  # type: ignore[union-attr]
        self.assertEqual(body(client.answered()), b"hello")

    def test_fired_already(self) -> None:
        """A Deferred that has its result costs no turn."""
        waits = self.guard("waits", waits=True)
        waits.waiting.callback(None)  # type: ignore[union-attr]
        self.assertEqual(body(self.client(waits, self.guard("b")).ask()), b"hello")

    def test_what_it_is_must_be_a_guard(self) -> None:
        """Anything else is found out when the tree is built."""
        self.assertRaises(TypeError, GuardedResource, [object()], Leaf(self.asked))

    def test_route(self) -> None:
        """Guards, leaf and log find the route on the request."""
        route, leaf = object(), Leaf(self.asked)
        client = Client(GuardedResource([], leaf, route, "/api/users"))
        client.ask()
        self.assertIs(leaf.request.route, route)
        self.assertEqual(client.over[0].route_name, "/api/users")


class RefusalTests(GuardedCase):
    """Requests that do not reach the leaf."""

    def test_at_once(self) -> None:
        """The guard's error is the answer, nobody behind it is asked, and the log knows who it was."""
        client = self.client(self.guard("a"), self.guard("b", Forbidden()), self.guard("c"))
        self.assertRefused(client.ask(), 403, "FORBIDDEN")
        self.assertEqual((self.asked, client.over[0].decided_by), (["a", "b"], "b"))

    def test_after_waiting(self) -> None:
        """So it is when the Deferred fails, with the fields of the error."""
        waits = self.guard("waits", waits=True)
        client = self.client(waits, self.guard("b"))
        client.ask()
        waits.waiting.errback(RateLimited(fields=(b"Retry-After: 7\r\n",)))  # type: ignore[union-attr]
        answer = client.answered()
        self.assertRefused(answer, 429, "RATE_LIMIT_EXCEEDED")
        self.assertIn(("retry-after", "7"), fields(answer))
        self.assertEqual((self.asked, client.over[0].decided_by), (["waits"], "waits"))

    def test_behind_one_that_waited(self) -> None:
        """The one that refused is named, not the one that was waited for."""
        waits = self.guard("waits", waits=True)
        client = self.client(waits, self.guard("b", Forbidden()))
        client.ask()
        waits.waiting.callback(None)  # type: ignore[union-attr]
        self.assertRefused(client.answered(), 403, "FORBIDDEN")
        self.assertEqual(client.over[0].decided_by, "b")

    def test_the_connection_goes_on(self) -> None:
        """A refusal does not close it, unless the error says so."""
        client = self.client(self.guard("a", Forbidden()))
        self.assertEqual([status(client.ask()), status(client.ask())], [403, 403])

    def test_preflight(self) -> None:
        """It is answered 204 with its lines, by the guard that knew it for one."""
        client = self.client(self.guard("cors", Preflight((b"Vary: A\r\n", b"X-B: C\r\n"))), self.guard("b"))
        answer = client.ask(method="OPTIONS")
        self.assertEqual((status(answer), body(answer)), (204, b""))
        self.assertLessEqual({("vary", "A"), ("x-b", "C")}, set(fields(answer)))
        self.assertEqual((self.asked, client.over[0].decided_by), (["cors"], "cors"))

    def test_preflight_without_lines(self) -> None:
        """Nothing is allowed then."""
        self.assertEqual(status(self.client(self.guard("cors", Preflight())).ask(method="OPTIONS")), 204)


class FailureTests(GuardedCase):
    """Mistakes of the gateway's own."""

    def assertFailed(self, answer: bytes) -> None:
        """It is 500 without a word about why; the log has that."""
        self.assertRefused(answer, 500, "INTERNAL_ERROR")
        self.assertNotIn(b"by zero", answer)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_guard_that_fails(self) -> None:
        """A request never passes a guard that could not tell."""
        client = self.client(self.guard("a", ZeroDivisionError("by zero")))
        self.assertFailed(client.ask())
        self.assertEqual((self.asked, client.over[0].decided_by), (["a"], "a"))

    def test_guard_that_fails_later(self) -> None:
        """Nor does it when that shows only later."""
        waits = self.guard("waits", waits=True)
        client = self.client(waits)
        client.ask()
        waits.waiting.errback(ZeroDivisionError("by zero"))  # type: ignore[union-attr]
        self.assertFailed(client.answered())
        self.assertEqual(self.asked, ["waits"])

    def test_leaf_that_refuses(self) -> None:
        """Its error is the answer, and no guard is blamed."""
        client = self.client(self.guard("a"), leaf=Leaf(self.asked, NotFound()))
        self.assertRefused(client.ask(), 404, "NOT_FOUND")
        self.assertEqual(client.over[0].decided_by, "")

    def test_leaf_that_fails(self) -> None:
        """So it is with a mistake, also behind a guard that waited."""
        waits = self.guard("waits", waits=True)
        client = self.client(waits, leaf=Leaf(self.asked, ZeroDivisionError("by zero")))
        client.ask()
        waits.waiting.callback(None)  # type: ignore[union-attr]
        self.assertFailed(client.answered())
        self.assertEqual(client.over[0].decided_by, "")

    def test_leaf_that_fails_in_the_middle(self) -> None:
        """An answer that has begun is cut off: nobody may take it for complete."""
        client = self.client(leaf=Leaf(self.asked, ZeroDivisionError("by zero"), begins=True))
        answer = client.ask()
        self.assertTrue(answer.endswith(b"3\r\nhel\r\n"))
        self.assertTrue(client.transport.disconnecting)
        self.flushLoggedErrors(ZeroDivisionError)


class ClientGoneTests(GuardedCase):
    """Clients that leave while a guard waits."""

    def left(self, *more: Guard) -> tuple[Client, Deferred[None]]:
        """A client that has left, and what its request was waiting for."""
        waits = self.guard("waits", waits=True)
        client = self.client(waits, *more)
        client.ask()
        client.leave()
        assert waits.waiting is not None
        return client, waits.waiting

    def test_passed(self) -> None:
        """Nobody else is asked, and nothing is answered."""
        client, waiting = self.left(self.guard("b"))
        waiting.callback(None)
        self.assertEqual((self.asked, client.answered(), len(client.over)), (["waits"], b"", 1))

    def test_refused(self) -> None:
        """Nobody hears of the refusal, and the request is not logged twice."""
        client, waiting = self.left()
        waiting.errback(GatewayError())
        self.assertEqual((client.answered(), len(client.over)), (b"", 1))

    def test_refused_meanwhile(self) -> None:
        """A request whose body broke the rules while it waited has its answer: it does not go on."""
        waits = self.guard("waits", waits=True)
        client = self.client(waits)
        client.ask("Transfer-Encoding: chunked", method="POST")
        self.assertRefused(client.send(b"nonsense\r\n"), 400, "BAD_REQUEST")
        waits.waiting.callback(None)  # type: ignore[union-attr]
        self.assertEqual((self.asked, client.answered()), (["waits"], b""))
