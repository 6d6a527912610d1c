"""Tests of gateway.core.balance."""

from __future__ import annotations

from collections import Counter
from itertools import cycle
from random import Random
from unittest import TestCase

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.balance import POLICIES, LeastRequests, Policy, PowerOfTwo, Rendezvous, RoundRobin


class FakeInstance:
    """One of several."""

    def __init__(self, name: str, active: int = 0, weight: float = 1.0) -> None:
        self.name = name
        self.active = active
        self.weight = weight


def instances(*active: int) -> list[FakeInstance]:
    """Instances a, b, c ... with so many requests in flight."""
    return [FakeInstance(name, count) for name, count in zip("abcdefgh", active, strict=False)]


def weighing(*weights: float) -> list[FakeInstance]:
    """Instances a, b, c ... of these weights."""
    return [FakeInstance(name, 0, weight) for name, weight in zip("abcdefgh", weights, strict=False)]


def heedful(policy: Policy) -> Policy:
    """A policy that heeds weights."""
    policy.weighted = True
    return policy


def picks(policy: Policy, several: list[FakeInstance], times: int) -> str:
    """The names of those picked, one after the other; what is picked is done at once."""
    return "".join(policy.pick(several).name for _ in range(times))


class EveryTests(TestCase):
    """What every policy promises."""

    def test_names(self) -> None:
        """The configuration calls them by these names."""
        names = {"round-robin": RoundRobin, "least-requests": LeastRequests}
        self.assertEqual(POLICIES, {**names, "power-of-two": PowerOfTwo, "hash": Rendezvous})

    def test_only_one(self) -> None:
        """It is picked, however busy."""
        for policy in POLICIES.values():
            self.assertEqual(picks(policy(), instances(1000), 3), "aaa")
            self.assertEqual(picks(heedful(policy()), instances(1000), 3), "aaa")

    def test_weights_only_where_they_differ(self) -> None:
        """A new policy heeds none, since that costs time."""
        self.assertEqual([policy().weighted for policy in POLICIES.values()], [False] * 4)

    @given(st.integers(1, 8), st.sampled_from(["round-robin", "least-requests"]))
    def test_equal_instances_share_equally(self, count: int, name: str) -> None:
        """In as many requests as there are instances, each gets one, and so in every round."""
        policy, several = POLICIES[name](), instances(*[0] * count)
        for _ in range(3):
            self.assertEqual(Counter(picks(policy, several, count)), Counter("abcdefgh"[:count]))

    @given(st.lists(st.integers(1, 8), min_size=1, max_size=20), st.sampled_from(sorted(POLICIES)), st.booleans())
    def test_instances_come_and_go(self, counts: list[int], name: str, weighted: bool) -> None:
        """Some may be left out from one request to the next: one of those that are there is picked."""
        policy = POLICIES[name]()
        policy.weighted = weighted
        for count in counts:
            several = instances(*[0] * count)
            self.assertIn(policy.pick(several), several)


class RoundRobinTests(TestCase):
    """Each in its turn."""

    def test_order(self) -> None:
        """They are picked in their order, from the first, whatever they do."""
        self.assertEqual(picks(RoundRobin(), instances(9, 0, 5), 7), "abcabca")

    @given(st.lists(st.integers(1, 20), min_size=1, max_size=8))
    def test_weights(self, weights: list[int]) -> None:
        """In as many requests as all weights together, each gets as many as its own says, and so in every round."""
        policy, several = heedful(RoundRobin()), weighing(*weights)
        for _ in range(2):
            counts = Counter(picks(policy, several, sum(weights)))
            self.assertEqual([counts[instance.name] for instance in several], weights)

    def test_weights_are_spread(self) -> None:
        """A heavy one does not get all its requests at once."""
        self.assertEqual(picks(heedful(RoundRobin()), weighing(5, 1, 1), 7), "aabacaa")

    def test_a_weight_that_changes(self) -> None:
        """It counts from the next request on."""
        policy, several = heedful(RoundRobin()), weighing(1, 1)
        picks(policy, several, 2)
        several[0].weight = 0.25
        self.assertEqual(Counter(picks(policy, several, 10)), {"a": 2, "b": 8})

    def test_names_are_forgotten(self) -> None:
        """Of instances that come and go by the thousand, nothing is kept for ever."""
        policy = heedful(RoundRobin())
        for number in range(5000):
            policy.pick([FakeInstance(str(number))])
        self.assertLess(len(vars(policy)["_credit"]), 1100)


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

    def test_weights(self) -> None:
        """One with three times the weight has three times the requests in flight."""
        policy, several = heedful(LeastRequests()), weighing(3, 1)
        for _ in range(40):
            policy.pick(several).active += 1
        self.assertEqual([instance.active for instance in several], [30, 10])

    def test_weights_of_the_idle(self) -> None:
        """Requests that come one by one are shared by weight, too."""
        self.assertEqual(Counter(picks(heedful(LeastRequests()), weighing(3, 1), 8)), {"a": 6, "b": 2})


