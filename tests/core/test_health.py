"""Tests of gateway.core.health."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.health import FIRST_SHARE, Health, Rules

RULES = Rules()
TRIAL, OTHER = object(), object()
"""Requests."""


class ProbeTests(SynchronousTestCase):
    """What probes say."""

    def test_fall_and_rise(self) -> None:
        """Three bad probes in a row bring it down, two good ones up again; only the change is news."""
        health = Health()
        self.assertEqual([health.probed(good, 0) for good in (False, False, True, False, False, False, False)],
                         [False, False, False, False, False, True, False])  # fmt: skip
        self.assertEqual((health.up, health.usable, health.silent), (False, False, True))
        self.assertEqual([health.probed(good, 9) for good in (True, False, True, True)], [False, False, False, True])
        self.assertEqual((health.up, health.usable, health.silent), (True, True, False))

    def test_again(self) -> None:
        """After each change it takes as many probes as ever to change it back."""
        health = Health(Rules(rise=2, fall=2))
        self.assertEqual([health.probed(good, 0) for good in (False, False, True, True, False, False)],
                         [False, True, False, True, False, True])  # fmt: skip

    def test_slow_start(self) -> None:
        """Its share grows from a tenth to the whole; one that was never down has it from the beginning."""
        health = Health(Rules(rise=1, fall=1, slow_start=10))
        self.assertEqual(health.share(0), 1)
        health.probed(False, 0)
        health.probed(True, 100)
        self.assertEqual([health.share(now) for now in (100, 105, 110, 200)], [FIRST_SHARE, 0.55, 1, 1])

    def test_no_slow_start(self) -> None:
        """0 seconds of it are none."""
        health = Health(Rules(rise=1, fall=1, slow_start=0))
        health.probed(False, 0)
        health.probed(True, 100)
        self.assertEqual(health.share(100), 1)

    def test_silent(self) -> None:
        """Bad answers are answers: who is ejected for them is silent only when probes say so, too."""
        for up, silent, expected in ((True, True, True), (True, False, False), (False, False, True)):
            health = Health(Rules(fall=1))
            health.probed(up, 0)
            health.eject(0, silent)
            self.assertIs(health.silent, expected)

    def test_silent_for_two_reasons(self) -> None:
        """What answers its probes again, but is ejected for not answering, is silent still."""
        health = Health(Rules(rise=1, fall=1))
        health.eject(0, silent=True)
        health.probed(False, 1)
        health.probed(True, 2)
        self.assertTrue(health.silent)
        health.trial = TRIAL
        health.succeeded(TRIAL, 40)
        self.assertFalse(health.silent)


class EjectionTests(SynchronousTestCase):
    """What requests say."""

    def test_failures(self) -> None:
        """Five in a row are too many."""
        health = Health()
        self.assertEqual([health.failed(OTHER) for _ in range(5)], [False] * 4 + [True])

    def test_errors(self) -> None:
        """Three in a row are too many."""
        health = Health()
        self.assertEqual([health.erred(OTHER) for _ in range(3)], [False, False, True])

    def test_not_ejected_for_them(self) -> None:
        """One that is used nevertheless has a reason to be ejected with each that follows."""
        for bad in (Health.failed, Health.erred):
            for count in (1, 2):
                health = Health(Rules(failures=count, errors=count))
                self.assertEqual([bad(health, OTHER) for _ in range(4)], [False] * (count - 1) + [True] * (5 - count))

    def test_news(self) -> None:
        """A good answer is news only after a bad one."""
        for bad in (Health.failed, Health.erred):
            health = Health()
            self.assertFalse(health.doubtful)
            bad(health, OTHER)
            self.assertTrue(health.doubtful)

    def test_news_told(self) -> None:
        """A good head after an error is no news the second time."""
        health = Health()
        health.erred(OTHER)
        health.succeeded(OTHER, 0)
        self.assertFalse(health.doubtful)

    def test_counts_from_the_beginning(self) -> None:
        """After a good answer it takes as many bad ones as ever."""
        health = Health(Rules(failures=2, errors=2))
        for bad in (Health.failed, Health.erred):
            bad(health, OTHER)
            health.succeeded(OTHER, 0)
            health.completed()
            self.assertEqual([bad(health, OTHER) for _ in range(2)], [False, True])

    def test_success_between(self) -> None:
        """A good head sets the errors back, a whole answer the failures; then neither is news any more."""
        health = Health(Rules(failures=2, errors=2))
        health.failed(OTHER)
        health.erred(OTHER)
        self.assertFalse(health.succeeded(OTHER, 0))
        self.assertTrue(health.doubtful)
        health.completed()
        self.assertEqual((health.doubtful, health.failed(OTHER), health.erred(OTHER)), (False, False, False))

    def test_answers_that_only_begin_well(self) -> None:
        """They are failures as others are."""
        health = Health(Rules(failures=3))
        for expected in (False, False, True):
            health.succeeded(OTHER, 0)
            self.assertIs(health.failed(OTHER), expected)

    def test_whole_errors(self) -> None:
        """They are whole answers, and errors all the same."""
        health = Health(Rules(failures=2, errors=2))
        health.failed(OTHER)
        health.erred(OTHER)
        health.completed()
        self.assertEqual((health.doubtful, health.failed(OTHER), health.erred(OTHER)), (True, False, True))

    def test_never(self) -> None:
        """A count of 0 turns the rule off."""
        health = Health(Rules(failures=0, errors=0))
        self.assertFalse(any(health.failed(OTHER) or health.erred(OTHER) for _ in range(100)))

    def test_half_open(self) -> None:
        """After its time one trial is due, and its success brings the instance back, slowly."""
        health = Health()
        self.assertEqual(health.eject(0, silent=True), 30)
        self.assertEqual((health.usable, health.due(29), health.due(30)), (False, False, True))
        health.trial = TRIAL
        self.assertFalse(health.due(31))
        health.completed()  # an old request's, as the next one
        self.assertFalse(health.succeeded(OTHER, 31))
        self.assertTrue(health.doubtful)
        self.assertTrue(health.succeeded(TRIAL, 31))
        self.assertEqual((health.usable, health.share(31)), (True, FIRST_SHARE))

    def test_after_the_trial(self) -> None:
        """One failure is enough, until an answer was whole."""
        for whole in (False, True):
            health = Health()
            health.eject(0, silent=True)
            health.trial = TRIAL
            health.succeeded(TRIAL, 30)
            self.assertTrue(health.doubtful)
            if whole:
                health.completed()
            self.assertEqual((health.doubtful, health.failed(OTHER)), (not whole, not whole))

    def test_no_doubt_after_the_trial(self) -> None:
        """Where one failure is always enough, or none ever is, a trial that begins well leaves no doubt."""
        for failures in (0, 1):
            health = Health(Rules(failures=failures))
            health.eject(0, silent=True)
            health.trial = TRIAL
            health.succeeded(TRIAL, 30)
            self.assertFalse(health.doubtful, failures)

    def test_failed_trial(self) -> None:
        """One failure is enough, and old requests that fail meanwhile are none."""
        for fail in (Health.failed, Health.erred):
            health = Health()
            health.eject(0, silent=True)
            health.trial = TRIAL
            self.assertFalse(fail(health, OTHER))
            self.assertTrue(fail(health, TRIAL))

    def test_longer_each_time(self) -> None:
        """30 s, 60 s, and so on, 300 s at most."""
        health = Health()
        self.assertEqual([health.eject(0, silent=True) for _ in range(12)], [*range(30, 301, 30), 300, 300])

    def test_forgiven(self) -> None:
        """For each 30 s that went well since its return, one ejection."""
        for well, expected in ((0, 120), (29, 120), (30, 90), (65, 60), (1e9, 30)):
            health = Health()
            for _ in range(3):
                health.eject(0, silent=True)
            health.trial = TRIAL
            health.succeeded(TRIAL, 1000)
            self.assertEqual(health.eject(1000 + well, silent=False), expected, well)

    def test_forgiven_only_for_service(self) -> None:
        """However long its trial was waited for, that was no time that went well."""
        health = Health()
        health.eject(0, silent=True)
        self.assertEqual(health.eject(1000, silent=True), 60)

    def test_all_forgiven(self) -> None:
        """However often it was ejected: as long as the longest time, in whole ``time``, and all is forgiven."""
        for longest, well in ((300, 300), (100, 120)):
            health = Health(Rules(max_time=longest))
            for _ in range(20):
                health.eject(0, silent=True)
            health.trial = TRIAL
            health.succeeded(TRIAL, 1000)
            self.assertEqual(health.eject(1000 + well, silent=True), 30, longest)


class Life(RuleBasedStateMachine):
    """Whatever happens to an instance, in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.health = Health(RULES)
        self.now = 0.0

    @rule(seconds=st.floats(0, 400))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(good=st.booleans())
    def probe(self, good: bool) -> None:
        before = self.health.up
        assert self.health.probed(good, self.now) is (self.health.up is not before)

    @rule(error=st.booleans(), request=st.sampled_from((TRIAL, OTHER)))
    def bad(self, error: bool, request: object) -> None:
        if self.health.erred(request) if error else self.health.failed(request):
            seconds = self.health.eject(self.now, not error)
            assert RULES.time <= seconds <= RULES.max_time
            assert not self.health.due(self.now + seconds - 0.001)
            assert self.health.due(self.now + seconds + 0.001)

    @rule(request=st.sampled_from((TRIAL, OTHER)))
    def good(self, request: object) -> None:
        tried = self.health.trial is request
        assert self.health.succeeded(request, self.now) is tried

    @rule()
    def whole(self) -> None:
        self.health.completed()

    @rule()
    def trial(self) -> None:
        if self.health.due(self.now):
            self.health.trial = TRIAL

    @invariant()
    def sane(self) -> None:
        health = self.health
        assert health.usable is (health.up and not health.ejected)
        assert not (health.silent and health.usable)
        assert health.ejected or health.trial is None
        assert health.doubtful or not health.ejected
        assert FIRST_SHARE <= health.share(self.now) <= 1


class LifeTests(SynchronousTestCase):
    """Everything that may happen."""

    def test_life(self) -> None:
        """An instance is silent only while it is not used, on trial only while it is ejected, and never for ever."""
        run_state_machine_as_test(Life, settings=settings(max_examples=50, stateful_step_count=30))


class ShareTests(SynchronousTestCase):
    """Slow start."""

    @given(st.floats(0, 1e6), st.floats(0, 1e3))
    def test_never_less(self, first: float, more: float) -> None:
        """A share only grows."""
        health = Health(Rules(rise=1, fall=1))
        health.probed(False, 0)
        health.probed(True, 0)
        self.assertLessEqual(health.share(first), health.share(first + more))
