"""The Resource tree: each route's leaf behind its guards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.web.resource import IResource, Resource

from gateway.config import Route, Settings
from gateway.core.addresses import Networks
from gateway.core.errors import NotFound
from gateway.core.limits import Limits
from gateway.guards.addresses import AddressGuard
from gateway.guards.admit import AdmitGuard
from gateway.guards.authorize import AuthorizeGuard
from gateway.guards.bans import BanGuard
from gateway.guards.cors import CorsGuard
from gateway.guards.size import SizeGuard
from gateway.http.request import Request
from gateway.interfaces import IStore
from gateway.resources.bridges import Bridges
from gateway.resources.guarded import GuardedResource
from gateway.resources.proxy import ProxySettings, ReverseProxyResource
from gateway.resources.tree import Branch
from gateway.resources.websocket import WebSocketResource
from gateway.telemetry.metrics import Metrics
from gateway.upstreams.cluster import Cluster
from gateway.wiring.identity import Identity


class _Missing(Resource):
    isLeaf = True

    def render(self, request: Any) -> int:
        raise NotFound


class Routes:
    """Plants the tree that clients see.

    :param opened: called with each request whose WebSocket has opened.
    :param bans: the first guard of all, where there are bans.
    """

    def __init__(
        self,
        settings: Settings,
        reactor: Any,
        store: IStore,
        identity: Identity,
        clusters: dict[str, Cluster],
        bridges: Bridges,
        metrics: Metrics,
        opened: Callable[[Request], None],
        bans: BanGuard | None = None,
    ) -> None:
        self._settings = settings
        self._reactor = reactor
        self._store = store
        self._identity = identity
        self._clusters = clusters
        self._bridges = bridges
        self._metrics = metrics
        self._opened = opened
        self._bans = bans

    def tree(self, whole: dict[bytes, IResource]) -> Branch:
        """The tree of all routes.

        :param whole: leaves of the gateway's own, each at one path alone.
        """
        root = Branch(self._guarded([], _Missing()))
        for route in sorted(self._settings.routes, key=lambda route: len(route.prefix)):
            root.plant(route.prefix.encode(), self._leaf(route))
        for path, leaf in whole.items():
            root.plant(path, self._guarded([], leaf), whole=True)
        return root

    def _leaf(self, route: Route) -> GuardedResource:
        settings, rate = self._settings, self._settings.rate_limit
        guards: list[Any] = []
        if route.allow or route.deny:
            guards.append(AddressGuard(Networks(route.allow), Networks(route.deny)))
        guards.append(SizeGuard(route.max_body or settings.server.max_body))
        guards += self._identity.guards(route.auth)
        limits, sure = Limits(rate.default, rate.roles, rate.window), settings.redis.revocation_on_failure == "closed"
        guards.append(AdmitGuard(self._store, limits, route.rate_limit, sure))
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
        first: list[Any] = [] if self._bans is None else [self._bans]
        if cors.origins:
            first.append(
                CorsGuard(
                    cors.origins, cors.methods, cors.allow_headers, cors.expose_headers, cors.credentials, cors.max_age
                )
            )
        if settings.addresses.allow or settings.addresses.deny:
            first.append(AddressGuard(Networks(settings.addresses.allow), Networks(settings.addresses.deny)))
        return GuardedResource([*first, *guards], leaf, route, name)


def admin_tree(whole: dict[bytes, IResource]) -> Branch:
    """The tree that operators see: never guarded, so never to be open to the world."""
    root = Branch(GuardedResource([], _Missing()))
    for path, leaf in whole.items():
        root.plant(path, GuardedResource([], leaf), whole=True)
    return root
