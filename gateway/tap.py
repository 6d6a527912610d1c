"""``twistd smartgate``: everything is put together here, out of what :mod:`gateway.wiring` makes."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping
from typing import Any

from twisted.application import service
from twisted.internet import tcp
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.components import Componentized
from twisted.web.resource import IResource

from gateway.config import PLACES, ConfigError, Settings, load, place
from gateway.http.poller import Poller
from gateway.http.request import Request
from gateway.http.site import Site
from gateway.http.transport import prepare
from gateway.resources.health import Health, MetricsResource, Ready
from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.logs import destination, observer
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


class Options(usage.Options):
    """The command line of ``twistd smartgate``."""

    optParameters = [["config", "c", None, f"The configuration file; else the first of {', '.join(PLACES)}."]]

    def postOptions(self) -> None:
        """:raises usage.UsageError: listing every mistake of the configuration."""
        try:
            self["settings"] = load(self["config"] or place(), os.environ)
        except ConfigError as error:
            raise usage.UsageError(f"the configuration cannot be used:\n{error}") from None


class Gateway(service.Service):
    """The gateway in one process: its listeners, and what stands behind them.

    :param twistd: twistd's own options, which say where to log.
    :raises OSError: when the access log or the certificates of an upstream cannot be read.
    """

    _log = Logger()

    def __init__(self, reactor: Any, settings: Settings, twistd: Mapping[str, Any] | None = None) -> None:
        self._reactor = reactor
        self._poller: Any = Poller(reactor)
        self._settings = settings
        self._twistd = {} if twistd is None else twistd
        self._ports: list[Any] = []
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

    # -- its life -------------------------------------------------------------------------------------------------

    def setServiceParent(self, parent: Any) -> None:
        """Join an application; one that twistd runs logs as the gateway does."""
        if isinstance(parent, Componentized) and (out := destination(self._twistd)) is not None:
            parent.setComponent(ILogObserver, observer(out))
        super().setServiceParent(parent)

    def startService(self) -> None:
        """Listen; a listener that cannot ends the process."""
        super().startService()
        if self._settings.server.workers not in (0, 1):
            self._log.info("This version serves in one process; server.workers will take effect with the supervisor")
        if self._identity.keys is not None:
            self._identity.keys.start()
        for discovery in self._discoveries:
            discovery.start()
        self._site.connections.most = enough_for(self._settings.server.max_connections)
        self._overload.start()
        for cluster in self._clusters.values():
            cluster.start()
        for text in self._settings.server.listen:
            self._listen(text, self._site)
        if self._settings.server.admin:
            self._listen(self._settings.server.admin, self._admin)
        gc.collect()
        gc.freeze()

    def _listen(self, text: str, site: Site) -> None:
        """:raises SystemExit: when the endpoint cannot be bound: better no gateway than a deaf one."""
        failures: list[Any] = []
        maybeDeferred(self._listeners.listen, text, site).addCallbacks(self._listening, failures.append)
        if failures:
            raise SystemExit(f"smartgate: {text}: {failures[0].getErrorMessage()}")

    def _listening(self, port: Any) -> None:
        if getattr(port, "transport", None) is tcp.Server:  # a UNIX socket's is another
            port.transport = self._poller.accept
            prepare(port.socket, self._settings.server.send_timeout)
        self._ports.append(port)

    def stopService(self) -> Deferred[Any]:
        """Take no more connections, let requests finish for ``server.drain`` seconds, then cut the rest."""
        super().stopService()
        self._overload.stop()
        drain = self._settings.server.drain
        self._listeners.stop()
        closing = [maybeDeferred(port.stopListening) for port in self._ports]
        self._admin.abort()
        drained = self._site.drain()
        self._bridges.close_all(drain / 2)
        drained.addTimeout(drain, self._reactor)
        drained.addErrback(lambda _: self._site.abort())
        return DeferredList([*closing, drained], consumeErrors=True).addCallback(self._stopped)

    def _stopped(self, _: Any) -> Deferred[None]:
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
    """The gateway that ``options`` describe."""
    from twisted.internet import reactor

    return Gateway(reactor, options["settings"], options.parent)
