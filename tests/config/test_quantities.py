"""Tests of gateway.config.quantities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.config.quantities import count, duration, limit, part, size, subscriber_prefix, weight, workers

ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12), st.lists(st.integers(), max_size=2)
)


class QuantityTests(SynchronousTestCase):
    """Numbers with units, and without."""

    def refuses(self, read: Callable[[Any], object], *values: object) -> None:
        for value in values:
            self.assertRaises(ValueError, read, value)

    def test_durations(self) -> None:
        """Times are seconds, whatever their unit; without one they are seconds already."""
        self.assertEqual(
            [duration(value) for value in ("50ms", "5s", "1.5 m", "1h", "30d", "30", 7, 0.25)],
            [0.05, 5, 90, 3600, 2_592_000, 30, 7, 0.25],
        )
        self.refuses(duration, "5 parsecs", "-1s", "", "s", 0, -1, True, None, [1], float("nan"), float("inf"), "9999h")
        self.refuses(duration, 10**400)

    def test_no_time_at_all(self) -> None:
        """Zero is a time only where it means something."""
        self.assertEqual(duration("0s", zero=True), 0)
        self.refuses(duration, "0s")

    def test_sizes(self) -> None:
        """Sizes are whole bytes, in powers of 1024."""
        self.assertEqual(
            [size(value) for value in ("1 B", "64 KiB", "10MiB", "0.5 GiB", "100", 100)],
            [1, 2**16, 10 * 2**20, 2**29, 100, 100],
        )
        self.refuses(size, "10 MB", "10 mib", 0, 0.5, -1, False, "2000 GiB", {})

    def test_weights(self) -> None:
        """Weights are whole, and not so far apart that one is never met."""
        self.assertEqual([weight("3"), weight(1), weight(1000)], [3, 1, 1000])
        self.refuses(weight, 0, -1, 1.5, True, "x", 1001)

    def test_counts(self) -> None:
        """Counts have a least value; digits in a string are a number."""
        self.assertEqual([count(1)("12"), count(0)(0)], [12, 0])
        self.refuses(count(1), 0, -1, "1.5", 1.5, True, "x", 2**31, "99999999999")

    def test_limits(self) -> None:
        """A limit is above zero, or none."""
        self.assertEqual([limit(10), limit("120"), limit("unlimited")], [10, 120, None])
        self.refuses(limit, 0, -5, "Unlimited", None, "")

    def test_workers(self) -> None:
        """Processes are counted, or left to the machine."""
        self.assertEqual([workers("auto"), workers(0), workers("4")], ["auto", 0, 4])
        self.refuses(workers, -1, "many", True)

    def test_subscribers(self) -> None:
        """An IPv6 subscriber has between 32 and 128 bits."""
        self.assertEqual([subscriber_prefix(32), subscriber_prefix("128")], [32, 128])
        self.refuses(subscriber_prefix, 31, 129, "wide")

    def test_parts(self) -> None:
        """Numbers from 0 to 1."""
        self.assertEqual([part(value) for value in (0, "0.2", 1)], [0, 0.2, 1])
        self.refuses(part, 1.1, -0.1, "20 %", True)

    @given(ANYTHING)
    def test_anything(self, value: object) -> None:
        """Whatever stands there is read, or refused with words; numbers that pass are within their bounds."""
        for read in (duration, size, count(1), limit, workers, part):
            try:
                number: Any = read(value)
            except ValueError as error:
                self.assertTrue(str(error))
            else:
                self.assertTrue(number in (None, "auto") or 0 <= number < 2**41)
