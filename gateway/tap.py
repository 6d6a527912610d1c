"""``twistd smartgate``: everything is put together here, and nowhere else."""

from __future__ import annotations

import gc
import os
from typing import Any

from twisted.application import service
from twisted.internet import ssl
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import serverFromString
from twisted.logger import Logger
from twisted.python import usage
from twisted.web import server
from twisted.web.resource import IResource, Resource

from gateway.config import ConfigError, Route, Settings, load
from gateway.core.addresses import Networks
from gateway.core.errors import NotFound
from gateway.core.headers import lines
from gateway.core.limits import Limits as RateLimits
from gateway.core.tokens import TokenCache, TokenVerifier
from gateway.guards.addresses import AddressGuard
from gateway.guards.admit import AdmitGuard
from gateway.guards.authenticate import AuthenticateGuard
from gateway.guards.authorize import AuthorizeGuard
from gateway.guards.cors import CorsGuard
from gateway.guards.size import SizeGuard
from gateway.http.request import Request
from gateway.http.site import Limits, Site
from gateway.http.transport import ServerTransport
from gateway.interfaces import IStore
from gateway.resources.guarded import GuardedResource
from gateway.resources.health import Health, MetricsResource, Ready
from gateway.resources.proxy import ProxySettings, ReverseProxyResource
from gateway.resources.tree import Branch
from gateway.resources.websocket import WebSocketResource
from gateway.store.failover import ResilientStore
from gateway.store.memory import MemoryStore
from gateway.store.redis import RedisStore
from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.metrics import Metrics
from gateway.upstreams.cluster import Cluster
from gateway.upstreams.instance import Instance

PLACES = ("etc/smartgate.toml", "/etc/smartgate/smartgate.toml")
"""Where the configuration is looked for when none is named."""


class Options(usage.Options):
    """The command line of ``twistd smartgate``."""

    optParameters = [["config", "c", None, f"The configuration file; else the first of {', '.join(PLACES)}."]]

    def postOptions(self) -> None:
        """:raises usage.UsageError: listing every mistake of the configuration."""
        path = self["config"] or next((place for place in PLACES if os.path.exists(place)), PLACES[-1])
        try:
            self["settings"] = load(path, os.environ)
        except ConfigError as error:
            raise usage.UsageError(f"the configuration cannot be used:\n{error}") from None


class _Missing(Resource):
    isLeaf = True

    def render(self, request: Any) -> int:
        raise NotFound


