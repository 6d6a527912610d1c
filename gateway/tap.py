"""``twistd smartgate``: everything is put together here, and nowhere else."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping
from typing import Any

from twisted.application import service
from twisted.internet import tcp
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.components import Componentized
from twisted.web.resource import IResource, Resource

from gateway.config import PLACES, ConfigError, Route, Settings, load, place
from gateway.core.addresses import Networks
from gateway.core.errors import NotFound
from gateway.core.headers import lines
from gateway.core.keys import Key
from gateway.core.limits import Limits as RateLimits
from gateway.core.tokens import TokenCache, TokenVerifier
from gateway.guards.addresses import AddressGuard
from gateway.guards.admit import AdmitGuard
from gateway.guards.authenticate import AuthenticateGuard
from gateway.guards.authorize import AuthorizeGuard
from gateway.guards.cors import CorsGuard
from gateway.guards.keys import PublishedKeys, fetching_client
from gateway.guards.size import SizeGuard
from gateway.http.poller import Poller
from gateway.http.request import Request
from gateway.http.site import Limits, Site
from gateway.interfaces import IStore
from gateway.resources.bridges import Bridges
from gateway.resources.guarded import GuardedResource
from gateway.resources.health import Health, MetricsResource, Ready
from gateway.resources.proxy import ProxySettings, ReverseProxyResource
from gateway.resources.tree import Branch
from gateway.resources.websocket import WebSocketResource
from gateway.store.failover import ResilientStore
from gateway.store.memory import MemoryStore
from gateway.store.redis import RedisStore
from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.logs import destination, observer
from gateway.telemetry.metrics import Metrics
from gateway.upstreams.cluster import Cluster
from gateway.upstreams.instance import Instance, authorities


class Options(usage.Options):
    """The command line of ``twistd smartgate``."""

    optParameters = [["config", "c", None, f"The configuration file; else the first of {', '.join(PLACES)}."]]

    def postOptions(self) -> None:
        """:raises usage.UsageError: listing every mistake of the configuration."""
        try:
            self["settings"] = load(self["config"] or place(), os.environ)
        except ConfigError as error:
            raise usage.UsageError(f"the configuration cannot be used:\n{error}") from None


class _Missing(Resource):
    isLeaf = True

    def render(self, request: Any) -> int:
        raise NotFound


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
        self._access_log = AccessLog(settings.access_log.path, reactor)
        self._store = self._make_store()
        self._bridges = Bridges(reactor, settings.websocket.max_message, settings.websocket.idle_ping)
        self._clusters = self._make_clusters()
        self._cache = TokenCache()
        self._verifier, self._keys = self._make_verifier()
        self._checks = self._make_checks()
        self._site = self._make_site()
        self._admin = self._make_admin()

    # -- the parts ------------------------------------------------------------------------------------------------

    def _make_store(self) -> IStore:
        settings, reactor = self._settings, self._reactor
        local = MemoryStore(reactor, settings.rate_limit.window)
        if settings.redis.url == "memory:":
            return local
        redis = RedisStore(
            self._poller,
            settings.redis.url,
            settings.rate_limit.prefix,
            settings.rate_limit.window,
            settings.redis.timeout,
        )
        self._metrics.count("redis_round_trips", "Round trips to Redis.", lambda: redis.round_trips)
        self._metrics.count("redis_questions", "Requests that asked Redis.", lambda: redis.asks)
        self._metrics.count("redis_errors", "Round trips that failed.", lambda: redis.errors)
        self._metrics.count("redis_seconds", "Time spent waiting for Redis.", lambda: redis.seconds)
        return ResilientStore(redis, local, settings.redis.on_failure, settings.redis.revocation_on_failure, reactor)

    def _make_clusters(self) -> dict[str, Cluster]:
        return {
            upstream.name: Cluster(
                upstream.name,
                [
                    Instance(self._poller, url, upstream.keep_alive, upstream.max_idle, authorities(upstream.ca_file))
                    for url in upstream.instances
                ],
                upstream.balance,
            )
            for upstream in self._settings.upstreams
        }

    def _make_verifier(self) -> tuple[TokenVerifier | None, PublishedKeys | None]:
        """What all routes verify tokens with, and who fetches its keys, where they are published ones."""
        jwt = self._settings.jwt
        if all(route.auth == "none" for route in self._settings.routes):
            return None, None
        verifier = TokenVerifier(jwt.key(), jwt.algorithms, jwt.issuer, jwt.audience, jwt.role_claim, jwt.leeway)
        if not jwt.jwks_url:
            return verifier, None

        def changed(keys: tuple[Key, ...]) -> None:
            verifier.publish(keys)
            self._cache.clear()

        client = fetching_client(self._reactor)
        return verifier, PublishedKeys(client, self._reactor, jwt.jwks_url, jwt.algorithms, changed)

    def _make_checks(self) -> dict[str, Callable[[], Any]]:
        """What has to be well for the gateway to be ready."""
        checks: dict[str, Callable[[], Any]] = {"store": self._store.ping}
        keys = self._keys
        if keys is not None:
            checks["keys"] = lambda: keys.known
        return checks

    def _make_site(self) -> Site:
        settings = self._settings
        root = Branch(self._guarded([], _Missing()))
        for route in sorted(settings.routes, key=lambda route: len(route.prefix)):
            root.plant(route.prefix.encode(), self._leaf(route))
        root.plant(b"/health", self._guarded([], Health()), whole=True)
        root.plant(b"/ready", self._guarded([], Ready(self._checks)), whole=True)
        of = settings.server
        site = Site(
            self._reactor,
            root.locate,
            self._record,
            Limits(of.max_head, of.max_fields, of.max_target, of.head_timeout, of.body_timeout, of.idle_timeout),
            Networks(of.trusted_proxies),
            lines(settings.security_lines()),
        )
        log = self._access_log
        self._metrics.gauge("open_connections", "Connections of clients.", lambda: len(site.channels))
        self._metrics.gauge("open_websockets", "WebSockets that are bridged.", lambda: len(self._bridges))
        self._metrics.count("access_log_dropped", "Access-log lines that could not be written.", lambda: log.dropped)
        return site

    def _make_admin(self) -> Site:
        """What listens for operators: never logged, never guarded, so never to be open to the world."""
        root = Branch(GuardedResource([], _Missing()))
        leaves = {
            b"/health": Health(),
            b"/ready": Ready(self._checks),
            b"/metrics": MetricsResource(self._metrics.registry),
        }
        for path, leaf in leaves.items():
            root.plant(path, GuardedResource([], leaf), whole=True)
        return Site(self._reactor, root.locate, lambda request: None, Limits())

    def _leaf(self, route: Route) -> GuardedResource:
        settings, rate = self._settings, self._settings.rate_limit
        guards: list[Any] = []
        if route.allow or route.deny:
            guards.append(AddressGuard(Networks(route.allow), Networks(route.deny)))
        guards.append(SizeGuard(route.max_body or settings.server.max_body))
        if route.auth != "none" and self._verifier is not None:
            required, now = route.auth == "required", self._reactor.seconds
            guards.append(AuthenticateGuard(self._verifier, self._cache, required, now, self._keys))
        guards.append(AdmitGuard(self._store, RateLimits(rate.default, rate.roles, rate.window), route.rate_limit))
        if route.roles is not None or route.methods:
            guards.append(AuthorizeGuard(route.roles, route.methods))
        cluster, proxying, report = self._clusters[route.upstream], self._proxying(route), self._metrics.upstream_failed
        leaf = (
            WebSocketResource(
                self._reactor,
                cluster,
                proxying,
                report,
                origins=settings.cors.origins,
                bridges=self._bridges,
                leeway=settings.jwt.leeway,
                opened=self._opened,
            )
            if route.websocket
            else ReverseProxyResource(cluster, proxying, report)
        )
        return self._guarded(guards, leaf, route, route.prefix)

    def _proxying(self, route: Route) -> ProxySettings:
        settings = self._settings
        upstream = next(upstream for upstream in settings.upstreams if upstream.name == route.upstream)
        return ProxySettings(
            stripped_prefix=route.prefix.encode() if route.strip_prefix else b"",
            preserve_host=route.preserve_host,
            connect_timeout=route.connect_timeout or upstream.connect_timeout,
            first_byte_timeout=route.first_byte_timeout or upstream.first_byte_timeout,
            idle_timeout=route.idle_timeout or upstream.idle_timeout,
            security=settings.security_lines(),
            upstream_wins=frozenset(name.lower().encode() for name in route.upstream_headers),
            own_cors=bool(settings.cors.origins),
            own_limits=route.rate_limit,
        )

    def _guarded(self, guards: list[Any], leaf: IResource, route: Any = None, name: str = "") -> GuardedResource:
        """A leaf behind the guards of every path, and its own."""
        settings, cors = self._settings, self._settings.cors
        first: list[Any] = []
        if cors.origins:
            first.append(
                CorsGuard(
                    cors.origins, cors.methods, cors.allow_headers, cors.expose_headers, cors.credentials, cors.max_age
                )
            )
        if settings.addresses.allow or settings.addresses.deny:
            first.append(AddressGuard(Networks(settings.addresses.allow), Networks(settings.addresses.deny)))
        return GuardedResource([*first, *guards], leaf, route, name)

    def _opened(self, request: Request) -> None:
        """A WebSocket has opened; when it has closed it is recorded as any request is."""
        self._access_log.record(request, self._reactor.seconds())

    def _record(self, request: Request) -> None:
        """Once, when a request is over: its log line and its metrics."""
        now = self._reactor.seconds()
        if not request.status:
            request.status = 499  # the client left before there was an answer
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
        if self._keys is not None:
            self._keys.start()
        for text in self._settings.server.listen:
            self._listen(text, self._site)
        if self._settings.server.admin:
            self._listen(self._settings.server.admin, self._admin)
        gc.collect()
        gc.freeze()

    def _listen(self, text: str, site: Site) -> None:
        """:raises SystemExit: when the endpoint cannot be bound: better no gateway than a deaf one."""
        failures: list[Any] = []
        done: Deferred[Any] = serverFromString(self._reactor, text).listen(site)
        done.addCallbacks(self._listening, failures.append)
        if failures:
            raise SystemExit(f"smartgate: {text}: {failures[0].getErrorMessage()}")

    def _listening(self, port: Any) -> None:
        if getattr(port, "transport", None) is tcp.Server:  # a UNIX socket's is another
            port.transport = self._poller.accept
        self._ports.append(port)

    def stopService(self) -> Deferred[Any]:
        """Take no more connections, let requests finish for ``server.drain`` seconds, then cut the rest."""
        super().stopService()
        drain = self._settings.server.drain
        closing = [maybeDeferred(port.stopListening) for port in self._ports]
        self._admin.abort()
        drained = self._site.drain()
        self._bridges.close_all(drain / 2)
        drained.addTimeout(drain, self._reactor)
        drained.addErrback(lambda _: self._site.abort())
        return DeferredList([*closing, drained], consumeErrors=True).addCallback(self._stopped)

    def _stopped(self, _: Any) -> Deferred[None]:
        if self._keys is not None:
            self._keys.stop()
        for cluster in self._clusters.values():
            cluster.close()
        self._access_log.close()
        return self._store.close().addCallback(lambda _: self._poller.close())


def makeService(options: Options) -> service.IService:
    """The gateway that ``options`` describe."""
    from twisted.internet import reactor

    return Gateway(reactor, options["settings"], options.parent)
