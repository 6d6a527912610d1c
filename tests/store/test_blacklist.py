"""Tests of gateway.store.blacklist."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway.store import blacklist
from gateway.store.blacklist import Blacklist


class BlacklistTests(SynchronousTestCase):
    """Tests of Blacklist."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000)
        self.blacklist = Blacklist(self.clock)

    def test_follows_the_records(self) -> None:
        """What is written is revoked until it ends or is gone, whatever its value."""
        self.blacklist.tell("blacklist:a", "", 5.0)
        self.blacklist.tell("blacklist:b", "1", None)
        self.blacklist.tell("blacklist:c", None, None)
        self.assertEqual([name in self.blacklist for name in "abc"], [True, True, False])
        self.clock.advance(5)
        self.assertEqual([name in self.blacklist for name in "ab"], [False, True])
        self.blacklist.tell("blacklist:b", None, None)
        self.assertNotIn("b", self.blacklist)

    def test_is_bounded(self) -> None:
        """The one that was told first is forgotten; one that is told again is as new."""
        self.patch(blacklist, "REMEMBERED", 2)
        for name in "abac":
            self.blacklist.add(name)
        self.assertEqual([name in self.blacklist for name in "abc"], [True, False, True])
        self.assertEqual(len(self.blacklist), 2)
