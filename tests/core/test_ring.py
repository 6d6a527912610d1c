"""Tests of gateway.core.ring."""

from __future__ import annotations

from collections import Counter
from hashlib import sha1
from unittest import TestCase

from gateway.core.ring import Ring

NAMES = [f"10.0.0.{number}:6379/0" for number in range(1, 5)]
KEYS = [f"rl:user:{number}" for number in range(4_000)]


class RingTests(TestCase):
    """Where keys belong."""

    def test_as_it_is_described(self) -> None:
        """The rule of the docstring, computed the plain way."""

        def number(text: str) -> int:
            return int.from_bytes(sha1(text.encode()).digest()[:8], "big")

        points = sorted((number(f"{name}#{i}"), name) for name in NAMES for i in range(160))
        ring = Ring(NAMES)
        for key in KEYS:
            expected = next((name for point, name in points if point >= number(key)), points[0][1])
            self.assertEqual(NAMES[ring.server(key)], expected)

    def test_each_has_its_share(self) -> None:
        """No server has less than two thirds or more than four thirds of what would be even."""
        shares = Counter(map(Ring(NAMES).server, KEYS))
        for server in range(4):
            self.assertTrue(2 / 3 < 4 * shares[server] / len(KEYS) < 4 / 3, shares)

    def test_one_more_moves_its_share_alone(self) -> None:
        """What moves goes to the new server; everything else stays where it was."""
        before, after = Ring(NAMES[:3]), Ring(NAMES)
        moved = [key for key in KEYS if before.server(key) != after.server(key)]
        self.assertEqual({after.server(key) for key in moved}, {3})
        self.assertLess(len(moved) / len(KEYS), 1 / 3)

    def test_the_order_of_names_does_not_matter(self) -> None:
        """Gateways that list them differently agree."""
        back = NAMES[::-1]
        one, other = Ring(NAMES), Ring(back)
        self.assertTrue(all(NAMES[one.server(key)] == back[other.server(key)] for key in KEYS))

    def test_any_text_is_a_key(self) -> None:
        """Half a surrogate pair too; one server has everything."""
        self.assertEqual([Ring(NAMES[:1]).server(key) for key in ("", "\ud800", "a")], [0, 0, 0])