class Gateway(service.Service):
    """The gateway in one process: its listeners, and what stands behind them."""

    _log = Logger()

    def __init__(self, reactor: Any, settings: Settings) -> None:
        self._reactor = reactor
        self._settings = settings
        self._ports: list[Any] = []
        self._metrics = Metrics()
        self._access_log = AccessLog(settings.access_log.path, reactor)
        self._store = self._make_store()
        self._clusters = self._make_clusters()
        self._cache = TokenCache()
        self._site = self._make_site()

    # -- the parts ------------------------------------------------------------------------------------------------

    def _make_store(self) -> IStore:
        settings, reactor = self._settings, self._reactor
        local = MemoryStore(reactor, settings.rate_limit.window)
        if settings.redis.url == "memory:":
            return local
        redis = RedisStore(
            reactor,
            settings.redis.url,
            settings.rate_limit.prefix,
            settings.rate_limit.window,
            settings.redis.timeout,
        )
        self._metrics.readings |= {
            "smartgate_redis_round_trips": ("Round trips to Redis.", "counter", lambda: redis.round_trips),
            "smartgate_redis_questions": ("Requests that asked Redis.", "counter", lambda: redis.asks),
            "smartgate_redis_errors": ("Round trips that failed.", "counter", lambda: redis.errors),
            "smartgate_redis_seconds": ("Time spent waiting for Redis.", "counter", lambda: redis.seconds),
        }
        return ResilientStore(redis, local, settings.redis.on_failure, settings.redis.revocation_on_failure, reactor)

    def _make_clusters(self) -> dict[str, Cluster]:
        clusters = {}
        for upstream in self._settings.upstreams:
            trust = None
            if upstream.ca_file:
                with open(upstream.ca_file, "rb") as file:
                    trust = ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(file.read())])
            instances = [
                Instance(self._reactor, url, upstream.keep_alive, upstream.max_idle, trust)
                for url in upstream.instances
            ]
            clusters[upstream.name] = Cluster(upstream.name, instances, upstream.balance)
        return clusters

    def _make_site(self) -> Site:
        settings = self._settings
        root = Branch(self._guarded([], _Missing()))
        for route in sorted(settings.routes, key=lambda route: len(route.prefix)):
            root.plant(route.prefix.encode(), self._leaf(route))
        root.plant(b"/health", self._guarded([], Health()), whole=True)
        root.plant(b"/ready", self._guarded([], Ready(self._checks())), whole=True)
        of = settings.server
        site = Site(
            self._reactor,
            root.locate,
            self._record,
            Limits(of.max_head, of.max_fields, of.max_target, of.head_timeout, of.body_timeout, of.idle_timeout),
            Networks(of.trusted_proxies),
            lines(settings.security_lines()),
        )
        self._metrics.readings["smartgate_open_connections"] = (
            "Connections of clients.",
            "gauge",
            lambda: len(site.channels),
        )
        self._metrics.readings["smartgate_access_log_dropped"] = (
            "Access-log lines that could not be written.",
            "counter",
            lambda: self._access_log.dropped,
        )
        return site

    def _leaf(self, route: Route) -> GuardedResource:
        settings = self._settings
        jwt, cors = settings.jwt, settings.cors
        guards: list[Any] = []
        if route.allow or route.deny:
            guards.append(AddressGuard(Networks(route.allow), Networks(route.deny)))
        guards.append(SizeGuard(route.max_body or settings.server.max_body))
        if route.auth != "none":
            verifier = TokenVerifier(jwt.key(), jwt.algorithms, jwt.issuer, jwt.audience, jwt.role_claim, jwt.leeway)
            guards.append(AuthenticateGuard(verifier, self._cache, route.auth == "required", self._reactor.seconds))
        rate = settings.rate_limit
        guards.append(AdmitGuard(self._store, RateLimits(rate.default, rate.roles, rate.window), route.rate_limit))
        if route.roles is not None or route.methods:
            guards.append(AuthorizeGuard(route.roles, route.methods))
        upstream = next(upstream for upstream in settings.upstreams if upstream.name == route.upstream)
        if route.websocket:
            bridge = WebSocketResource(
                self._reactor,
                self._clusters[route.upstream],
                route.prefix.encode() if route.strip_prefix else b"",
                cors.origins,
                settings.websocket.max_message,
                settings.websocket.idle_ping,
                route.connect_timeout or upstream.connect_timeout,
                self._metrics.upstream_failed,
            )
            return self._guarded(guards, bridge, route, route.prefix)
        proxy = ReverseProxyResource(
            self._reactor,
            self._clusters[route.upstream],
            ProxySettings(
                stripped_prefix=route.prefix.encode() if route.strip_prefix else b"",
                preserve_host=route.preserve_host,
                connect_timeout=route.connect_timeout or upstream.connect_timeout,
                first_byte_timeout=route.first_byte_timeout or upstream.first_byte_timeout,
                idle_timeout=route.idle_timeout or upstream.idle_timeout,
                security=settings.security_lines(),
                upstream_wins=frozenset(name.lower().encode() for name in route.upstream_headers),
                own_cors=bool(cors.origins),
                own_limits=route.rate_limit,
            ),
            self._metrics.upstream_failed,
        )
        return self._guarded(guards, proxy, route, route.prefix)

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

    def _checks(self) -> dict[str, Any]:
        return {"store": self._store.ping}

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

    def startService(self) -> None:
        """Listen; a listener that cannot ends the process."""
        super().startService()
        if self._settings.server.workers not in (0, 1):
            self._log.info("This version serves in one process; server.workers will take effect with the supervisor")
        for text in self._settings.server.listen:
            self._listen(text, self._site)
        if self._settings.server.admin:
            admin = Resource()
            admin.putChild(b"health", Health())
            admin.putChild(b"ready", Ready(self._checks()))
            admin.putChild(b"metrics", MetricsResource(self._metrics.registry))
            self._listen(self._settings.server.admin, server.Site(admin, timeout=10))
        gc.collect()
        gc.freeze()

    def _listen(self, text: str, factory: Any) -> None:
        """:raises SystemExit: when the endpoint cannot be bound: better no gateway than a deaf one."""
        failures: list[Any] = []
        done: Deferred[Any] = serverFromString(self._reactor, text).listen(factory)
        done.addCallbacks(self._listening, failures.append, callbackArgs=(factory,))
        if failures:
            raise SystemExit(f"smartgate: {text}: {failures[0].getErrorMessage()}")

    def _listening(self, port: Any, factory: Any) -> None:
        if factory is self._site:
            port.transport = ServerTransport
        self._ports.append(port)

    def stopService(self) -> Deferred[Any]:
        """Take no more connections, let requests finish for ``server.drain`` seconds, then cut the rest."""
        super().stopService()
        closing = [port.stopListening() for port in self._ports if hasattr(port, "stopListening")]
        drained = self._site.drain()
        drained.addTimeout(self._settings.server.drain, self._reactor)
        drained.addErrback(lambda _: self._site.abort())
        return DeferredList([*closing, drained], consumeErrors=True).addCallback(self._stopped)

    def _stopped(self, _: Any) -> Deferred[None]:
        for cluster in self._clusters.values():
            cluster.close()
        self._access_log.close()
        return self._store.close()


def makeService(options: Options) -> service.IService:
    """The gateway that ``options`` describe."""
    from twisted.internet import reactor

    return Gateway(reactor, options["settings"])
