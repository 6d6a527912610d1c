"""Tests of gateway.process.operators: what a supervisor with workers that are no processes tells."""

from __future__ import annotations

import json
from typing import Any

from gateway.process.operators import GATHER_TIMEOUT
from gateway.wiring.listeners import Listeners
from tests.process.test_supervisor import FakeChild, SupervisorCase


class OperatorsTests(SupervisorCase):
    """What operators ask."""

    def test_metrics(self) -> None:
        """What all count is summed, what those counted that have ended, too; one that does not answer counts as it did
        before.
        """
        self.served()
        one, other = FakeChild.made
        self.assertIn("requests_total 10.0\n", self.ask("/metrics")[1])
        other.end()
        text = self.ask("/metrics")[1]
        for line in (
            "requests_total 10.0",
            'smartgate_workers{state="serving"} 1.0',
            "smartgate_worker_restarts_total 1.0",
            'smartgate_reloads_total{outcome="done"} 0.0',
        ):
            self.assertIn(line + "\n", text)
        self.assertIn('process_open_fds{worker="supervisor"}', text)
        one.link.answers = False
        answer = self.running._operators.gather()
        self.reactor.advance(GATHER_TIMEOUT)
        metrics = self.successResultOf(answer)
        self.assertIn(
            ("requests_total", 10.0), [(each.name, each.value) for metric in metrics for each in metric.samples]
        )

    def test_ended_meanwhile(self) -> None:
        """A worker that ends while it is asked is counted once."""
        self.served()
        one, _ = FakeChild.made
        one.link.answers = False
        answer = self.running._operators.gather()
        one.end()
        self.reactor.advance(GATHER_TIMEOUT)
        values = {sample.name: sample.value for metric in self.successResultOf(answer) for sample in metric.samples}
        self.assertEqual(values["requests_total"], 10)

    def test_workers(self) -> None:
        """Each worker is told."""
        self.served()
        status, text = self.ask("/workers")
        self.assertEqual(status, 200)
        self.assertEqual(
            json.loads(text)[1],
            {"number": 1, "generation": 1, "pid": 101, "state": "serving", "started": 0.0}
            | {"ready": True, "connections": 7, "websockets": 1},
        )

    def test_nowhere(self) -> None:
        """Where operators are not listened to there is nothing."""
        self.write(admin="")
        self.served()
        self.assertEqual(self.ports, [])

    def test_cannot_listen(self) -> None:
        """That operators cannot be listened to is logged, and no reason not to serve."""

        def fail(*_: Any) -> None:
            raise ValueError("no certificates")

        self.patch(Listeners, "listen", fail)
        self.served()
        self.assertIn("Operators cannot be listened to", self.logged())
        self.flushLoggedErrors(ValueError)
