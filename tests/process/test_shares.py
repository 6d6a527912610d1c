"""Tests of gateway.process.shares: whose the next connection is."""

from __future__ import annotations

import os

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway.process.shares import FREE, Shares, make


class SharesTests(SynchronousTestCase):
    """Three workers, of which two serve."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.memory = make(3)
        self.addCleanup(os.close, self.memory)
        self.connections = [0, 0]
        self.one, self.other = map(self.worker, range(2))

    def worker(self, number: int) -> Shares:
        """What it sees."""
        return Shares(os.dup(self.memory), number, lambda: self.connections[number], self.clock.seconds)

    def whose(self) -> tuple[bool, bool]:
        """Whether it is the one's, and the other's."""
        self.one.note()
        return self.other.mine(), self.one.mine()

    def test_fewest(self) -> None:
        """It is theirs who have no more than any other, or, where there are many, hardly more."""
        for connections, expected in (
            ([0, 0], (True, True)),
            ([0, 1], (False, True)),
            ([5, 5], (True, True)),
            ([5, 6], (False, True)),
            ([9, 2], (True, False)),
            ([100, 110], (True, True)),
            ([100, 111], (False, True)),
        ):
            self.connections = connections
            self.assertEqual(self.whose(), expected, connections)

    def test_alone(self) -> None:
        """Who has not begun to accept, or has ended that, is not held against the others."""
        self.connections = [7, 0]
        self.assertTrue(self.one.mine())
        self.other.note()
        self.assertFalse(self.one.mine())
        self.other.leave()
        self.assertTrue(self.one.mine())

    def test_left(self) -> None:
        """Where nobody took what was left to the others, it is one's own for a time."""
        self.connections = [7, 0]
        self.other.note()
        self.one.left()
        self.clock.advance(FREE * 0.9)
        self.assertTrue(self.one.mine())
        self.clock.advance(FREE * 0.1)
        self.assertFalse(self.one.mine())
