"""Tests of gateway.core.balance."""

from __future__ import annotations

from collections import Counter
from unittest import TestCase

from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from gateway.core.balance import POLICIES, LeastRequests, RoundRobin
from gateway.interfaces import IBalancer


class FakeInstance:
    """One of several."""

    def __init__(self, name: str, active: int = 0) -> None:
        self.name = name
        self.active = active


def instances(*active: int) -> list[FakeInstance]:
    """Instances a, b, c ... with so many requests in flight."""
    return [FakeInstance(name, count) for name, count in zip("abcdefgh", active, strict=False)]


def picks(policy: RoundRobin | LeastRequests, several: list[FakeInstance], times: int) -> str:
    """The names of those picked, one after the other; what is picked is done at once."""
    return "".join(policy.pick(several).name for _ in range(times))


class BothTests(TestCase):
    """What every policy promises."""

    def test_names(self) -> None:
        """The configuration calls them by these names."""
        self.assertEqual(POLICIES, {"round-robin": RoundRobin, "least-requests": LeastRequests})

    def test_interface(self) -> None:
        """They are balancers."""
        for policy in POLICIES.values():
            self.assertTrue(verifyObject(IBalancer, policy(), tentative=True))

    def test_only_one(self) -> None:
        """It is picked, however busy."""
        for policy in POLICIES.values():
            self.assertEqual(picks(policy(), instances(1000), 3), "aaa")

    @given(st.integers(1, 8), st.sampled_from(sorted(POLICIES)))
    def test_equal_instances_share_equally(self, count: int, name: str) -> None:
        """In as many requests as there are instances, each gets one, and so in every round."""
        policy, several = POLICIES[name](), instances(*[0] * count)
        for _ in range(3):
            self.assertEqual(Counter(picks(policy, several, count)), Counter("abcdefgh"[:count]))

    @given(st.lists(st.integers(1, 8), min_size=1, max_size=20), st.sampled_from(sorted(POLICIES)))
    def test_instances_come_and_go(self, counts: list[int], name: str) -> None:
        """Some may be left out from one request to the next: one of those that are there is picked."""
        policy = POLICIES[name]()
        for count in counts:
            several = instances(*[0] * count)
            self.assertIn(policy.pick(several), several)


class RoundRobinTests(TestCase):
    """Each in its turn."""

    def test_order(self) -> None:
        """They are picked in their order, from the first, whatever they do."""
        self.assertEqual(picks(RoundRobin(), instances(9, 0, 5), 7), "abcabca")


class LeastRequestsTests(TestCase):
    """The least loaded."""

    @given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.integers(0, 10))
    def test_none_has_fewer(self, active: list[int], before: int) -> None:
        """Nobody has fewer requests in flight than the one that is picked."""
        policy, several = LeastRequests(), instances(*active)
        picks(policy, several, before)
        self.assertEqual(policy.pick(several).active, min(active))

    def test_equals_take_turns_beside_a_busy_one(self) -> None:
        """The turn of a busy instance is not its neighbour's: the idle ones share equally."""
        for busy in range(3):
            several = instances(*(int(index == busy) for index in range(3)))
            counts = Counter(picks(LeastRequests(), several, 12))
            self.assertEqual(sorted(counts.values()), [6, 6])

    def test_requests_that_stay(self) -> None:
        """A burst of requests that take long is spread evenly."""
        policy, several = LeastRequests(), instances(0, 0, 0)
        for _ in range(9):
            policy.pick(several).active += 1
        self.assertEqual([instance.active for instance in several], [3, 3, 3])

    def test_slow_instance(self) -> None:
        """One that answers slowly gets new requests only when the others have as many."""
        several = instances(2, 0)
        self.assertEqual(picks(LeastRequests(), several, 4), "bbbb")
