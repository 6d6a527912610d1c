"""The metrics: plain counters on the request's path, put into Prometheus' shape when somebody asks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from gateway import __version__

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds."""

Reading = Callable[[], float]
Labels = str | tuple[str, ...]
"""The name of a label, or the names of several."""
Numbers = Mapping[Any, float]
"""Numbers by the value of their label, or the values of their labels."""
_Family = type[CounterMetricFamily] | type[GaugeMetricFamily]


class Metrics:
    """Counts what happens; a collector of its own registry."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, int], list[float]] = {}
        self._upstream_errors: dict[tuple[str, str], int] = {}
        self._refusals: dict[tuple[str, int], int] = {}
        self._readings: list[tuple[_Family, str, str, Reading]] = []
        self._labelled: list[tuple[_Family, str, str, Labels, Callable[[], Numbers]]] = []
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def record(self, route: str, status: int, seconds: float) -> None:
        """Count a request that is over; ``route`` is a configured prefix, never a path."""
        key = (route, status // 100)
        counts = self._requests.get(key)
        if counts is None:
            counts = self._requests[key] = [0.0] * (len(BUCKETS) + 2)
        counts[bisect_left(BUCKETS, seconds)] += 1
        counts[-1] += seconds

    def refused(self, guard: str, status: int) -> None:
        """Count a refusal."""
        self._refusals[guard, status] = self._refusals.get((guard, status), 0) + 1

    def upstream_failed(self, upstream: str, reason: str) -> None:
        """Count a failure of an instance."""
        self._upstream_errors[upstream, reason] = self._upstream_errors.get((upstream, reason), 0) + 1

    def count(self, name: str, text: str, read: Reading) -> None:
        """Tell a number that only grows and that somebody else counts."""
        self._readings.append((CounterMetricFamily, f"smartgate_{name}", text, read))

    def counts(self, name: str, text: str, label: str, numbers: Mapping[str, float]) -> None:
        """Tell numbers that only grow, by a label, and that somebody else counts into ``numbers``."""
        self.counted(name, text, label, lambda: numbers)

    def counted(self, name: str, text: str, labels: Labels, read: Callable[[], Numbers]) -> None:
        """Tell as many such numbers as somebody else knows: ``read`` returns them by the values of ``labels``."""
        self._labelled.append((CounterMetricFamily, f"smartgate_{name}", text, labels, read))

    def gauge(self, name: str, text: str, read: Reading) -> None:
        """Tell a number that goes up and down and that somebody else knows."""
        self._readings.append((GaugeMetricFamily, f"smartgate_{name}", text, read))

    def gauges(self, name: str, text: str, labels: Labels, read: Callable[[], Numbers]) -> None:
        """Tell as many such numbers as somebody else knows: ``read`` returns them by the values of ``labels``."""
        self._labelled.append((GaugeMetricFamily, f"smartgate_{name}", text, labels, read))

    def collect(self) -> Iterator[Metric]:
        """All families, for prometheus_client."""
        durations = HistogramMetricFamily(
            "smartgate_request_duration_seconds",
            "Time from a request's head to its answer's end.",
            labels=("route", "class"),
        )
        requests = CounterMetricFamily("smartgate_requests", "Requests answered.", labels=("route", "class"))
        for (route, status_class), counts in self._requests.items():
            labels = (route or "none", f"{status_class}xx")
            total, buckets = 0.0, []
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=False):
                total += count
                buckets.append((bound, total))
            durations.add_metric(labels, buckets, counts[-1])
            requests.add_metric(labels, total)
        refusals = CounterMetricFamily("smartgate_refusals", "Requests refused.", labels=("guard", "status"))
        for (guard, status), count in self._refusals.items():
            refusals.add_metric((guard, str(status)), count)
        errors = CounterMetricFamily(
            "smartgate_upstream_errors", "Failures of instances.", labels=("upstream", "reason")
        )
        for upstream_reason, count in self._upstream_errors.items():
            errors.add_metric(upstream_reason, count)
        build = GaugeMetricFamily("smartgate_build_info", "The version that runs.", labels=("version",))
        build.add_metric((__version__,), 1)
        yield from (durations, requests, refusals, errors, build)
        for family, name, text, read in self._readings:
            yield family(name, text, value=read())
        for family, name, text, labelled, read_all in self._labelled:
            told = family(name, text, labels=_several(labelled))
            for values, number in read_all().items():
                told.add_metric(_several(values), number)
            yield told


def _several(one_or_more: Labels) -> tuple[str, ...]:
    return (one_or_more,) if isinstance(one_or_more, str) else one_or_more
