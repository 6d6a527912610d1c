"""Tests of gateway.core.pace."""

from __future__ import annotations

from unittest.mock import Mock

from twisted.trial.unittest import SynchronousTestCase

from gateway.core.pace import Pace


class PaceTests(SynchronousTestCase):
    """Ten bytes a second, looked at every five seconds."""

    def setUp(self) -> None:
        self.pace = Pace(period=5, rate=10, now=100, amount=1000)

    def test_within_the_first_period(self) -> None:
        """Nobody is too slow yet, and the amount, which may take a system call, is not asked for."""
        amount = Mock()
        self.assertTrue(self.pace.kept(104.9, amount))
        amount.assert_not_called()

    def test_enough(self) -> None:
        """Exactly the rate is enough, in each period."""
        self.assertTrue(self.pace.kept(105, lambda: 1050))
        self.assertTrue(self.pace.kept(110, lambda: 1100))

    def test_too_little(self) -> None:
        """A byte less is not, however it came."""
        self.assertTrue(self.pace.kept(104, lambda: 1049))
        self.assertFalse(self.pace.kept(105, lambda: 1049))

    def test_looked_at_late(self) -> None:
        """A period is over when anybody looks after its end."""
        self.assertFalse(self.pace.kept(107, lambda: 1049))

    def test_a_quick_start_lends_nothing(self) -> None:
        """What came in one period does not count in the next."""
        self.assertTrue(self.pace.kept(105, lambda: 9000))
        self.assertFalse(self.pace.kept(110, lambda: 9000))
