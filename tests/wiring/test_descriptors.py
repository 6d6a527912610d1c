"""Tests of gateway.wiring.descriptors."""

from __future__ import annotations

import resource

from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from gateway.wiring.descriptors import RESERVE, enough_for


class DescriptorsTests(SynchronousTestCase):
    """A process with a soft and a hard limit of open files."""

    def setUp(self) -> None:
        self.told = EventLoggingObserver()
        globalLogPublisher.addObserver(self.told)
        self.addCleanup(globalLogPublisher.removeObserver, self.told)
        self.patch(resource, "getrlimit", lambda _: self.limits)
        self.patch(resource, "setrlimit", self.set_limits)

    def set_limits(self, _: int, limits: tuple[int, int]) -> None:
        self.limits = limits

    def enough(self, soft: int, hard: int) -> tuple[int, int]:
        """For how many of 1000 connections it is enough, and the soft limit after that."""
        self.limits = (soft, hard)
        return enough_for(1000), self.limits[0]

    def test_enough(self) -> None:
        """Nothing is changed."""
        for soft in (10_000, resource.RLIM_INFINITY):
            self.assertEqual(self.enough(soft, resource.RLIM_INFINITY), (1000, soft))

    def test_raised(self) -> None:
        """The soft limit is the process's own to raise."""
        for hard in (10_000, resource.RLIM_INFINITY):
            self.assertEqual(self.enough(256, hard), (1000, 2000 + RESERVE))
        self.assertEqual(list(self.told), [])

    def test_too_few(self) -> None:
        """Beyond the hard limit there are fewer connections, and the operator reads what to do."""
        self.assertEqual(self.enough(256, 1256), (500, 1256))
        self.assertIn("LimitNOFILE", self.told[0]["log_format"])

    def test_far_too_few(self) -> None:
        """One connection is always taken, so that somebody may find out."""
        self.assertEqual(self.enough(64, 64), (1, 64))
