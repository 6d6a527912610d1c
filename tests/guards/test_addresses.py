"""Tests of gateway.guards.addresses."""

from __future__ import annotations

from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.core.addresses import Networks
from gateway.core.errors import Forbidden
from gateway.guards.addresses import AddressGuard
from gateway.interfaces import IGuard


def networks(*texts: str) -> Networks:
    """The set of these networks."""
    return Networks(map(ip_network, texts))


class AddressGuardTests(SynchronousTestCase):
    """Who comes in."""

    def comes_in(self, guard: AddressGuard, remote: str) -> bool:
        request: Any = SimpleNamespace(remote=remote)
        try:
            self.assertIsNone(guard.check(request))  # type: ignore[func-returns-value]
        except Forbidden:
            return False
        return True

    def test_is_a_guard(self) -> None:
        """It provides the interface."""
        guard = AddressGuard(networks(), networks())
        verifyObject(IGuard, guard)
        self.assertEqual(guard.name, "addresses")

    def test_nothing_said(self) -> None:
        """Everybody comes in where no network is named, even who has no address (a Unix socket)."""
        for remote in ("192.0.2.1", "2001:db8::1", ""):
            self.assertTrue(self.comes_in(AddressGuard(networks(), networks()), remote))

    def test_allowed(self) -> None:
        """Where some are allowed, only they come in; who has no address does not."""
        guard = AddressGuard(networks("192.0.2.0/24", "2001:db8::/32"), networks())
        for remote, expected in {
            "192.0.2.1": True,
            "192.0.3.1": False,
            "2001:db8::1": True,
            "2001:db9::1": False,
            "::ffff:192.0.2.1": True,
            "": False,
            "unknown": False,
        }.items():
            self.assertEqual(self.comes_in(guard, remote), expected, remote)

    def test_denied(self) -> None:
        """Where some are denied, all others come in."""
        guard = AddressGuard(networks(), networks("192.0.2.0/24"))
        for remote, expected in {"192.0.2.1": False, "::ffff:192.0.2.1": False, "192.0.3.1": True, "": True}.items():
            self.assertEqual(self.comes_in(guard, remote), expected, remote)

    def test_deny_wins(self) -> None:
        """A denied network inside an allowed one stays out, and so does an allowed one inside a denied one."""
        wide, narrow = networks("192.0.2.0/24"), networks("192.0.2.128/25")
        self.assertFalse(self.comes_in(AddressGuard(wide, narrow), "192.0.2.200"))
        self.assertTrue(self.comes_in(AddressGuard(wide, narrow), "192.0.2.1"))
        self.assertFalse(self.comes_in(AddressGuard(narrow, wide), "192.0.2.200"))

    def test_refusal(self) -> None:
        """It says why, and nothing about the lists."""
        request: Any = SimpleNamespace(remote="192.0.2.1")
        error = self.assertRaises(Forbidden, AddressGuard(networks(), networks("0.0.0.0/0")).check, request)
        self.assertEqual((error.status, error.message), (403, "This address may not use this service"))
