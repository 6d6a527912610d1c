"""The health of an upstream: which of its instances are used now, by what probes and requests say of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import random
from typing import TYPE_CHECKING, Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from gateway.upstreams.instance import Instance

if TYPE_CHECKING:
    from gateway.http.request import Request

ERRORS: Final = frozenset((500, 502, 503, 504))
"""Answers that say something of the instance, whatever was asked."""


class ClusterHealth:
    """Holds the instances of one upstream against each other, and tells their changes in the log.

    :param upstream: the upstream's name.
    :param chance: numbers in [0, 1), for slow start.
    """

    _log = Logger()

    def __init__(self, upstream: str, clock: IReactorTime, chance: Callable[[], float] = random) -> None:
        self.troubled = False
        """Whether an instance is not used as the others are, so that :meth:`usable` must be asked."""
        self.ejections = 0
        """Since the start."""
        self._upstream = upstream
        self._clock = clock
        self._chance = chance
        self._instances: Sequence[Instance] = ()

    def follow(self, instances: Sequence[Instance]) -> None:
        """From now on these are the upstream's instances."""
        self._instances = instances
        self.troubled = True  # until it has been looked

    def usable(self, request: Request, tried: Instance | None = None) -> Sequence[Instance]:
        """The instances for one request: never none where there is one.

        Of those that are up and not ejected the ones of the best priority; an instance whose trial is due, alone; one
        that starts slowly, sometimes. When probes find all of them down, or all that are up are ejected, that is
        believed of none: an attempt may fail, no attempt is sure to.

        :param tried: the instance that failed the request before; then there is another one where there can be, and
            there are no trials, and no slow starts.
        """
        now = self._clock.seconds()
        found = [instance for instance in self._instances if instance.health.up] or self._instances
        good = [instance for instance in found if not instance.health.ejected] or found
        if tried is not None:
            return best([instance for instance in good if instance is not tried] or good)
        used = best(good)
        for instance in found:
            if instance.health.due(now) and instance.priority <= used[0].priority:
                instance.health.trial = request
                return (instance,)
        shares = [instance.health.share(now) for instance in good]
        if len(good) == len(self._instances) and min(shares, default=1.0) >= 1.0:
            self.troubled = not all(instance.health.usable for instance in good)
        some = [each for each, share in zip(good, shares, strict=True) if share >= 1.0 or self._chance() < share]
        return best(some) or used

    def others(self, instance: Instance) -> bool:
        """Whether there is another usable instance."""
        return any(each is not instance and each.health.usable for each in self._instances)

    def probed(self, instance: Instance, good: bool, why: str) -> None:
        """A probe of an instance is over.

        :param why: what was wrong with it.
        """
        if instance.health.probed(good, self._clock.seconds()):
            self.troubled = True
            if good:
                self._log.info("{upstream}: {name} is up again", upstream=self._upstream, name=instance.name)
            else:
                self._log.warn(
                    "{upstream}: {name} is down: {why}", upstream=self._upstream, name=instance.name, why=why
                )
                instance.close()

    def failed(self, instance: Instance, request: Request) -> None:
        """A request to an instance had no whole answer."""
        if instance.health.failed(request):
            self._eject(instance, "it does not answer", True)

    def answered(self, instance: Instance, request: Request, status: int) -> None:
        """An instance has begun to answer; to be told of errors, and where its health is doubtful."""
        health = instance.health
        if status in ERRORS:
            if health.erred(request):
                self._eject(instance, f"it answers {status}", False)
        elif health.doubtful and health.succeeded(request, self._clock.seconds()):
            self._log.info("{upstream}: {name} is used again", upstream=self._upstream, name=instance.name)

    def _eject(self, instance: Instance, why: str, silent: bool) -> None:
        """Eject an instance, unless it is the last."""
        if not instance.health.ejected and not self.others(instance):
            return
        seconds = instance.health.eject(self._clock.seconds(), silent)
        self.troubled = True
        self.ejections += 1
        self._log.warn(
            "{upstream}: {name} is ejected for {seconds:.0f} s: {why}",
            upstream=self._upstream,
            name=instance.name,
            seconds=seconds,
            why=why,
        )
        instance.close()


def best(instances: Sequence[Instance]) -> Sequence[Instance]:
    """Those of the best priority there is; none where there are none."""
    priority = min((instance.priority for instance in instances), default=0)
    return [instance for instance in instances if instance.priority == priority]