class PowerOfTwoTests(TestCase):
    """The better one of two."""

    def test_the_better_one(self) -> None:
        """Of the two that are drawn, who are never the same, the less loaded one is picked."""
        several = instances(5, 3, 9)
        for draws, expected in (((0, 0), "b"), ((0, 0.9), "a"), ((0.4, 0), "b"), ((0.9, 0.9), "b"), ((0.9, 0), "a")):
            self.assertEqual(PowerOfTwo(cycle(draws).__next__).pick(several).name, expected, draws)

    def test_share(self) -> None:
        """Those who are alike get alike."""
        counts = Counter(picks(PowerOfTwo(Random(1).random), instances(0, 0, 0, 0), 4000))
        self.assertTrue(all(900 < count < 1100 for count in counts.values()), counts)

    def test_weights(self) -> None:
        """Who weighs more is drawn more often, and carries more."""
        policy, several = heedful(PowerOfTwo(Random(1).random)), weighing(3, 1)
        counts = Counter(picks(policy, several, 4000))
        self.assertTrue(2850 < counts["a"] < 3150, counts)
        for _ in range(40):
            policy.pick(several).active += 1
        self.assertTrue(29 <= several[0].active <= 31)

    def test_the_better_one_for_its_weight(self) -> None:
        """Of two there are, the less loaded one is picked, whichever is drawn first."""
        several = weighing(2, 3)
        several[0].active = several[1].active = 1
        for draw in (0.0, 0.5, 0.9):
            self.assertEqual(heedful(PowerOfTwo(cycle((draw,)).__next__)).pick(several).name, "b")

    def test_what_rounding_leaves(self) -> None:
        """The last one, should a draw go beyond all weights."""
        self.assertEqual(heedful(PowerOfTwo(lambda: 1.0)).pick(weighing(0.1, 0.2)).name, "b")


KEYS = [str(number).encode() for number in range(1000)]


def homes(several: list[FakeInstance], weighted: bool = False) -> list[str]:
    """Where each key belongs."""
    policy = Rendezvous()
    policy.weighted = weighted
    return [policy.pick(several, key).name for key in KEYS]


class RendezvousTests(TestCase):
    """The same one for the same key."""

    def test_everywhere_the_same(self) -> None:
        """Every process, of every version, comes to the same result, whatever the order of the instances."""
        several = [FakeInstance(f"10.0.0.{number}:80") for number in range(1, 6)]
        expected = ["10.0.0.4:80", "10.0.0.4:80", "10.0.0.5:80"]
        for order in (several, several[::-1]):
            self.assertEqual([Rendezvous().pick(order, key).name for key in (b"ann", b"bob", b"192.0.2.1")], expected)

    @settings(max_examples=25)
    @given(st.integers(2, 8), st.data())
    def test_one_leaves(self, count: int, data: st.DataObject) -> None:
        """Only the keys of the one that left have another home."""
        several = instances(*[0] * count)
        left = data.draw(st.sampled_from(several))
        before = homes(several)
        after = homes([instance for instance in several if instance is not left])
        for was, now in zip(before, after, strict=True):
            self.assertTrue(was in (now, left.name))
        self.assertLess(before.count(left.name) / len(KEYS), 1.4 / count)

    @settings(max_examples=25)
    @given(st.lists(st.integers(1, 10), min_size=2, max_size=5))
    def test_weights(self, weights: list[int]) -> None:
        """Each has as many keys as its weight says."""
        counts = Counter(homes(weighing(*weights), weighted=True))
        for name, weight in zip("abcde", weights, strict=False):
            self.assertAlmostEqual(counts[name] / len(KEYS), weight / sum(weights), delta=0.08)

    @settings(max_examples=25)
    @given(st.floats(0.1, 10))
    def test_a_weight_that_changes(self, weight: float) -> None:
        """Keys move to the one that gained, or away from the one that lost, and nowhere else."""
        several = weighing(1, 1, 1, 1)
        before = homes(several, weighted=True)
        several[0].weight = weight
        for was, now in zip(before, homes(several, weighted=True), strict=True):
            self.assertTrue(was == now or (now if weight > 1 else was) == "a")

    def test_equal_weights(self) -> None:
        """Are as none."""
        self.assertEqual(homes(weighing(3, 3, 3), weighted=True), homes(instances(0, 0, 0)))
