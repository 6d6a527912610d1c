"""The health of the upstreams: their rules, probes and limits, and what the metrics tell of them."""

from __future__ import annotations

from functools import partial
from typing import Any

from gateway.config import Upstream
from gateway.core.circuit import Circuit, Limits
from gateway.core.health import Rules
from gateway.telemetry.metrics import Metrics
from gateway.upstreams.cluster import Cluster
from gateway.upstreams.health import ClusterHealth
from gateway.upstreams.instance import Instance
from gateway.upstreams.probes import Probe, Probes, Probing


def make_rules(of: Upstream) -> Rules:
    """When an instance of an upstream is used."""
    out, probed = of.ejection, {} if of.health is None else {"rise": of.health.rise, "fall": of.health.fall}
    return Rules(out.failures, out.errors, out.time, out.max_time, of.slow_start, **probed)


def make_circuit(of: Upstream) -> Circuit:
    """What an upstream may have under way."""
    most, retries = of.limits, of.retries
    return Circuit(Limits(most.connections, most.pending, most.requests, retries.budget, retries.minimum))


def make_probes(of: Upstream, poller: Any, health: ClusterHealth) -> Probes | None:
    """The probes of an upstream that has ``health``."""
    if of.health is None:
        return None
    probing = Probing(of.health.path, of.health.interval, of.health.timeout)

    def make(instance: Instance) -> Probe:
        return Probe(poller, instance, probing, partial(health.probed, instance))

    return Probes(make)


def tell_clusters(clusters: dict[str, Cluster], metrics: Metrics) -> None:
    """Metrics of what the clusters hold."""
    every, one = clusters.values(), "upstream"
    metrics.gauges(
        "upstream_up",
        "Whether an instance is used: up by its probes, and not ejected.",
        ("upstream", "instance"),
        lambda: {(of.name, each.name): float(each.health.usable) for of in every for each in of.instances},
    )
    metrics.gauges(
        "upstream_requests",
        "Requests under way.",
        one,
        lambda: {of.name: of.circuit.requests for of in every},
    )
    metrics.gauges(
        "upstream_connections",
        "Connections to instances, idle ones too.",
        one,
        lambda: {of.name: of.circuit.connections.taken for of in every},
    )
    metrics.gauges(
        "upstream_pending",
        "Requests that wait for a connection.",
        one,
        lambda: {of.name: len(of.circuit.connections.waiting) for of in every},
    )
    metrics.gauges(
        "upstream_uploads",
        "Requests under way whose body is still coming.",
        one,
        lambda: {of.name: of.circuit.uploads for of in every},
    )
    metrics.counted(
        "upstream_ejections",
        "Ejections of instances.",
        one,
        lambda: {of.name: of.health.ejections for of in every},
    )
    metrics.counted(
        "upstream_retries",
        "Requests that were tried once more.",
        one,
        lambda: {of.name: of.circuit.retried for of in every},
    )
    metrics.counted(
        "upstream_refused",
        "Requests that a limit of the upstream has refused.",
        ("upstream", "limit"),
        lambda: {(of.name, limit): count for of in every for limit, count in of.circuit.refused.items()},
    )
