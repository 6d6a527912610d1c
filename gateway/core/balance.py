"""How one instance is picked from several: one class a policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Loaded(Protocol):
    """What a policy may know of an instance."""

    active: int
    """Requests in flight."""


InstanceT = TypeVar("InstanceT", bound=Loaded)


class RoundRobin:
    """Each in its turn."""

    def __init__(self) -> None:
        self._turn = -1

    def pick(self, instances: Sequence[InstanceT]) -> InstanceT:
        """The next one of ``instances``, a non-empty sequence."""
        self._turn = (self._turn + 1) % len(instances)
        return instances[self._turn]


class LeastRequests:
    """The one with the fewest requests in flight; among equals, each in its turn."""

    def __init__(self) -> None:
        self._turn = 0

    def pick(self, instances: Sequence[InstanceT]) -> InstanceT:
        """The least loaded of ``instances``, a non-empty sequence."""
        if len(instances) == 1:
            return instances[0]
        turn = self._turn % len(instances)
        in_turn = (*instances[turn:], *instances[:turn])
        picked = min(in_turn, key=_active)
        self._turn = turn + in_turn.index(picked) + 1
        return picked


def _active(instance: Loaded) -> int:
    return instance.active


POLICIES: dict[str, type[RoundRobin] | type[LeastRequests]] = {
    "round-robin": RoundRobin,
    "least-requests": LeastRequests,
}
"""The policies by their name in the configuration."""
