"""An upstream as routes see it: some instances, and the policy that picks one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from gateway.core.balance import POLICIES
from gateway.core.errors import Unavailable
from gateway.upstreams.instance import Instance

if TYPE_CHECKING:
    from gateway.http.request import Request


class Cluster:
    """The instances of one upstream.

    :param name: the upstream's name in the configuration.
    :param policy: a key of :data:`gateway.core.balance.POLICIES`.
    :param key: what requests that belong together have in common, for a policy that keeps them together.
    """

    def __init__(
        self, name: str, instances: Sequence[Instance], policy: str, key: Callable[[Request], bytes] | None = None
    ) -> None:
        self.name = name
        self.instances: list[Instance] = []
        self._leaving: WeakValueDictionary[str, Instance] = WeakValueDictionary()  # held by their last exchanges
        self._balancer = POLICIES[policy]()
        self._key = key
        self.update(instances)

    def update(self, instances: Sequence[Instance]) -> None:
        """Balance over these from now on.

        One whose name is known stays the object it is, with its connections, and gets the new weight; one that is not
        among them is drained.
        """
        known = dict(self._leaving) | {instance.name: instance for instance in self.instances}
        members = []
        for instance in instances:
            member = known.pop(instance.name, instance)
            member.weight = instance.weight
            member.take_back()
            members.append(member)
        self._leaving = WeakValueDictionary(known)
        for instance in known.values():
            instance.drain()
        self._balancer.weighted = len({member.weight for member in members}) > 1
        self.instances = members

    def choose(self, request: Request, tried: Instance | None = None) -> Instance:
        """An instance for the request; not ``tried``, where there is another.

        :raises Unavailable: when none is known yet.
        """
        instances = self.instances
        if tried is not None and len(instances) > 1:
            instances = [instance for instance in instances if instance is not tried]
        if not instances:
            raise Unavailable(fields=(b"Retry-After: 1\r\n",))
        key = self._key
        return self._balancer.pick(instances) if key is None else self._balancer.pick(instances, key(request))

    def close(self) -> None:
        """Close all idle connections."""
        for instance in self.instances:
            instance.close()
