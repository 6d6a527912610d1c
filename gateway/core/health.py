"""The health of one instance: what probes and requests say of it, and whether it is used. Time is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

FIRST_SHARE: Final = 0.1
"""Where slow start begins: the part of its usual requests that an instance gets when it has just come back."""


@dataclass(frozen=True, slots=True)
class Rules:
    """When an instance is used; times in seconds, 0 for a count that never ejects.

    :ivar failures: consecutive requests without a whole answer that eject it.
    :ivar errors: consecutive answers of 500, 502, 503 or 504 that eject it.
    :ivar time: how long it is ejected for the first time; the second time twice as long, and so on.
    :ivar max_time: how long it is ejected at most.
    :ivar slow_start: how long after its return its share of the requests grows.
    :ivar rise: consecutive good probes that bring it up.
    :ivar fall: consecutive bad probes that bring it down.
    """

    failures: int = 5
    errors: int = 3
    time: float = 30.0
    max_time: float = 300.0
    slow_start: float = 10.0
    rise: int = 2
    fall: int = 3


DEFAULT: Final = Rules()


class Health:
    """What is known of one instance.

    Requests eject it for a time; after that it is half-open: one request at a time is its trial, which brings it back
    or ejects it again. Probes bring it up and down, independently of that.
    """

    __slots__ = (
        "_errors",
        "_failures",
        "_probes",
        "_returned",
        "_rules",
        "_started",
        "_times",
        "_until",
        "doubtful",
        "ejected",
        "silent",
        "trial",
        "up",
    )

    def __init__(self, rules: Rules = DEFAULT) -> None:
        self._rules = rules
        self.up = True
        """What probes say; without any, an instance is up."""
        self.ejected = False
        """Whether requests were so bad that it gets none, or only its trial."""
        self.silent = False
        """Whether it does not answer any more, so that who waits for it had better ask another."""
        self.trial: Any = None
        """The request that is its trial, while there is one."""
        self.doubtful = False
        """Whether a good answer is news, to be told with :meth:`succeeded` and :meth:`completed`."""
        self._failures = self._errors = 0
        self._probes = 0  # those in a row that speak against ``up``
        self._times = 0  # it was ejected, less what was forgiven
        self._until = 0.0
        self._returned = 0.0
        self._started = float("-inf")

    @property
    def usable(self) -> bool:
        """Whether it is up and not ejected."""
        return self.up and not self.ejected

    def probed(self, good: bool, now: float) -> bool:
        """A probe is over; returns whether it has changed :attr:`up`."""
        if good is self.up:
            self._probes = 0
            return False
        self._probes += 1
        if self._probes < (self._rules.rise if good else self._rules.fall):
            return False
        self._probes = 0
        self.up = good
        self.silent = not good or (self.silent and self.ejected)
        if good:
            self._started = now
        return True

    def failed(self, request: object) -> bool:
        """A request had no whole answer; returns whether the instance should be ejected for that."""
        if self.ejected:
            return request is self.trial
        self._failures += 1
        self.doubtful = True
        return 0 < self._rules.failures <= self._failures

    def erred(self, request: object) -> bool:
        """A request was answered with an error of the server's; returns whether it should be ejected for that."""
        if self.ejected:
            return request is self.trial
        self._errors += 1
        self.doubtful = True
        return 0 < self._rules.errors <= self._errors

    def succeeded(self, request: object, now: float) -> bool:
        """The answer to a request has begun well; returns whether that has ended an ejection.

        Until an answer is whole, one more failure is enough for the next ejection then.
        """
        if self.ejected and request is not self.trial:
            return False  # an old request of before
        returns = self.ejected
        self._errors = 0
        if returns:
            self._failures = max(self._rules.failures - 1, 0)
        self.doubtful = self._failures > 0
        if not returns:
            return False
        self.ejected = False
        self.trial = None
        self.silent = not self.up
        self._returned = self._started = now
        return True

    def completed(self) -> None:
        """A request had a whole answer, good or bad."""
        if not self.ejected:
            self._failures = 0
            self.doubtful = self._errors > 0

    def eject(self, now: float, silent: bool) -> float:
        """Use it no more; returns for how many seconds.

        Each time takes longer than the one before; for each ``time`` that went well since its return, one is forgiven.

        :param silent: whether it gave no answers, or bad ones.
        """
        rules = self._rules
        if self._times and not self.ejected:
            self._times -= min(self._times, int((now - self._returned) / rules.time))
        if rules.time * self._times < rules.max_time:
            self._times += 1
        seconds = min(rules.time * self._times, rules.max_time)
        self._until = now + seconds
        self._failures = self._errors = 0
        self.ejected = self.doubtful = True
        self.trial = None
        self.silent = silent or not self.up
        return seconds

    def due(self, now: float) -> bool:
        """Whether its ejection is over, so that the next request may be its trial."""
        return self.ejected and self.trial is None and now >= self._until

    def share(self, now: float) -> float:
        """The part of its usual requests that it gets, up to 1: after its return it grows for ``slow_start``."""
        age = now - self._started
        slow_start = self._rules.slow_start
        return 1.0 if age >= slow_start else FIRST_SHARE + (1.0 - FIRST_SHARE) * age / slow_start
