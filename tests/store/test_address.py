"""Tests of gateway.store.address."""

from __future__ import annotations

from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from gateway.store.address import Address


class AddressTests(SynchronousTestCase):
    """How the URL of a Redis is read."""

    def test_parts(self) -> None:
        """Every part, its default, and what is percent-encoded in it."""
        self.assertEqual(Address.parse("redis://h"), Address("h", 6379, 0, None, None, False))
        self.assertEqual(
            Address.parse("rediss://u%40x:p%3Aw@[::1]:7000/3"), Address("::1", 7000, 3, "u@x", "p:w", True)
        )
        self.assertEqual(Address.parse("redis://:pw@h/"), Address("h", 6379, 0, None, "pw", False))

    def test_mistakes(self) -> None:
        """What is no such URL says what one is, and never the password."""
        for url in (
            "http://:hush@h",
            "redis://",
            "redis://:hush@h/x",
            "redis://:hush@h:99999",
            "redis://:hush@h/0?a=1",
        ):
            error = self.assertRaises(ValueError, Address.parse, url)
            self.assertIn("Redis", str(error))
            self.assertNotIn("hush", str(error))

    def test_tls_verifies_the_server(self) -> None:
        """rediss:// wraps the connection, for the name in the URL."""
        clock: Any = MemoryReactorClock()
        plain = Address.parse("redis://redis.test").endpoint(clock)
        wrapped = Address.parse("rediss://redis.test").endpoint(clock)
        self.assertNotEqual(type(plain), type(wrapped))
