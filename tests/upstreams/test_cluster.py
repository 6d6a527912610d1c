"""Tests of gateway.upstreams.cluster."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from weakref import ref

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.errors import Unavailable
from gateway.upstreams.affinity import affinity
from gateway.upstreams.cluster import Cluster
from gateway.upstreams.health import ClusterHealth
from gateway.upstreams.instance import Instance

REQUEST: Any = SimpleNamespace(remote="192.0.2.9")


class ClusterTests(SynchronousTestCase):
    """Which instance a request gets."""

    def make(self, count: int, policy: str = "round-robin") -> Cluster:
        reactor = MemoryReactorClock()
        self.instances = [Instance(reactor, f"http://192.0.2.{number}") for number in range(1, count + 1)]
        return Cluster("core", self.instances, policy, ClusterHealth("core", reactor))

    def chosen(self, cluster: Cluster, count: int, tried: Instance | None = None) -> list[str]:
        """Where so many requests would go."""
        return [cluster.choose(REQUEST, tried).host[-1] for _ in range(count)]

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

    def test_none(self) -> None:
        """Before one is known, requests are to come again."""
        error = self.assertRaises(Unavailable, self.make(0).choose, REQUEST)
        self.assertEqual(error.fields, (b"Retry-After: 1\r\n",))

    def test_weights(self) -> None:
        """They count as soon as one differs."""
        cluster = self.make(2)
        self.assertEqual(self.chosen(cluster, 4), ["1", "2", "1", "2"])
        cluster.update([instance(1, weight=3), instance(2)])
        self.assertEqual(sorted(self.chosen(cluster, 8)), ["1"] * 6 + ["2"] * 2)

    def test_key(self) -> None:
        """Requests that have something in common go to the same instance, whatever the others do."""
        instances = [instance(number) for number in range(1, 5)]
        cluster = Cluster("core", instances, "hash", ClusterHealth("core", MemoryReactorClock()), affinity("client"))
        requests: list[Any] = [SimpleNamespace(remote=f"192.0.2.{number}") for number in range(20)]
        homes = [cluster.choose(request) for request in requests]
        self.assertEqual([cluster.choose(request) for request in requests], homes)
        self.assertEqual(set(homes), set(instances))


def instance(number: int, weight: float = 1.0) -> Instance:
    """One of the instances."""
    return Instance(MemoryReactorClock(), f"http://192.0.2.{number}", weight=weight)


class MembershipTests(SynchronousTestCase):
    """Instances come and go."""

    def setUp(self) -> None:
        self.first, self.second = instance(1), instance(2)
        health = ClusterHealth("core", MemoryReactorClock())
        self.cluster = Cluster("core", [self.first, self.second], "round-robin", health)

    def idle(self, of: Instance) -> Any:
        """A connection that wants to wait for work."""
        connection: Any = SimpleNamespace(aborted=False, slots=None)
        connection.abort = lambda: setattr(connection, "aborted", True)
        of.give_back(connection)
        return connection

    def test_one_stays(self) -> None:
        """It is the same object, with its connections."""
        idle = self.idle(self.first)
        self.cluster.update([instance(3), instance(1)])
        self.assertEqual([member.name for member in self.cluster.instances], ["192.0.2.3:80", "192.0.2.1:80"])
        self.assertIs(self.cluster.instances[1], self.first)
        self.assertFalse(idle.aborted)

    def test_one_leaves(self) -> None:
        """It is chosen no more, and its idle connections close; so do those at work, when they are done."""
        idle = self.idle(self.second)
        self.cluster.update([instance(1)])
        self.assertEqual({self.cluster.choose(REQUEST) for _ in range(4)}, {self.first})
        self.assertTrue(idle.aborted)
        self.assertTrue(self.idle(self.second).aborted)

    def test_one_comes_back(self) -> None:
        """While requests are in flight on it, it is still known, and taken back with them."""
        self.second.active = 1
        self.cluster.update([instance(1)])
        self.cluster.update([instance(1)])
        self.cluster.update([instance(1), instance(2)])
        self.assertIs(self.cluster.instances[1], self.second)
        self.assertFalse(self.idle(self.second).aborted)

    def test_one_is_forgotten(self) -> None:
        """When its last exchange is over, nothing is left of it."""
        left = ref(self.second)
        self.cluster.update([instance(1)])
        del self.second
        self.assertIsNone(left())
