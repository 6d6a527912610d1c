"""Tests of gateway.http.overload: which requests are refused, and what the log says of it."""

from __future__ import annotations

from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource

from gateway.core.overload import QUIET, Overload
from gateway.http.overload import PERIOD, LoadShedder
from gateway.http.site import Limits, Site
from tests.http.h2_client import Client
from tests.http.wire import ByHand, Gateway, ask, read_answers


class OverloadTests(SynchronousTestCase):
    """Two requests may be open; /health is always answered."""

    def setUp(self) -> None:
        self.told = EventLoggingObserver()
        globalLogPublisher.addObserver(self.told)
        self.addCleanup(globalLogPublisher.removeObserver, self.told)
        self.gateway = Gateway()
        self.clock = self.gateway.clock
        self.state = Overload(2, 0.5)
        self.guard = LoadShedder(self.clock, self.state, frozenset((b"/health",)))
        self.hand = ByHand()
        for prefix in (b"/hand", b"/health"):
            self.gateway.plant(prefix, self.hand)
        self.gateway.site = Site(self.clock, self.locate, self.gateway.recorded.append, Limits(), overload=self.guard)
        self.guard.start()
        self.addCleanup(self.guard.stop)

    def locate(self, path: bytes) -> IResource:
        return self.gateway.root.locate(path)

    def send(self, path: str = "/hand") -> int:
        """The status of the answer to a new client; 0 while there is none."""
        client = self.gateway.connect()
        client.send(ask(path))
        answers = read_answers(client.received)
        return answers[0].status if answers else 0

    def events(self) -> list[str]:
        """The beginnings of what was logged."""
        return [str(event["log_format"]).split()[0] for event in self.told]

    def test_too_many_requests(self) -> None:
        """The third is refused, and says when to come again; when one is over there is room again."""
        self.assertEqual((self.send(), self.send()), (0, 0))
        client = self.gateway.connect()
        client.send(ask("/hand"))
        [answer] = read_answers(client.received)
        self.assertEqual((answer.status, answer.code, answer.fields["Retry-After"]), (503, "SERVICE_UNAVAILABLE", "1"))
        self.assertEqual([request.decided_by for request in self.gateway.recorded], ["overload"])
        self.hand.requests[0].respond(200, b"")
        self.assertEqual((self.send(), self.state.open), (0, 2))

    def test_clients_that_leave(self) -> None:
        """Their requests are open no more; those that still waited never were."""
        client = self.gateway.connect()
        client.send(ask("/hand") * 5)
        self.assertEqual(self.state.open, 1)
        client.leave()
        self.assertEqual((self.state.open, len(self.gateway.recorded)), (0, 5))

    def test_other_protocols(self) -> None:
        """What a request has become takes no room of requests, and is recorded once it has ended."""
        self.gateway.connect().send(ask("/hand", "Connection: upgrade", "Upgrade: x"))
        [request] = self.hand.requests
        request.channel.detach()
        self.assertEqual((self.state.open, self.gateway.recorded), (0, []))
        request.channel.detached_closed(request)
        self.assertEqual((self.state.open, self.gateway.recorded), (0, [request]))

    def test_http2(self) -> None:
        """To choose HTTP/2 is no request: each of its streams is one, as long as it is open."""
        client = Client(self.gateway.site, self.clock)
        self.assertEqual(self.state.open, 0)
        streams = [client.whole("/hand"), client.whole("/hand")]
        self.assertEqual(self.state.open, 2)
        for number in streams:
            client.reset(number)
        self.assertEqual(self.state.open, 0)

    def test_health(self) -> None:
        """Probes are answered, or the gateway would be restarted for being busy."""
        self.state.room = 0
        self.assertEqual((self.send("/health"), self.send("/hand"), self.send("/health/x")), (0, 503, 503))

    def test_a_reactor_that_is_late(self) -> None:
        """Requests are refused while timers are late for long, and no longer."""
        for _ in range(4):
            self.clock.advance(PERIOD + 0.8)
        self.assertEqual(self.send(), 503)
        for _ in range(8):
            self.clock.advance(PERIOD)
        self.assertEqual(self.send(), 0)

    def test_log(self) -> None:
        """One line when it begins and one when it has ended, however many were refused."""
        self.state.room = 0
        self.assertEqual([self.send() for _ in range(3)], [503] * 3)
        self.state.room = 2
        self.assertEqual(self.events(), ["Overloaded,"])
        self.gateway.after(QUIET + PERIOD)
        self.assertEqual(self.events(), ["Overloaded,", "No"])

    def test_stopping(self) -> None:
        """Nothing is left of it, and nothing of one that was never started."""
        self.guard.stop()
        LoadShedder(self.clock, self.state).stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
