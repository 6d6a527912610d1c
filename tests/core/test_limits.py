"""Tests of gateway.core.limits."""

from unittest import TestCase

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.limits import Limits


class LimitsTests(TestCase):
    """Which role may make how many requests, and the fields that say so."""

    def test_roles(self) -> None:
        """Each role has its own limit or none; guests and unknown roles get the default."""
        limits = Limits(10, {"admin": None, "user": 60}, 60)
        self.assertEqual([limits.for_role(role) for role in ("admin", "user", "", "other")], [None, 60, 10, 10])

    def test_lines(self) -> None:
        """The four fields of draft 6, in the order express-rate-limit has."""
        self.assertEqual(
            Limits(10, {}, 60).lines(60, 3, 58.001),
            b"RateLimit-Policy: 60;w=60\r\nRateLimit-Limit: 60\r\nRateLimit-Remaining: 57\r\nRateLimit-Reset: 59\r\n",
        )

    def test_made_once(self) -> None:
        """What many answers say alike is written once."""
        limits = Limits(10, {}, 60)
        self.assertIs(limits.lines(10, 3, 5.5), limits.lines(10, 3, 5.2))

    @given(st.integers(1, 200), st.integers(1, 500), st.integers(0, 60_000), st.integers(1, 90_000))
    def test_arithmetic(self, limit: int, hits: int, left: int, window: int) -> None:
        """Remaining is never negative, and Reset and the window are whole seconds rounded up."""
        written = Limits(limit, {}, window / 1000).lines(limit, hits, left / 1000)
        self.assertEqual(
            [line.partition(b": ")[2] for line in written.split(b"\r\n")[:-1]],
            [
                b"%d;w=%d" % (limit, -(-window // 1000)),
                b"%d" % limit,
                b"%d" % max(limit - hits, 0),
                b"%d" % -(-left // 1000),
            ],
        )
