"""Tests of gateway.process.orphans, on a kernel in memory."""

from __future__ import annotations

import os
from types import SimpleNamespace
from unittest.mock import Mock

from twisted.trial.unittest import SynchronousTestCase

from gateway.process import orphans

OURS = 7
"""A child that Twisted started, and will take note of."""


class OrphansTests(SynchronousTestCase):
    """Which children are let go."""

    def setUp(self) -> None:
        """The children that have ended, in the kernel's order."""
        self.ended: list[int] = []
        self.patch(os, "waitid", self.waitid)
        self.patch(os, "waitpid", lambda pid, _: self.ended.remove(pid))
        self.patch(orphans, "reapProcessHandlers", {OURS: None})

    def waitid(self, *_: int) -> SimpleNamespace | None:
        """The first one of them."""
        return SimpleNamespace(si_pid=self.ended[0]) if self.ended else None

    def test_strangers(self) -> None:
        """All that have ended, up to one of ours; that waits for Twisted."""
        self.ended += [3, 4, OURS, 5]
        orphans.reap()
        self.assertEqual(self.ended, [OURS, 5])
        self.ended.remove(OURS)
        orphans.reap()
        self.assertEqual(self.ended, [])

    def test_nobody(self) -> None:
        """Without children there is nothing to do."""
        self.patch(os, "waitid", Mock(side_effect=ChildProcessError))
        orphans.reap()
