"""The upstreams and their instances."""

from __future__ import annotations

from typing import Any

from gateway.config import Settings
from gateway.upstreams.cluster import Cluster
from gateway.upstreams.instance import Instance, authorities


def make_clusters(settings: Settings, poller: Any) -> dict[str, Cluster]:
    """The clusters by their names.

    :raises OSError: when the certificates of an upstream cannot be read.
    """
    return {
        upstream.name: Cluster(
            upstream.name,
            [
                Instance(poller, url, upstream.keep_alive, upstream.max_idle, authorities(upstream.ca_file))
                for url in upstream.instances
            ],
            upstream.balance,
        )
        for upstream in settings.upstreams
    }
