"""The table of the reliability goals holds the newest measurement of each, and its rows judge rightly."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bench.reliability.load import OK, Answers, Outcome
from bench.reliability.rows import Result, _first_after, _on_killed, _too_early
from bench.reliability.table import merged
from tests.faults.streams import Life


class TableTests(SynchronousTestCase):
    """bench/RELIABILITY.md."""

    def test_merged(self) -> None:
        """A line is replaced when its goal is measured again; the others stay as they are."""
        text = merged("", [Result("one", "**0 failed**", True), Result("other", "3 failed", False)], "then")
        text = merged(text, [Result("one", "1 failed", False)], "now")
        self.assertEqual(
            text.splitlines()[-2:],
            ["| one | 1 failed | **not met** | now |", "| other | 3 failed | **not met** | then |"],
        )


class JudgementTests(SynchronousTestCase):
    """What counts as failed, lost with its worker, or cut too early."""

    def test_answers(self) -> None:
        """Those that failed are counted by their reason."""
        outcomes = [Outcome(number, 0.1 * number, OK if number else "status 503", 1, 0) for number in range(10)]
        answers = Answers(outcomes)
        self.assertEqual((answers.causes, len(answers.between(5).all)), ("1 status 503", 5))
        self.assertAlmostEqual(answers.quantile(1), 0.9)

    def test_on_killed(self) -> None:
        """A request was lost with a worker when it was under way then, on one of its connections."""
        kills = [(10.0, {7})]
        self.assertTrue(_on_killed(Outcome(9.8, 0.2, "cut", 7, 9.9), kills))
        for other in (
            Outcome(9.8, 0.2, "cut", 8, 9.9),
            Outcome(10.1, 0.2, "cut", 7, 10.1),
            Outcome(9, 0.1, "cut", 7, 9),
        ):
            self.assertFalse(_on_killed(other, kills))

    def test_too_early(self) -> None:
        """A connection has the drain time from the first take-over after it began."""
        for ended, expected in ((0.0, False), (12.0, False), (11.5, True), (9.0, True)):
            life = Life("websocket", 5.0, ended, "1012", 0)
            self.assertEqual(
                (_first_after(life, [1.0, 10.0, 20.0]), _too_early(life, [1.0, 10.0, 20.0])), (10, expected)
            )
        self.assertTrue(_too_early(Life("events", 5.0, 6.0, "cut", 0), []))
