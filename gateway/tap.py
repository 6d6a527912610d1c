"""``twistd smartgate``: everything is put together here, out of what :mod:`gateway.wiring` makes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry
from twisted.application import service
from twisted.internet import tcp
from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python import usage
from twisted.web.resource import IResource

from gateway.config import PLACES, ConfigError, Settings, load, place
from gateway.http.poller import Poller
from gateway.http.request import Request
from gateway.http.site import Site
from gateway.http.transport import prepare
from gateway.process import snapshot
from gateway.process.alone import Alone
from gateway.process.handover import Handover
from gateway.process.memory import settle
from gateway.process.supervisor import Supervisor
from gateway.process.worker import Place, Worker
from gateway.resources.bridges import CLOSE_TIMEOUT
from gateway.resources.health import Health, MetricsResource, Ready, passed
from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.metrics import Metrics
from gateway.wiring.bans import Banning
from gateway.wiring.bridges import make_bridges
from gateway.wiring.descriptors import enough_for
from gateway.wiring.health import tell_clusters
from gateway.wiring.identity import Identity
from gateway.wiring.listeners import Listeners
from gateway.wiring.routes import Routes, admin_tree
from gateway.wiring.sites import make_admin, make_overload, make_site
from gateway.wiring.store import make_records, make_revocations, make_store, store_check
from gateway.wiring.upstreams import make_clusters, make_discoveries

PARTING: Final = 5.0
"""Seconds in which a gateway that retires closes what is open after its time, a little at a time."""
CUT_TIMEOUT: Final = 1.0
"""Seconds in which connections that were cut have ended, and their requests are recorded; nobody waits longer."""


class Options(usage.Options):
    """The command line of ``twistd smartgate``."""

    optParameters = [["config", "c", None, f"The configuration file; else the first of {', '.join(PLACES)}."]]

    def postOptions(self) -> None:
        """:raises usage.UsageError: listing every mistake of the configuration."""
        mistakes = self.mistakes()
        if mistakes is not None:
            raise usage.UsageError(mistakes)

    def mistakes(self) -> str | None:
        """Read the configuration as it is now; what is wrong with it, if something is."""
        try:
            self["settings"] = load(snapshot.chosen(os.environ) or self["config"] or place(), os.environ)
        except ConfigError as error:
            return f"the configuration cannot be used:\n{error}"
        return None


class Gateway(service.Service):
    """The gateway in one process: its listeners, and what stands behind them.

    :raises OSError: when the access log or the certificates of an upstream cannot be read.
    """

    _log = Logger()

    def __init__(self, reactor: Any, settings: Settings) -> None:
        self._reactor = reactor
        self._poller: Any = Poller(reactor)
        self._settings = settings
        self._ports: list[Any] = []
        self._delay: Deferred[None] | None = None
        self._drained: Deferred[None] | None = None
        self._ended: Deferred[Any] | None = None
        self._cut_call: IDelayedCall | None = None
        self._part_calls: list[IDelayedCall] = []
        self._metrics = Metrics()
        self._listeners = Listeners(settings, reactor, self._metrics)
        self._access_log = AccessLog(settings.access_log.path, reactor)
        self._records = make_records(settings, reactor, self._poller)
        revocations = make_revocations(reactor, self._records)
        self._store = make_store(settings, reactor, self._poller, self._metrics, revocations)
        self._banning = banning = Banning(settings, reactor, self._records) if settings.bans.enabled else None
        self._identity = Identity(settings, reactor, self._records, revocations)
        self._bridges = make_bridges(settings, reactor)
        self._clusters = make_clusters(settings, self._poller)
        self._discoveries = make_discoveries(settings, reactor, self._poller, self._clusters)
        probes: dict[bytes, IResource] = {b"/health": Health(), b"/ready": Ready(self._checks())}
        routes = Routes(
            settings,
            reactor,
            self._store,
            self._identity,
            self._clusters,
            self._bridges,
            self._metrics,
            self._opened,
            None if banning is None else banning.guard,
        )
        turns_away = None if banning is None else banning.turns_away
        self._overload = make_overload(settings, reactor, self._metrics, frozenset(probes))
        self._site = make_site(settings, reactor, routes.tree(probes), self._record, self._overload, turns_away)
        self._identity.sweep.channels = self._site.channels
        scraped: dict[bytes, IResource] = {b"/metrics": MetricsResource(self._metrics.registry)}
        self._admin = make_admin(reactor, admin_tree(probes | scraped))
        if banning is not None:
            banning.join(self._site, self._bridges, self._metrics)
        self._tell()

    def _checks(self) -> dict[str, Callable[[], Any]]:
        """What has to be well for the gateway to be ready."""
        checks: dict[str, Callable[[], Any]] = {
            "serving": lambda: self._delay is None,
            "store": store_check(self._settings, self._store),
            "records": lambda: self._records.loaded,
        }
        keys = self._identity.keys
        if keys is not None:
            checks["keys"] = lambda: keys.known
        if self._discoveries:
            checks["dns"] = lambda: all(discovery.resolved for discovery in self._discoveries)
        return checks

    def _tell(self) -> None:
        """Metrics of what this process holds."""
        site, log, tell = self._site, self._access_log, self._metrics
        tell.gauge("open_connections", "Connections of clients.", lambda: len(site.channels))
        tell.counts("connections_refused", "Connections not taken.", "reason", site.connections.refused)
        tell.gauge("open_websockets", "WebSockets that are bridged.", lambda: len(self._bridges))
        tell_clusters(self._clusters, tell)
        tell.count("access_log_dropped", "Access-log lines that could not be written.", lambda: log.dropped)

    # -- one request ----------------------------------------------------------------------------------------------

    def _opened(self, request: Request) -> None:
        """A WebSocket has opened; when it has closed it is recorded as any request is."""
        self._access_log.record(request, self._reactor.seconds())

    def _record(self, request: Request) -> None:
        """Once, when a request is over: its log line and its metrics."""
        now = self._reactor.seconds()
        if not request.status:
            request.status = 499  # the client left before there was an answer
        if request.status >= 400 and self._banning is not None:
            self._banning.record(request)
        if request.decided_by:
            self._metrics.refused(request.decided_by, request.status)
        self._metrics.record(request.route_name, request.status, now - request.received)
        self._access_log.record(request, now)

    # -- what a supervisor asks -----------------------------------------------------------------------------------

    @property
    def registry(self) -> CollectorRegistry:
        """The metrics."""
        return self._metrics.registry

    @property
    def connections(self) -> int:
        """How many connections of clients are open."""
        return len(self._site.channels)

    @property
    def websockets(self) -> int:
        """How many WebSockets are open."""
        return len(self._bridges)

    def ready(self) -> Deferred[bool]:
        """Whether all that it needs is there."""
        return passed(self._checks().values()).addCallback(all)

    def reopen(self) -> None:
        """Open the access log anew; the old one stays where that fails."""
        try:
            self._access_log.reopen()
        except OSError as error:
            self._log.error("The access log stays as it is: {error}", error=str(error))

    # -- its life -------------------------------------------------------------------------------------------------

    def startService(self) -> None:
        """Listen; a listener that cannot ends the process."""
        super().startService()
        self.start()
        self.listen()

    def start(self) -> None:
        """Get all that is needed, without listening yet."""
        if self._identity.keys is not None:
            self._identity.keys.start()
        for discovery in self._discoveries:
            discovery.start()
        self._site.connections.most = enough_for(self._settings.server.max_connections)
        self._overload.start()
        for cluster in self._clusters.values():
            cluster.start()

    def listen(self) -> None:
        """Accept connections.

        :raises SystemExit: when an endpoint cannot be bound: better no gateway than a deaf one.
        """
        if self._settings.server.admin:  # the first, so that where clients are served, operators are, too
            self._listen(self._settings.server.admin, self._admin)
        for text in self._settings.server.listen:
            self._listen(text, self._site)
        settle()

    def _listen(self, text: str, site: Site) -> None:
        failures: list[Any] = []
        maybeDeferred(self._listeners.listen, text, site).addCallbacks(self._listening, failures.append)
        if failures:
            raise SystemExit(f"smartgate: {text}: {failures[0].getErrorMessage()}")

    def _listening(self, port: Any) -> None:
        if getattr(port, "transport", None) is tcp.Server:  # a UNIX socket's is another
            port.transport = self._poller.accept
            prepare(port.socket, 2 * self._settings.server.send_timeout)  # those that a site does not end before
        self._ports.append(port)

    def stopService(self) -> Deferred[Any]:
        """Take no more connections, let requests finish for ``server.drain`` seconds, then cut the rest.

        For ``server.shutdown_delay`` seconds before, it serves as ever, but is not ready, and says with each answer
        that it is the last: a balancer sees that it goes, and loses nothing by it.
        """
        super().stopService()
        delay = self._settings.server.shutdown_delay
        if self._ended is not None or not delay:
            return self._stop()
        self._site.retire()
        self._delay = deferLater(self._reactor, delay)
        return self._delay.addErrback(lambda failure: failure.trap(CancelledError) and None).addCallback(
            lambda _: self._stop()
        )

    def _stop(self) -> Deferred[Any]:
        drain = self._settings.server.drain
        ended = self._leave()
        self._site.drain()
        self._bridges.close_all(drain / 2)
        self._cut_in(drain)
        return ended

    def retire(self) -> Deferred[Any]:
        """The same for one whose successors serve already: connections get one more answer before they close, and
        streams and WebSockets ``server.drain`` seconds. Who has asked nothing by half of that is not waited for, so
        that the last answers have the other half.
        """
        drain = self._settings.server.drain
        ended = self._leave()
        self._part_calls = [
            self._reactor.callLater(drain / 2, self._site.close_idle),
            self._reactor.callLater(drain, self._part, min(drain, PARTING)),
        ]
        self._cut_in(drain + min(drain, PARTING) + CLOSE_TIMEOUT)
        return ended

    def hurry(self) -> None:
        """Cut everything now."""
        if self._delay is not None and not self._delay.called:
            self._delay.cancel()
        self._site.abort()
        if self._drained is not None:
            self._drained.addTimeout(CUT_TIMEOUT, self._reactor)

    def _leave(self) -> Deferred[Any]:
        """Take no more connections; fires when there are none and all else is closed, too."""
        if self._ended is None:
            self._listeners.stop()
            closing = [maybeDeferred(port.stopListening) for port in self._ports]
            self._admin.abort()
            self._drained = self._site.retire()
            left: Deferred[Any] = DeferredList([*closing, self._drained], consumeErrors=True)
            self._ended = left.addCallback(self._stopped)
        return self._ended

    def _part(self, seconds: float) -> None:
        self._site.part(seconds)
        self._bridges.close_all(seconds)

    def _cut_in(self, seconds: float) -> None:
        """Cut what is left in so many seconds."""
        if self._cut_call is not None and self._cut_call.active():
            self._cut_call.cancel()
        self._cut_call = self._reactor.callLater(seconds, self.hurry)

    def _stopped(self, _: Any) -> Deferred[None]:
        self._overload.stop()
        for call in (self._cut_call, *self._part_calls):
            if call is not None and call.active():
                call.cancel()
        if self._identity.keys is not None:
            self._identity.keys.stop()
        for discovery in self._discoveries:
            discovery.stop()
        for cluster in self._clusters.values():
            cluster.close()
        self._access_log.close()
        if self._banning is not None:
            self._banning.close()
        closing = [self._store.close(), self._records.close()]
        return DeferredList(closing).addCallback(lambda _: self._poller.close())


def makeService(options: Options) -> service.IService:
    """The process that ``options`` and the environment describe: supervisor, worker, or a gateway alone."""
    from twisted.internet import reactor

    settings: Settings = options["settings"]
    twistd: Mapping[str, Any] = options.parent or {}
    taken = snapshot.given(os.environ)
    mine = Place.take(os.environ)
    if mine is not None:
        if taken is not None:
            os.close(taken)
        of_worker = settings.model_copy(update={"server": settings.server.model_copy(update={"admin": ""})})
        return Worker(reactor, twistd, lambda inherited: Gateway(inherited, of_worker), mine)
    handover = Handover.take(os.environ)
    if handover is None and not settings.server.workers:
        end = settings.server.shutdown_delay + settings.server.drain
        return Alone(reactor, twistd, Gateway(reactor, settings), end, options.mistakes)
    return Supervisor(reactor, twistd, settings, options["config"] or place(), taken, handover)
