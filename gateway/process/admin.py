"""What operators ask a supervisor: the metrics of all workers, whether they are ready, and how each is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from twisted.internet.defer import Deferred
from twisted.web.resource import IResource

from gateway.resources.health import Health, Probe, Ready, respond


class AllMetrics(Probe):
    """The metrics of all processes, in Prometheus' text format.

    :param gather: a Deferred of the metrics.
    """

    def __init__(self, gather: Callable[[], Deferred[Iterable[Metric]]]) -> None:
        super().__init__()
        self._gather = gather

    def answer(self, request: Any) -> None:
        """When the workers have answered."""
        self._gather().addCallback(self._tell, request)

    def _tell(self, metrics: Iterable[Metric], request: Any) -> None:
        registry = CollectorRegistry()
        registry.register(_Gathered(metrics))
        if not request.gone:
            request.respond(200, f"Content-Type: {CONTENT_TYPE_LATEST}\r\n".encode(), generate_latest(registry))


class _Gathered:
    """A collector of what was collected."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        """All of it."""
        return self._metrics


class Workers(Probe):
    """The workers, as JSON."""

    def __init__(self, describe: Callable[[], Any]) -> None:
        super().__init__()
        self._describe = describe

    def answer(self, request: Any) -> None:
        """At once."""
        respond(request, 200, self._describe())


def pages(
    gather: Callable[[], Deferred[Iterable[Metric]]], ready: Callable[[], bool], describe: Callable[[], Any]
) -> dict[bytes, IResource]:
    """What answers at which path."""
    return {
        b"/health": Health(),
        b"/ready": Ready({"workers": ready}),
        b"/metrics": AllMetrics(gather),
        b"/workers": Workers(describe),
    }
