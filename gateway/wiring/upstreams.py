"""The upstreams and their instances."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.config import Settings, Upstream
from gateway.upstreams.affinity import affinity
from gateway.upstreams.cluster import Cluster
from gateway.upstreams.discovery import Discovery, Found, Place
from gateway.upstreams.health import ClusterHealth
from gateway.upstreams.instance import Instance, authorities, own_certificate
from gateway.upstreams.resolver import local_addresses, make_resolver
from gateway.wiring.health import make_circuit, make_probes, make_rules

_DNS_PORT: Final = 53


def make_clusters(settings: Settings, poller: Any) -> dict[str, Cluster]:
    """The clusters by their names; those whose instances are to be discovered are empty.

    :raises OSError: when the certificates of an upstream cannot be read.
    """
    clusters = {}
    for upstream in settings.upstreams:
        make, key = _maker(upstream, poller), affinity(upstream.hash_on) if upstream.hash_on else None
        instances = [make(named.url, weight=named.weight) for named in upstream.instances]
        health = ClusterHealth(upstream.name, poller)
        circuit, probes = make_circuit(upstream), make_probes(upstream, poller, health)
        clusters[upstream.name] = Cluster(upstream.name, instances, upstream.balance, health, key, circuit, probes)
    return clusters


def make_discoveries(settings: Settings, reactor: Any, poller: Any, clusters: dict[str, Cluster]) -> list[Discovery]:
    """Who finds instances by DNS, and tells the clusters.

    :raises OSError: when the certificates of an upstream cannot be read.
    """
    discovered = [upstream for upstream in settings.upstreams if upstream.discover]
    if not discovered:
        return []
    servers = [urlsplit(f"//{server}") for server in settings.dns.servers]
    resolver = make_resolver(reactor, [(server.hostname or "", server.port or _DNS_PORT) for server in servers])

    def discovery(upstream: Upstream) -> Discovery:
        place, make, cluster = Place.of(upstream.discover), _maker(upstream, poller), clusters[upstream.name]

        def changed(several: list[Found]) -> None:
            cluster.update(
                [
                    make(place.url(found), weight=found.weight, address=found.address, priority=found.priority)
                    for found in several
                ]
            )

        return Discovery(upstream.name, place, resolver, local_addresses, reactor, changed)

    return [discovery(upstream) for upstream in discovered]


def _maker(upstream: Upstream, poller: Any) -> Callable[..., Instance]:
    """What makes an instance of an upstream from its URL."""
    return partial(
        Instance,
        poller,
        keep_alive=upstream.keep_alive,
        max_idle=upstream.max_idle,
        trust=authorities(upstream.ca_file),
        certificate=own_certificate(upstream.certificate_file),
        server_name=upstream.server_name,
        rules=make_rules(upstream),
    )
