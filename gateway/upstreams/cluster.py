"""An upstream as routes see it: some instances, and the policy that picks one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from gateway.core.balance import POLICIES
from gateway.core.circuit import Circuit
from gateway.core.errors import Unavailable
from gateway.upstreams.health import ClusterHealth, best
from gateway.upstreams.instance import Instance
from gateway.upstreams.probes import Probes

if TYPE_CHECKING:
    from gateway.http.request import Request


class Cluster:
    """The instances of one upstream.

    :param name: the upstream's name in the configuration.
    :param policy: a key of :data:`gateway.core.balance.POLICIES`.
    :param key: what requests that belong together have in common, for a policy that keeps them together.
    :param circuit: its limits; the default ones when not given.
    :param probes: who asks the instances how they are, if anybody.
    """

    def __init__(
        self,
        name: str,
        instances: Sequence[Instance],
        policy: str,
        health: ClusterHealth,
        key: Callable[[Request], bytes] | None = None,
        circuit: Circuit | None = None,
        probes: Probes | None = None,
    ) -> None:
        self.name = name
        self.health = health
        self.circuit = circuit or Circuit()
        self._probes = probes
        self.instances: list[Instance] = []
        self._leaving: WeakValueDictionary[str, Instance] = WeakValueDictionary()  # held by their last exchanges
        self._balancer = POLICIES[policy]()
        self._key = key
        self.update(instances)

    def update(self, instances: Sequence[Instance]) -> None:
        """Balance over these from now on.

        One whose name is known stays the object it is, with its connections, and gets the new weight and priority; one
        that is not among them is drained.
        """
        known = dict(self._leaving) | {instance.name: instance for instance in self.instances}
        members = []
        for instance in instances:
            member = known.pop(instance.name, instance)
            member.weight, member.priority = instance.weight, instance.priority
            member.take_back()
            members.append(member)
        self._leaving = WeakValueDictionary(known)
        for instance in known.values():
            instance.drain()
        self._balancer.weighted = len({member.weight for member in members}) > 1
        self.instances = members
        self._best = best(members)
        self.health.follow(members)
        if self._probes is not None:
            self._probes.follow(members)

    def start(self) -> None:
        """Begin to probe the instances."""
        if self._probes is not None:
            self._probes.start()

    def choose(self, request: Request, tried: Instance | None = None) -> Instance:
        """An instance for the request; not ``tried``, where there is another.

        :raises Unavailable: when none is known yet.
        """
        instances = self._best
        if tried is not None or self.health.troubled:
            instances = self.health.usable(request, tried)
        if not instances:
            raise Unavailable
        key = self._key
        return self._balancer.pick(instances) if key is None else self._balancer.pick(instances, key(request))

    def room(self) -> bool:
        """Take the slot of a new connection, an idle one's where there must be; whether there was one."""
        return self.circuit.connections.take() or any(instance.shed() for instance in self.instances)

    def close(self) -> None:
        """Probe nobody, and close all idle connections."""
        if self._probes is not None:
            self._probes.stop()
        for instance in self.instances:
            instance.close()
