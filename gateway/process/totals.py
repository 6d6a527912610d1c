"""The metrics of all workers as those of one gateway.

Counters and histograms are summed, those of workers that have ended too, so that they never go down. Gauges are told
for each worker, since a sum says nothing of most of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from gateway.process.control import Family

_SUMMED: Final = ("counter", "histogram")
_Key = tuple[str, tuple[tuple[str, str], ...]]
"""A sample's name and its labels."""


def families(collector: Collector) -> list[Family]:
    """What a collector of one process knows, as it goes over the wire."""
    return [_family(metric) for metric in collector.collect()]


class Totals:
    """Adds up what processes count.

    :param kept: what was counted by those that have ended.
    """

    def __init__(self, kept: Iterable[Family] = ()) -> None:
        self._metrics: dict[str, Metric] = {}
        self._values: dict[str, dict[_Key, float]] = {}
        self.keep(kept)

    def keep(self, counted: Iterable[Family]) -> None:
        """Add the last metrics of a process that has ended: what is summed of them."""
        for name, kind, text, samples in counted:
            if kind in _SUMMED:
                values = self._of(name, kind, text)
                for sample, labels, value in samples:
                    key = sample, tuple(sorted(labels.items()))
                    values[key] = values.get(key, 0.0) + value

    @property
    def kept(self) -> list[Family]:
        """All that was added up."""
        return [_family(metric) for metric in self.collect()]

    def collect(self) -> Iterator[Metric]:
        """The sums as metrics."""
        for name, made in self._metrics.items():
            metric = Metric(name, made.documentation, made.type)
            for (sample, labels), value in self._values[name].items():
                metric.add_sample(sample, dict(labels), value)
            yield metric

    def with_living(self, living: Iterable[tuple[str, Iterable[Family]]]) -> Iterator[Metric]:
        """The sums with what processes count that have not ended, and the gauges of those.

        :param living: each process's name, which its gauges have as the label ``worker``, and its metrics.
        """
        sums = Totals(self.kept)
        for process, counted in living:
            sums.keep(counted)
            for name, kind, text, samples in counted:
                if kind not in _SUMMED:
                    values = sums._of(name, kind, text)
                    for sample, labels, value in samples:
                        values[sample, tuple(sorted({**labels, "worker": process}.items()))] = value
        return sums.collect()

    def _of(self, name: str, kind: str, text: str) -> dict[_Key, float]:
        self._metrics.setdefault(name, Metric(name, text, kind))
        return self._values.setdefault(name, {})


def _family(metric: Metric) -> Family:
    samples = [(sample.name, dict(sample.labels), sample.value) for sample in metric.samples]
    return metric.name, metric.type, metric.documentation, samples
