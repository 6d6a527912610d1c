"""Tests of the topology: what all of them have in common."""

from __future__ import annotations

import atexit
import functools
from collections.abc import Iterator
from contextlib import contextmanager

from twisted.trial.unittest import SynchronousTestCase

from tests.faults.load import Load
from tests.integration.processes import wait_for
from tests.topology.held import Held, held_socket
from tests.topology.platform import Gateway, platform

SLOW = 0.5
"""Seconds after which an answer is late; machines that are started share the cores with all others here."""


@functools.cache
def _seen() -> list[str]:
    lines: list[str] = []
    atexit.register(lambda: print("\n".join(["", "What was seen:", *lines]), flush=True))
    return lines


def note(text: str) -> None:
    """Keep a figure for the end of the run; docs/topology.md quotes them."""
    _seen().append(f"  {text}")


class TopologyCase(SynchronousTestCase):
    """Each test begins and ends with everything in order."""

    def setUp(self) -> None:
        self.platform = platform()
        self.net = self.platform.net
        self.well()
        self.addCleanup(self.well)

    def well(self) -> None:
        """Wait until every gateway serves, with Redis, and both balancers use all of them."""
        gateways = self.platform.gateways
        wait_for(lambda: all(each.ready() and not each.cut_off() for each in gateways), "all are ready", 30)
        wait_for(lambda: self.platform.up() == {1, 2, 3}, "all are used", 30)

    def gateway(self, number: int) -> Gateway:
        """The one on machine ``gateway-number``."""
        return self.platform.gateways[number - 1]

    def pull(self, name: str, *bridges: str) -> None:
        """Cut a machine off."""
        for bridge in bridges:
            self.net.pull(name, bridge)
            self.addCleanup(self.net.plug, name, bridge)

    def plug(self, name: str, *bridges: str) -> None:
        """It is back."""
        for bridge in bridges:
            self.net.plug(name, bridge)

    def held(self, held: Held) -> Held:
        """It ends with the test at the latest."""
        self.addCleanup(held.leave)
        return held

    def sockets(self, count: int) -> list[Held]:
        """So many WebSockets, through the balancer."""
        return [self.held(held_socket(self.platform.socket())) for _ in range(count)]

    @contextmanager
    def loads(self) -> Iterator[tuple[Load, Load, Load]]:
        """Clients that ask on connections they keep, on new ones, and with POST."""
        of = self.platform.load
        with of("kept") as kept, of("new", ["Connection: close"]) as new, of("post", method="POST", clients=2) as post:
            yield kept, new, post

    def told(self, what: str, *loads: Load) -> None:
        """Note how many requests there were, how many failed, and how long they took."""
        for load in loads:
            outcomes = load.outcomes()
            failed = sum(outcome.status != 200 for outcome in outcomes)
            late = sum(outcome.seconds > SLOW for outcome in outcomes)
            slowest = max(outcome.seconds for outcome in outcomes)
            said = f"{len(outcomes)} requests, {failed} failed, {late} later than {SLOW} s, slowest {slowest:.2f} s"
            note(f"{what}: {said}")
