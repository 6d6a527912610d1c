"""How the results of trial are counted."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.run import NO_NODE, Counts, summary


class SummaryTests(SynchronousTestCase):
    """Trial's last line, and what it counts for."""

    def test_all_passed(self) -> None:
        """Successes are what passed."""
        self.assertEqual(summary(0, "Ran 12 tests in 0.1s\n\nPASSED (successes=12)\n"), Counts(12, 0))

    def test_everything_else_failed(self) -> None:
        """Failures, errors and skips all count as failed."""
        said = "FAILED (skips=1, failures=2, errors=3, successes=4)\n"
        self.assertEqual(summary(1, said), Counts(4, 6))
        self.assertEqual(summary(0, "PASSED (skips=2, successes=4)\n"), Counts(4, 2))

    def test_without_node(self) -> None:
        """Tests skipped for want of node, and only they, are counted apart."""
        said = (
            f"{'=' * 79}\n[SKIPPED]\n{NO_NODE}\n\ntests.a.B.test_c\ntests.a.B.test_d\n"
            f"{'=' * 79}\n[SKIPPED]\nnot today\n\ntests.a.B.test_e\n"
            f"{'-' * 79}\nRan 9 tests in 0.1s\n\nPASSED (skips=3, successes=6)\n"
        )
        self.assertEqual(summary(0, said), Counts(6, 1, 2))

    def test_no_tests(self) -> None:
        """A run of no tests is a failure, and so is one that never came to its summary."""
        self.assertEqual(summary(0, "Ran 0 tests in 0.000s\n\nPASSED\n"), Counts(0, 1))
        self.assertEqual(summary(1, "Traceback\n"), Counts(0, 1))

    def test_exit_status(self) -> None:
        """A good summary with a bad exit status is a failure."""
        self.assertEqual(summary(1, "PASSED (successes=12)\n"), Counts(12, 1))
