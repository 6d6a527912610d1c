"""Tests of gateway.upstreams.cluster."""

from __future__ import annotations

from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from gateway.upstreams.cluster import Cluster
from gateway.upstreams.instance import Instance


class ClusterTests(SynchronousTestCase):
    """Which instance a request gets."""

    def make(self, count: int, policy: str = "round-robin") -> Cluster:
        reactor = MemoryReactorClock()
        self.instances = [Instance(reactor, f"http://192.0.2.{number}") for number in range(1, count + 1)]
        return Cluster("core", self.instances, policy)

    def chosen(self, cluster: Cluster, count: int, tried: Instance | None = None) -> list[str]:
        """Where so many requests would go."""
        return [cluster.choose(tried).host[-1] for _ in range(count)]

    def test_round_robin(self) -> None:
        """Each in its turn."""
        self.assertEqual(self.chosen(self.make(3), 4), ["1", "2", "3", "1"])

    def test_least_requests(self) -> None:
        """Those at work are left alone."""
        cluster = self.make(3, "least-requests")
        self.instances[0].active = self.instances[2].active = 1
        self.assertEqual(self.chosen(cluster, 3), ["2", "2", "2"])

    def test_another_than_the_one_tried(self) -> None:
        """A second try goes elsewhere."""
        cluster = self.make(2)
        self.assertEqual(self.chosen(cluster, 3, self.instances[0]), ["2", "2", "2"])

    def test_only_one(self) -> None:
        """Where there is no other, the one tried is tried again."""
        cluster = self.make(1)
        self.assertEqual(self.chosen(cluster, 2, self.instances[0]), ["1", "1"])

    def test_close(self) -> None:
        """All instances close their connections."""
        cluster = self.make(2)
        closed: list[Any] = []
        for instance in self.instances:
            self.patch(instance, "close", lambda instance=instance: closed.append(instance))
        cluster.close()
        self.assertEqual(closed, self.instances)
