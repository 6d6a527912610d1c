"""The listeners' factories: who listens to clients, and who to operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.config import Settings
from gateway.core.addresses import Networks
from gateway.core.headers import lines
from gateway.http.request import Request
from gateway.http.site import Limits, Site
from gateway.resources.tree import Branch


def make_site(
    settings: Settings,
    reactor: Any,
    tree: Branch,
    record: Callable[[Request], None],
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
        Limits(of.max_head, of.max_fields, of.max_target, of.head_timeout, of.body_timeout, of.idle_timeout),
        Networks(of.trusted_proxies),
        lines(settings.security_lines()),
        turns_away,
    )


def make_admin(reactor: Any, tree: Branch) -> Site:
    """What listens for operators; their requests are not recorded."""
    return Site(reactor, tree.locate, lambda request: None, Limits())
