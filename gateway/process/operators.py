"""The operators of a gateway with workers: where they are listened to, and what they are told of all processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.logger import Logger

from gateway.config import Settings
from gateway.process import systemd
from gateway.process.admin import pages
from gateway.process.children import Child
from gateway.process.control import Family
from gateway.process.fleet import Fleet, Generation, State, Worker
from gateway.process.sockets import Inherited
from gateway.process.totals import Totals, families
from gateway.telemetry.metrics import Metrics
from gateway.wiring.listeners import Listeners
from gateway.wiring.routes import admin_tree
from gateway.wiring.sites import make_admin

GATHER_TIMEOUT: Final = 2.0
"""Seconds in which a worker has to tell its metrics; then those count that it told before."""


class Operators:
    """Answers them.

    :param totals: what workers have counted that have ended.
    :param counts: what the supervisor counts: ``reloads`` done, ``refused`` ones, and ``restarts`` of workers.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        fleet: Fleet[Child],
        totals: Totals,
        counts: Callable[[], Mapping[str, int]],
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._fleet = fleet
        self._totals = totals
        self._counts = counts
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._site = make_admin(reactor, admin_tree(pages(self.gather, self._ready, self._describe)))
        self._endpoint = ""
        self._port: Any = None

    # -- where they are listened to -------------------------------------------------------------------------------

    def listen(self, generation: Generation) -> None:
        """Listen where this generation says, instead of where it was before; nowhere, if it says so."""
        if generation.admin == self._endpoint:
            return
        if self._port is not None:
            maybeDeferred(self._port.stopListening)
            self._port = None
        self._endpoint = generation.admin
        if not generation.admin:
            return
        inherited = Inherited(self._reactor, {key: os.dup(fd) for key, fd in generation.admin_sockets.items()})
        listeners = Listeners(self._settings, inherited, Metrics())
        with systemd.kept():
            maybeDeferred(listeners.listen, generation.admin, self._site).addCallbacks(
                lambda port: setattr(self, "_port", port),
                lambda failure: self._log.failure("Operators cannot be listened to", failure),
            )

    @property
    def connected(self) -> bool:
        """Whether somebody is."""
        return bool(self._site.channels)

    def hold(self) -> None:
        """Take nobody more, and let go of who was answered: who comes now waits for the next program."""
        if self._port is not None:
            self._port.pauseProducing()
        self._site.drain()

    def resume(self) -> None:
        """Go on after :meth:`hold`."""
        self._site.draining = False
        if self._port is not None:
            self._port.resumeProducing()

    def stop(self) -> Deferred[Any]:
        """Listen no more, and cut who is connected."""
        stopped = maybeDeferred(self._port.stopListening if self._port is not None else lambda: None)
        self._site.abort()
        return stopped

    # -- what they are told ---------------------------------------------------------------------------------------

    def _ready(self) -> bool:
        """Whether all workers that are wanted serve, and have all they need."""
        serving = self._fleet.of(self._fleet.current, State.SERVING)
        return self._fleet.complete and all(worker.process.seen["ready"] for worker in serving)

    def _describe(self) -> list[dict[str, Any]]:
        return [
            {
                "number": worker.number,
                "generation": worker.generation.number,
                "pid": worker.process.pid,
                "state": worker.state.value,
                "started": round(worker.since, 3),
                **worker.process.seen,
            }
            for worker in self._fleet.workers
        ]

    def gather(self) -> Deferred[Iterable[Metric]]:
        """The metrics of all processes, when the workers have told theirs or :data:`GATHER_TIMEOUT` is over."""
        workers = [worker for worker in self._fleet.workers if worker.state is not State.STARTING]
        asked = [
            Deferred.fromCoroutine(worker.process.link.count()).addTimeout(GATHER_TIMEOUT, self._reactor)
            for worker in workers
        ]
        told: Deferred[Any] = DeferredList(asked, consumeErrors=True)
        return told.addCallback(lambda _: self._add_up(workers))

    def _add_up(self, workers: list[Worker[Child]]) -> Iterable[Metric]:
        """What workers told now, or, where one did not, before."""
        living: list[tuple[str, list[Family]]] = [("supervisor", families(self._registry))]
        for worker in workers:
            if worker in self._fleet.workers:  # else it has ended meanwhile, and was counted
                name = f"{worker.number} retiring" if worker.state is State.RETIRING else str(worker.number)
                living.append((name, worker.process.link.counted))
        yield from self._totals.with_living(living)
        states = GaugeMetricFamily("smartgate_workers", "Workers.", labels=("state",))
        for state in State:
            states.add_metric((state.value,), sum(worker.state is state for worker in self._fleet.workers))
        yield states
        counts = self._counts()
        yield CounterMetricFamily(
            "smartgate_worker_restarts", "Workers that ended and were started again.", counts["restarts"]
        )
        reloads = CounterMetricFamily("smartgate_reloads", "Reloads.", labels=("outcome",))
        reloads.add_metric(("done",), counts["reloads"])
        reloads.add_metric(("refused",), counts["refused"])
        yield reloads
