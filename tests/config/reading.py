"""What a function of the configuration takes as it is, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase


class Reading(SynchronousTestCase):
    """A TestCase of such functions."""

    def takes(self, read: Callable[[Any], object], *values: str) -> None:
        for value in values:
            self.assertEqual(read(value), value)

    def refuses(self, read: Callable[[Any], object], *values: object) -> None:
        for value in values:
            self.assertRaises(ValueError, read, value)
