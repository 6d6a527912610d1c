"""How one instance is picked from several: one class a policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from math import log
from random import random
from typing import Final, Protocol, TypeVar

_MOST_NAMES: Final = 1024
"""Names a policy remembers something of; when there are more it forgets all, since most have left long ago."""
_DRAWS: Final = 2.0**52
"""How many numbers can be drawn; one more bit, and half a step below 1 would be rounded to 1."""


class Loaded(Protocol):
    """What a policy may know of an instance."""

    name: str
    """Where it is; no two have the same."""
    active: int
    """Requests in flight."""
    weight: float
    """Its share of the requests, above 0, held against the others' weights; it may change at any time."""


InstanceT = TypeVar("InstanceT", bound=Loaded)


class Policy(Protocol):
    """How one instance is picked from several.

    :ivar weighted: whether weights are heeded; clear as long as all are equal, so that they cost nothing.
    """

    weighted: bool

    def pick(self, instances: Sequence[InstanceT], key: bytes = b"") -> InstanceT:
        """One of ``instances``, a non-empty sequence, which may be another one each time.

        :param key: requests with the same one belong together, for a policy that keeps them together.
        """


class RoundRobin:
    """Each in its turn; with weights smoothly so: 3, 1 and 1 give ``a b a c a``, not ``a a a b c``."""

    weighted = False

    def __init__(self) -> None:
        self._turn = -1
        self._credit: dict[str, float] = {}

    def pick(self, instances: Sequence[InstanceT], key: bytes = b"") -> InstanceT:
        """The next one of ``instances``."""
        if self.weighted:
            return self._by_weight(instances)
        self._turn = (self._turn + 1) % len(instances)
        return instances[self._turn]

    def _by_weight(self, instances: Sequence[InstanceT]) -> InstanceT:
        """All earn their weight; the one that has most pays for all."""
        credit = self._credit
        if len(credit) > _MOST_NAMES:
            credit.clear()
        total, richest, most = 0.0, instances[0], float("-inf")
        for instance in instances:
            weight = instance.weight
            total += weight
            has = credit[instance.name] = credit.get(instance.name, 0.0) + weight
            if has > most:
                richest, most = instance, has
        credit[richest.name] = most - total
        return richest


class LeastRequests:
    """The one with the fewest requests in flight, for its weight; among equals, each in its turn."""

    weighted = False

    def __init__(self) -> None:
        self._turn = 0
        self._equals = RoundRobin()
        self._equals.weighted = True

    def pick(self, instances: Sequence[InstanceT], key: bytes = b"") -> InstanceT:
        """The least loaded of ``instances``."""
        if len(instances) == 1:
            return instances[0]
        if self.weighted:
            least = min(map(_load, instances))
            return self._equals.pick([instance for instance in instances if _load(instance) <= least])
        turn = self._turn % len(instances)
        in_turn = (*instances[turn:], *instances[:turn])
        picked = min(in_turn, key=_active)
        self._turn = turn + in_turn.index(picked) + 1
        return picked


class PowerOfTwo:
    """The less loaded of two that are drawn by lot, by weight: nearly the least loaded, without looking at all.

    :param draw: a number from 0 up to, but not, 1 each time it is called.
    """

    weighted = False

    def __init__(self, draw: Callable[[], float] = random) -> None:
        self._draw = draw

    def pick(self, instances: Sequence[InstanceT], key: bytes = b"") -> InstanceT:
        """The less loaded of two of ``instances``."""
        count = len(instances)
        if count == 1:
            return instances[0]
        if self.weighted:
            first = self._drawn(instances)
            second = self._drawn([instance for instance in instances if instance is not first])
            return second if _load(second) < _load(first) else first
        one, other = int(self._draw() * count), int(self._draw() * (count - 1))
        drawn, rival = instances[one], instances[other + (other >= one)]
        return rival if rival.active < drawn.active else drawn

    def _drawn(self, instances: Sequence[InstanceT]) -> InstanceT:
        left = self._draw() * sum(instance.weight for instance in instances)
        for instance in instances:
            left -= instance.weight
            if left < 0:
                return instance
        return instances[-1]  # what rounding left over


class Rendezvous:
    """The same one for the same key, in every process (rendezvous hashing, Thaler and Ravishankar 1998).

    Each instance draws a number from the key and its own name, and the highest wins: when one leaves, only its own
    keys go elsewhere. With weights the number is ``-weight / ln(u)`` for a draw ``u`` between 0 and 1, so that each
    wins as often as its weight says; and when a weight changes, keys move only to the one that gained, or from the one
    that lost.
    """

    weighted = False

    def pick(self, instances: Sequence[InstanceT], key: bytes = b"") -> InstanceT:
        """The one of ``instances`` that ``key`` belongs to."""
        if len(instances) == 1:
            return instances[0]
        winner, highest = instances[0], -1.0
        start = blake2b(key, digest_size=8)
        for instance in instances:
            draw = start.copy()
            draw.update(instance.name.encode())
            number = ((int.from_bytes(draw.digest()) >> 12) + 0.5) / _DRAWS
            if self.weighted:
                number = -instance.weight / log(number)
            if number > highest:
                winner, highest = instance, number
        return winner


def _active(instance: Loaded) -> int:
    return instance.active


def _load(instance: Loaded) -> float:
    return instance.active / instance.weight


POLICIES: Final[dict[str, Callable[[], Policy]]] = {
    "round-robin": RoundRobin,
    "least-requests": LeastRequests,
    "power-of-two": PowerOfTwo,
    "hash": Rendezvous,
}
"""The policies by their name in the configuration."""
