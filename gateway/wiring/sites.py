"""The listeners' factories: who listens to clients, and who to operators."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

from gateway.config import Settings
from gateway.core.addresses import Networks
from gateway.core.headers import for_plain_http, lines
from gateway.core.overload import Overload
from gateway.http.overload import LoadShedder
from gateway.http.request import Request
from gateway.http.site import Limits, Site
from gateway.resources.tree import Branch
from gateway.telemetry.metrics import Metrics


def make_site(
    settings: Settings,
    reactor: Any,
    tree: Branch,
    record: Callable[[Request], None],
    overload: LoadShedder,
    turns_away: Callable[[str], bool] | None = None,
) -> Site:
    """What listens for clients.

    :param record: called with each request that is over.
    :param turns_away: asked about the address of each new connection, whether it is cut.
    """
    of = settings.server
    return Site(
        reactor,
        tree.locate,
        record,
        Limits(
            of.max_head,
            of.max_fields,
            of.max_target,
            of.head_timeout,
            of.body_timeout,
            of.idle_timeout,
            send_timeout=of.send_timeout,
            min_rate=of.min_rate,
            connections=of.max_connections,
            connections_per_client=of.max_connections_per_client,
        ),
        Networks(of.trusted_proxies),
        lines(for_plain_http(settings.security_lines())),
        lines(settings.security_lines()),
        overload,
        turns_away,
        http2=of.http2,
    )


def make_overload(settings: Settings, reactor: Any, metrics: Metrics, spared: Container[bytes]) -> LoadShedder:
    """Who refuses the requests of clients that there is no room for.

    :param spared: paths that are always answered.
    """
    state = Overload(settings.server.max_requests, settings.server.max_lag)
    metrics.gauge("open_requests", "Requests of clients that are being answered.", lambda: state.open)
    metrics.gauge("reactor_lag_seconds", "How late timers run, smoothed.", lambda: state.lag)
    metrics.counts("shed", "Requests refused because of overload.", "reason", state.shed)
    return LoadShedder(reactor, state, spared)


def make_admin(reactor: Any, tree: Branch) -> Site:
    """What listens for operators; their requests are not recorded."""
    return Site(reactor, tree.locate, lambda request: None, Limits())
