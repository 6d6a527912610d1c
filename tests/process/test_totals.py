"""Tests of gateway.process.totals: the metrics of several processes as those of one."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from twisted.trial.unittest import SynchronousTestCase

from gateway.process.control import Family
from gateway.process.totals import Totals, families


def counted(requests: int, connections: int) -> list[Family]:
    """The metrics of a process."""
    registry = CollectorRegistry()
    Counter("requests", "Requests.", ("route",), registry=registry).labels("/x").inc(requests)
    Histogram("seconds", "Seconds.", buckets=(1,), registry=registry).observe(requests)
    Gauge("connections", "Connections.", registry=registry).set(connections)
    return families(registry)


class Collected:
    """A collector of what was collected."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


class TotalsTests(SynchronousTestCase):
    """Sums, and what is not summed."""

    def text(self, totals: Totals, *living: tuple[str, list[Family]]) -> str:
        registry = CollectorRegistry()
        registry.register(Collected(list(totals.with_living(living))))
        return generate_latest(registry).decode()

    def test_living(self) -> None:
        """Counters and histograms are summed, gauges told for each."""
        text = self.text(Totals(), ("0", counted(3, 10)), ("1", counted(4, 20)))
        for line in (
            'requests_total{route="/x"} 7.0',
            "seconds_sum 7.0",
            "seconds_count 2.0",
            'seconds_bucket{le="+Inf"} 2.0',
            'connections{worker="0"} 10.0',
            'connections{worker="1"} 20.0',
        ):
            self.assertIn(line + "\n", text)
        self.assertEqual(text.count("# TYPE requests_total counter"), 1)

    def test_ended(self) -> None:
        """What those counted that have ended stays in the sums, also after a handover; their gauges do not."""
        totals = Totals()
        totals.keep(counted(5, 30))
        again = Totals(totals.kept)
        for each in (totals, again):
            text = self.text(each, ("0", counted(1, 2)))
            self.assertIn('requests_total{route="/x"} 6.0\n', text)
            self.assertNotIn("30.0", text)

    def test_asked_twice(self) -> None:
        """To be asked changes nothing."""
        totals = Totals(counted(5, 30))
        living = ("0", counted(1, 2))
        self.assertEqual(self.text(totals, living), self.text(totals, living))
