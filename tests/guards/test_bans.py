"""Tests of gateway.guards.bans."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.core.addresses import Networks
from gateway.core.bans import Ban, BanList
from gateway.core.errors import Banned
from gateway.guards.bans import BanGuard
from gateway.interfaces import IGuard


class BanGuardTests(SynchronousTestCase):
    """Who is let on."""

    def setUp(self) -> None:
        """A guard that knows of three bans."""
        bans = BanList(Networks(), 56)
        bans.put("192.0.2.1", Ban(0, 100.0, "", 1))
        bans.put("192.0.2.2", Ban(0, None, "", 0))
        self.guard = BanGuard(bans)

    def check(self, remote: str, now: float) -> None:
        request: Any = SimpleNamespace(remote=remote, received=now)
        self.guard.check(request)

    def test_is_a_guard(self) -> None:
        """It provides the interface."""
        verifyObject(IGuard, self.guard)
        self.assertEqual(self.guard.name, "bans")

    def test_others(self) -> None:
        """Who is not banned, or not any longer, passes."""
        self.check("192.0.2.3", 50)
        self.check("192.0.2.1", 100)

    def test_banned(self) -> None:
        """A banned client is told when to come again."""
        error = self.assertRaises(Banned, self.check, "192.0.2.1", 30.5)
        self.assertEqual(error.fields, (b"Retry-After: 70\r\n",))

    def test_until_lifted(self) -> None:
        """Who is banned until it is lifted is not."""
        self.assertEqual(self.assertRaises(Banned, self.check, "192.0.2.2", 50).fields, ())
