"""An upstream as routes see it: some instances, and the policy that picks one."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.core.balance import POLICIES
from gateway.upstreams.instance import Instance


class Cluster:
    """The instances of one upstream.

    :param name: the upstream's name in the configuration.
    :param policy: a key of :data:`gateway.core.balance.POLICIES`.
    """

    def __init__(self, name: str, instances: Sequence[Instance], policy: str) -> None:
        self.name = name
        self.instances = list(instances)
        self._balancer = POLICIES[policy]()

    def choose(self, tried: Instance | None = None) -> Instance:
        """An instance for the next request; not ``tried``, where there is another."""
        instances = self.instances
        if tried is not None and len(instances) > 1:
            instances = [instance for instance in instances if instance is not tried]
        return self._balancer.pick(instances)

    def close(self) -> None:
        """Close all idle connections."""
        for instance in self.instances:
            instance.close()
