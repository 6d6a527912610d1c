"""Tests of gateway.http.timeouts."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway.http.timeouts import Timeouts


class TimeoutsTests(SynchronousTestCase):
    """Many waits, one timer."""

    def test_expire_in_order(self) -> None:
        """Each expires after its own wait, and a stopped one never."""
        clock = Clock()
        expired: list[str] = []
        timeouts = Timeouts(clock, 10, expired.append)
        timeouts.start("a")
        clock.advance(4)
        timeouts.start("b")
        timeouts.start("c")
        timeouts.stop("c")
        clock.advance(6)
        self.assertEqual(expired, ["a"])
        clock.advance(4)
        self.assertEqual(expired, ["a", "b"])
        self.assertEqual(len(clock.getDelayedCalls()), 0)
