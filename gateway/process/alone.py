"""A gateway in one process, without a supervisor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred

from gateway.process.service import END_MARGIN, ProcessService


class Alone(ProcessService):
    """Serves by itself.

    :param gateway: starts and stops with it.
    :param end: seconds until it has stopped.
    :param check: says what is wrong with the configuration as it is now; None when nothing is.
    """

    def __init__(
        self,
        reactor: Any,
        twistd: Mapping[str, Any],
        gateway: Any,
        end: float,
        check: Callable[[], str | None],
        **more: Any,
    ) -> None:
        super().__init__(reactor, twistd, **more)
        self._gateway = gateway
        self._end = end
        self._check = check

    def startService(self) -> None:
        """Listen."""
        super().startService()
        self._gateway.startService()

    def begin(self) -> None:
        """It serves already."""
        self._notify.ready("serves in one process")

    def stopService(self) -> Deferred[None]:
        """Take no more connections, and let requests finish."""
        super().stopService()
        self._notify.stopping(self._end + END_MARGIN)
        stopped: Deferred[None] = self._gateway.stopService()
        return stopped

    def reload(self) -> None:
        """Say what a reload would do, were there a supervisor."""
        mistakes = self._check()
        if mistakes is None:
            self.log.warn("The configuration is good, but a reload needs server.workers = 1 or more: restart instead")
        else:
            self.log.error("{mistakes}", mistakes=mistakes)

    def reopen(self) -> None:
        super().reopen()
        self._gateway.reopen()

    def hurry(self) -> None:
        self._gateway.hurry()
