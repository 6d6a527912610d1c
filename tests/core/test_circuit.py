"""Tests of gateway.core.circuit."""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from gateway.core.circuit import Circuit, Limits, Slots


class Waiting:
    """Somebody in a queue, who does ``then`` when woken."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.wakes = 0
        self._then = then

    def woken(self) -> None:
        self.wakes += 1
        self._then()


class SlotsTests(SynchronousTestCase):
    """So many at a time."""

    def setUp(self) -> None:
        self.slots = Slots(lambda: 2, 2)

    def test_so_many(self) -> None:
        """No more than there are; one that was given back can be taken again."""
        self.assertEqual([self.slots.take() for _ in range(3)], [True, True, False])
        self.slots.free()
        self.assertEqual([self.slots.take() for _ in range(2)], [True, False])

    def test_queue(self) -> None:
        """It is as long as it may be; who came first is woken first, one for each slot."""
        first, second, third = Waiting(), Waiting(), Waiting()
        self.slots.take()
        self.assertEqual([self.slots.wait(each) for each in (first, second, third)], [True, True, False])
        self.slots.free()
        self.assertEqual((first.wakes, second.wakes, third.wakes), (1, 0, 0))

    def test_leaving(self) -> None:
        """Who has left is not woken; who does not wait may leave, too."""
        waiting = Waiting()
        self.slots.wait(waiting)
        self.slots.leave(waiting)
        self.slots.leave(waiting)
        self.slots.wake()
        self.assertEqual(waiting.wakes, 0)

    def test_nobody_to_wake(self) -> None:
        """A wake that finds nobody takes nothing from the next one."""
        self.slots.wake()
        waiting = Waiting()
        self.slots.wait(waiting)
        self.slots.wake()
        self.assertEqual(waiting.wakes, 1)

    def test_fewer(self) -> None:
        """Where there are fewer now than were taken, none is left."""
        size = 3
        slots = Slots(lambda: size, 0)
        self.assertEqual([slots.take() for _ in range(3)], [True] * 3)
        size = 1
        slots.free()
        self.assertFalse(slots.take())

    def test_waiting_again(self) -> None:
        """Who finds nothing when woken goes to the end of the queue, and is not asked again at once."""
        slots = self.slots
        first, second = Waiting(lambda: slots.wait(first)), Waiting()
        slots.wait(first)
        slots.wait(second)
        slots.wake()
        self.assertEqual((first.wakes, second.wakes, list(slots.waiting)), (1, 0, [second, first]))

    def test_fewer_than_there_were(self) -> None:
        """Nobody is woken for a slot that is no more: who waits keeps its place, and its time."""
        size = 3
        slots = Slots(lambda: size, 2)
        for _ in range(3):
            slots.take()
        waiting = Waiting()
        slots.wait(waiting)
        size = 1
        woken = []
        for _ in range(3):
            slots.free()
            woken.append(waiting.wakes)
        self.assertEqual(woken, [0, 0, 1])

    def test_failing(self) -> None:
        """Somebody who fails when woken does not keep those who wait asleep for good."""

        def fail() -> None:
            raise ValueError

        failing, waiting = Waiting(fail), Waiting()
        self.slots.wait(failing)
        self.slots.wait(waiting)
        self.assertRaises(ValueError, self.slots.wake)
        self.slots.wake()
        self.assertEqual(waiting.wakes, 1)

    def test_giving_up_at_once(self) -> None:
        """A long queue of those who give their slot up at once does not end in deep recursion."""
        slots = Slots(lambda: 1, 10_000)

        def give_up() -> None:
            slots.take()
            slots.free()

        waiting = [Waiting(give_up) for _ in range(10_000)]
        for each in waiting:
            slots.wait(each)
        slots.take()
        slots.free()
        self.assertEqual((sum(each.wakes for each in waiting), slots.taken), (10_000, 0))


class CircuitTests(SynchronousTestCase):
    """What an upstream may have under way."""

    def test_usual_limits(self) -> None:
        """Those of docs/configuration.md."""
        self.assertEqual(Limits(), Limits(connections=8192, pending=1024, requests=4096, budget=0.2, minimum=3))

    def test_limits(self) -> None:
        """Each limit is the one that was given, and nothing is under way at first."""
        circuit = Circuit(Limits(connections=1, pending=2, requests=3, budget=0, minimum=1))
        self.assertEqual((circuit.requests, circuit.max_requests, circuit.retried), (0, 3, 0))
        self.assertEqual(circuit.refused, {"requests": 0, "pending": 0, "retries": 0})
        for slots in (circuit.connections, circuit.retries):
            self.assertEqual([slots.take(), slots.take()], [True, False])
            self.assertEqual([slots.wait(Waiting()) for _ in range(3)], [True, True, False])


class BudgetTests(SynchronousTestCase):
    """How many retries there may be."""

    def allowed(self, requests: int, limits: Limits) -> int:
        """Retries at a time, with so many requests under way."""
        circuit = Circuit(limits)
        circuit.requests = requests
        return sum(circuit.retries.take() for _ in range(1000))

    def test_budget(self) -> None:
        """A fifth of the requests, or three."""
        found = [self.allowed(requests, Limits()) for requests in (0, 1, 15, 19, 20, 100)]
        self.assertEqual(found, [3, 3, 3, 3, 4, 20])

    def test_none(self) -> None:
        """A budget of nothing is nothing."""
        self.assertEqual(self.allowed(100, Limits(budget=0, minimum=0)), 0)
