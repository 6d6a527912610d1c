"""Tests of gateway.core.overload."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway.core.overload import Overload

QUIET = 5.0


class OverloadTests(SynchronousTestCase):
    """Three requests may be open, and timers half a second late."""

    def setUp(self) -> None:
        self.overload = Overload(3, 0.5)
        self.now = 1000.0

    def run_late(self, late: float, seconds: float) -> None:
        """Measure four times a second."""
        for _ in range(int(seconds * 4)):
            self.now += 0.25
            self.overload.measure(late, self.now)

    def test_room(self) -> None:
        """As long as timers are in time there is room for as many as may be open."""
        self.assertEqual((self.overload.room, self.overload.open), (3, 0))
        self.run_late(0.01, 5)
        self.assertEqual(self.overload.room, 3)

    def test_within_bounds(self) -> None:
        """Timers may be late by more than half of what is allowed for as long as they like."""
        self.run_late(0.4, 20)
        self.assertEqual(self.overload.room, 3)

    def test_a_single_stall(self) -> None:
        """A collection of garbage, a process that was stopped, a clock that was set: over before it is noticed."""
        for late in (0.6, 10.0, 86400.0):
            self.overload.measure(late, self.now)
            self.run_late(0.0, 3)
            self.assertEqual(self.overload.room, 3)

    def test_late_for_long(self) -> None:
        """A second after the lag was too high there is room for none, until it has halved."""
        self.run_late(0.8, 0.5)
        self.assertGreater(self.overload.lag, 0.5)
        self.run_late(0.8, 0.75)
        self.assertEqual(self.overload.room, 3)
        self.run_late(0.8, 0.25)
        self.assertEqual(self.overload.room, 0)
        self.run_late(0.4, 5)
        self.assertEqual(self.overload.room, 0)
        self.run_late(0.0, 0.25)
        self.assertEqual((self.overload.room, 0.2 < self.overload.lag < 0.25), (3, True))

    def test_seldom_measured(self) -> None:
        """It is the time that counts, not how often anybody looked."""
        for now in (1000.0, 1000.7):
            self.overload.measure(2.0, now)
        self.assertEqual(self.overload.room, 3)
        self.overload.measure(2.0, 1060.0)
        self.assertEqual(self.overload.room, 0)

    def test_smoothed(self) -> None:
        """A measurement counts two fifths, and no more than twice of what is allowed."""
        self.overload.measure(0.5, 0)
        self.assertAlmostEqual(self.overload.lag, 0.2)
        self.overload.measure(0.1, 1)
        self.assertAlmostEqual(self.overload.lag, 0.16)
        self.overload.measure(99, 2)
        self.assertAlmostEqual(self.overload.lag, 0.496)

    def test_a_clock_that_is_set_back(self) -> None:
        """Timers that come early are not late."""
        self.overload.measure(-86400, self.now)
        self.assertEqual(self.overload.lag, 0)

    def test_reasons(self) -> None:
        """Refusals are counted by what there was too much of."""
        self.overload.refuse(0)
        self.run_late(0.8, 3)
        self.overload.refuse(0)
        self.overload.refuse(0)
        self.assertEqual(self.overload.shed, {"requests": 1, "lag": 2})

    def test_beginning_and_end(self) -> None:
        """The first refusal begins an overload; it ends a while after the last, and is as large as there were."""
        self.assertEqual([self.overload.refuse(now) for now in (10, 11, 12)], [True, False, False])
        self.assertEqual(self.overload.measure(0, 12 + QUIET - 0.1), 0)
        self.assertEqual(self.overload.measure(0, 12 + QUIET), 3)
        self.assertEqual(self.overload.measure(0, 13 + QUIET), 0)
        self.assertTrue(self.overload.refuse(30))
        self.assertEqual(self.overload.measure(0, 300), 1)
