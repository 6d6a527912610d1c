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

    def test_sentinels(self) -> None:
        """Several places, the master's name and the database; user and password are those of Redis."""
        address = Address.parse("sentinel://u:p@one,two:7000/mymaster/3")
        self.assertEqual(address.sentinels, (("one", 26379), ("two", 7000)))
        self.assertEqual((address.service, address.database), ("mymaster", 3))
        self.assertEqual((address.user, address.password), ("u", "p"))
        self.assertEqual(Address.parse("sentinel://one/mymaster").database, 0)

    def test_names(self) -> None:
        """What a server is called never has its password."""
        self.assertEqual(Address.parse("redis://:pw@h:7000/2").name, "h:7000/2")
        self.assertEqual(Address.parse("sentinel://:pw@h/mymaster").name, "mymaster/0")

    def test_tls_verifies_the_server(self) -> None:
        """rediss:// wraps the connection, for the name in the URL."""
        clock: Any = MemoryReactorClock()
        plain = Address.parse("redis://redis.test").at(clock, "redis.test", 6379)
        wrapped = Address.parse("rediss://redis.test").at(clock, "redis.test", 6379)
        self.assertNotEqual(type(plain), type(wrapped))
