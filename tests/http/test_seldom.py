"""Tests of gateway.http.seldom."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway.http.seldom import Seldom


class SeldomTests(SynchronousTestCase):
    """What is told now and then."""

    def test_once_in_a_while(self) -> None:
        """The first time at once, then once in so many seconds, with the number of times between."""
        clock = Clock()
        seldom = Seldom(clock, 2.0)
        told = []
        for _ in range(5):
            told.append(seldom.due())
            clock.advance(1.0)
        self.assertEqual(told, [0, None, 1, None, 1])

    def test_several_in_a_while(self) -> None:
        """Where more than one may be told, those that come first are."""
        clock = Clock()
        seldom = Seldom(clock, 2.0, most=2)
        self.assertEqual([seldom.due() for _ in range(5)], [0, 0, None, None, None])
        clock.advance(2.0)
        self.assertEqual([seldom.due() for _ in range(3)], [3, 0, None])
