"""Tests of gateway.resources.health: through the server's channel, bytes in and bytes out."""

from __future__ import annotations

import json
from typing import Any

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from gateway.resources.guarded import GuardedResource
from gateway.resources.health import Health, MetricsResource, Ready
from tests.wire import Client, body, fields, status


def failing() -> bool:
    """A check that cannot tell."""
    raise ZeroDivisionError


class ProbeCase(SynchronousTestCase):
    """Probes of a client."""

    def client(self, leaf: Any) -> Client:
        return Client(GuardedResource([], leaf))

    def assertSays(self, answer: bytes, code: int, said: Any) -> None:
        """The answer is this JSON, and no cache keeps it."""
        self.assertEqual((status(answer), json.loads(body(answer))), (code, said))
        self.assertLessEqual({("content-type", "application/json"), ("cache-control", "no-store")}, set(fields(answer)))


class HealthTests(ProbeCase):
    """Whether the process lives."""

    def test_alive(self) -> None:
        """Who answers is alive."""
        self.assertSays(self.client(Health()).ask(), 200, {"status": "ok"})

    def test_head(self) -> None:
        """HEAD says the same without a body, and the connection goes on."""
        client = self.client(Health())
        answer = client.ask(method="HEAD")
        self.assertEqual((status(answer), body(answer)), (200, b""))
        self.assertEqual(dict(fields(answer))["content-length"], str(len(body(client.ask()))))

    def test_other_methods(self) -> None:
        """They are refused in the standard format, with those that would do."""
        registry = CollectorRegistry()
        for leaf in (Health(), Ready({}), MetricsResource(registry)):
            for method in ("POST", "OPTIONS", "PUT"):
                answer = self.client(leaf).ask(method=method)
                self.assertEqual((status(answer), json.loads(body(answer))["code"]), (405, "METHOD_NOT_ALLOWED"))
                self.assertIn(("allow", "GET, HEAD"), fields(answer))


class ReadyTests(ProbeCase):
    """Whether the gateway can serve."""

    def test_ready(self) -> None:
        """Every check passes, at once or later."""
        answer = self.client(Ready({"keys": lambda: True, "store": lambda: succeed(True)})).ask()
        self.assertSays(answer, 200, {"status": "ready", "checks": {"keys": "ok", "store": "ok"}})

    def test_nothing_to_check(self) -> None:
        """Then nothing can be wrong."""
        self.assertSays(self.client(Ready({})).ask(), 200, {"status": "ready", "checks": {}})

    def test_not_ready(self) -> None:
        """One that does not pass is enough, and is named."""
        answer = self.client(Ready({"keys": lambda: True, "store": lambda: succeed(False)})).ask()
        self.assertSays(answer, 503, {"status": "not ready", "checks": {"keys": "ok", "store": "failing"}})

    def test_degraded(self) -> None:
        """What is done without is told, and the gateway serves; what it cannot do without still wins."""
        checks = {"keys": lambda: True, "store": lambda: succeed("degraded")}
        expected = {"status": "degraded", "checks": {"keys": "ok", "store": "degraded"}}
        self.assertSays(self.client(Ready(checks)).ask(), 200, expected)
        expected = {"status": "not ready", "checks": {"keys": "failing", "store": "degraded"}}
        self.assertSays(self.client(Ready(checks | {"keys": lambda: False})).ask(), 503, expected)

    def test_check_that_fails(self) -> None:
        """A check that raises, or whose Deferred fails, does not pass; the others keep their own state."""
        waiting: Deferred[bool] = Deferred()
        client = self.client(Ready({"keys": lambda: True, "store": lambda: waiting, "disk": failing}))
        self.assertEqual(client.ask(), b"")
        waiting.errback(ZeroDivisionError())
        states = {"keys": "ok", "store": "failing", "disk": "failing"}
        self.assertSays(client.answered(), 503, {"status": "not ready", "checks": states})

    def test_waits_for_all(self) -> None:
        """The answer leaves when the last check is back, also where one has failed before."""
        waiting: Deferred[bool] = Deferred()
        client = self.client(Ready({"disk": failing, "store": lambda: waiting}))
        self.assertEqual(client.ask(), b"")
        waiting.callback(True)
        self.assertSays(client.answered(), 503, {"status": "not ready", "checks": {"disk": "failing", "store": "ok"}})

    def test_asked_each_time(self) -> None:
        """What was true a second ago may not be true now."""
        states = iter([True, False, True])
        client = self.client(Ready({"store": lambda: next(states)}))
        self.assertEqual([status(client.ask()) for _ in range(3)], [200, 503, 200])

    def test_client_gone(self) -> None:
        """A probe that gave up gets no answer, and is logged once."""
        waiting: Deferred[bool] = Deferred()
        client = self.client(Ready({"store": lambda: waiting}))
        client.ask()
        client.leave()
        waiting.callback(True)
        self.assertEqual((client.answered(), len(client.over)), (b"", 1))

    def test_head(self) -> None:
        """HEAD has the status alone."""
        answer = self.client(Ready({"store": lambda: False})).ask(method="HEAD")
        self.assertEqual((status(answer), body(answer)), (503, b""))


class MetricsTests(ProbeCase):
    """What Prometheus scrapes."""

    def test_text_format(self) -> None:
        """The registry as it is now, under the type that says its version."""
        registry = CollectorRegistry()
        gauge = Gauge("answer", "Of everything.", registry=registry)
        client = self.client(MetricsResource(registry))
        for value in (41, 42):
            gauge.set(value)
            answer = client.ask()
            self.assertTrue(dict(fields(answer))["content-type"].startswith("text/plain; version="))
            (family,) = text_string_to_metric_families(body(answer).decode())
            self.assertEqual([(sample.name, sample.value) for sample in family.samples], [("answer", value)])
