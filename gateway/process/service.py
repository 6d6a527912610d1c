"""What every process of a gateway has in common: its log, its signals, its exit status."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.application import service
from twisted.internet.task import LoopingCall
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized

from gateway.process import orphans
from gateway.process.notify import Notify
from gateway.telemetry.logs import LogFile, destination, observer

FEEDINGS: Final = 4
"""How often systemd's watchdog is fed within its time. A worker that hangs starves it for five seconds before it is
killed: with two, it may come to its end in that very moment.
"""
END_MARGIN: Final = 5.0
"""Seconds that a process may take to end when its requests are over."""
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


def _fail() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


class ProcessService(service.Service):
    """A process that twistd runs, and tells systemd how it is where that started it.

    SIGTERM ends it in good order and with status 0, where Twisted would end it by that signal again; another one ends
    it at once. SIGUSR1 opens log files anew.

    :param twistd: twistd's own options, which say where to log.
    :param install: how signal handlers are installed.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        twistd: Mapping[str, Any],
        install: Callable[[int, Any], Any] = signal.signal,
    ) -> None:
        self.reactor = reactor
        self.stopping = False
        self._twistd = twistd
        self._install = install
        self._out: Any = None
        self._notify = Notify(os.environ, os.getpid())
        self._feeding = LoopingCall(self._feed)
        self._feeding.clock = reactor

    # -- what each kind of process does ---------------------------------------------------------------------------

    def begin(self) -> None:
        """The reactor runs."""
        raise NotImplementedError

    def reload(self) -> None:
        """A new configuration, or new code, is to be used."""
        raise NotImplementedError

    def reopen(self) -> None:
        """Log files are to be opened anew."""
        if isinstance(self._out, LogFile):
            self._out.reopen()

    def hurry(self) -> None:
        """Stop, which it does already, is to be over at once."""
        raise NotImplementedError

    def answering(self) -> bool:
        """Whether all of it is well enough for systemd to hear that it lives; that its reactor runs is certain."""
        return True

    # -- what all do ----------------------------------------------------------------------------------------------

    def setServiceParent(self, parent: Any) -> None:
        """Join an application; one that twistd runs logs as the gateway does."""
        if isinstance(parent, Componentized):
            self._out = destination(self._twistd)
            if self._out is not None:
                parent.setComponent(ILogObserver, observer(self._out))
        super().setServiceParent(parent)

    def startService(self) -> None:
        """Begin when the reactor runs, and mind signals from then on."""
        super().startService()
        self.reactor.callWhenRunning(self._begin)

    def stop(self) -> None:
        """End in good order; at once when that was said before."""
        if self.stopping:
            self.hurry()
        else:
            self.stopping = True
            self.reactor.stop()

    def fail(self, reason: str) -> None:
        """End with exit status 1, and the reason in the log."""
        self.log.critical("{reason}", reason=reason)
        atexit.register(_fail)  # twistd itself returns 0 whatever has happened since the reactor runs
        if not self.stopping:
            self.stop()

    def _begin(self) -> None:
        actions = dict(zip(SIGNALS, (self.stop, self.stop, self.reload, self.reopen), strict=True))
        for number, action in actions.items():
            self._install(number, lambda *_, action=action: self.reactor.callFromThread(action))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        self.reactor.addSystemEventTrigger("after", "shutdown", self._ended)
        if os.getpid() == orphans.INIT:
            reaping = LoopingCall(orphans.reap)
            reaping.clock = self.reactor
            reaping.start(orphans.PERIOD)
        self.begin()
        if self._notify.watchdog is not None:
            self._feeding.start(self._notify.watchdog / FEEDINGS)

    def _feed(self) -> None:
        if self.answering():
            self._notify.alive()

    def _ended(self) -> None:
        if self._feeding.running:
            self._feeding.stop()
        for number in SIGNALS:  # one that comes while the interpreter ends would decide its exit status
            self._install(number, signal.SIG_IGN)
