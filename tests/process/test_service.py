"""Tests of gateway.process.service: the log, the signals and the exit status of every process."""

from __future__ import annotations

import atexit
import io
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.application import service
from twisted.internet.defer import Deferred
from twisted.internet.testing import EventLoggingObserver, MemoryReactorClock
from twisted.logger import ILogObserver, LogLevel, globalLogPublisher
from twisted.python.components import Componentized
from twisted.trial.unittest import SynchronousTestCase

from gateway.process import orphans
from gateway.process.alone import Alone
from gateway.process.notify import Notify
from gateway.process.service import ProcessService


class Reactor(MemoryReactorClock):
    """A reactor that can be told to run and to stop."""

    def __init__(self) -> None:
        super().__init__()
        self.stops = 0

    def callFromThread(self, function: Callable[[], None]) -> None:
        function()

    def stop(self) -> None:
        """Count."""
        self.stops += 1

    def start(self) -> None:
        """Call what waits until it runs."""
        for function, arguments, keywords in self.whenRunningHooks:
            function(*arguments, **keywords)


class Gateway:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def startService(self) -> None:
        self.told.append("start")

    def stopService(self) -> Deferred[None]:
        self.told.append("stop")
        return Deferred()

    def hurry(self) -> None:
        self.told.append("hurry")

    def reopen(self) -> None:
        self.told.append("reopen")


class ServiceCase(SynchronousTestCase):
    """A gateway alone, with signals in memory."""

    mistakes: str | None = None

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.gateway = Gateway()
        self.signals: dict[int, Any] = {}
        self.patch(signal, "pthread_sigmask", lambda *_: None)
        self.told = EventLoggingObserver()
        globalLogPublisher.addObserver(self.told)
        self.addCleanup(globalLogPublisher.removeObserver, self.told)

    def service(self, **twistd: Any) -> Alone:
        install = self.signals.__setitem__
        return Alone(self.reactor, twistd, self.gateway, 30.0, lambda: self.mistakes, install=install)

    def start(self) -> Alone:
        """One whose reactor runs."""
        alone = self.service(nodaemon=True)
        alone.startService()
        self.reactor.start()
        return alone

    def signal(self, number: int) -> None:
        """A signal comes."""
        self.signals[number](number, None)


class SignalTests(ServiceCase):
    """What signals do."""

    def test_stop(self) -> None:
        """SIGTERM and ^C end it in good order, once; another one at once."""
        for first, second in ((signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)):
            self.setUp()
            alone = self.start()
            self.assertEqual(self.gateway.told, ["start"])
            self.signal(first)
            self.assertEqual((self.reactor.stops, self.gateway.told), (1, ["start"]))
            alone.stopService()
            self.signal(second)
            self.assertEqual((self.reactor.stops, self.gateway.told), (1, ["start", "stop", "hurry"]))

    def test_afterwards(self) -> None:
        """When all is over signals are ignored: they would decide the exit status."""
        self.start()
        for function, arguments, keywords in self.reactor.triggers["after"]["shutdown"]:
            function(*arguments, **keywords)
        self.assertEqual(self.signals[signal.SIGTERM], signal.SIG_IGN)

    def test_first_process(self) -> None:
        """As the first process of a container it takes note, now and then, of orphans that end; any other has none."""
        looks: list[float] = []
        self.patch(orphans, "reap", lambda: looks.append(self.reactor.seconds()))
        self.start()
        self.reactor.advance(orphans.PERIOD)
        self.assertEqual(looks, [])
        self.patch(orphans, "INIT", os.getpid())
        self.reactor = Reactor()
        self.start()
        self.reactor.advance(orphans.PERIOD)
        self.assertEqual(len(looks), 2)

    def test_not_running(self) -> None:
        """Before the reactor runs signals are left to Python."""
        self.service(nodaemon=True).startService()
        self.assertEqual(self.signals, {})

    def test_reload_alone(self) -> None:
        """SIGHUP checks the configuration, and says what a reload takes."""
        self.start()
        self.signal(signal.SIGHUP)
        self.mistakes = "it is all wrong"
        self.signal(signal.SIGHUP)
        warned, refused = [(event["log_level"], event) for event in self.told]
        self.assertEqual((warned[0], refused[0]), (LogLevel.warn, LogLevel.error))
        self.assertIn("needs server.workers", str(warned[1]["log_format"]))
        self.assertEqual(refused[1]["mistakes"], "it is all wrong")

    def test_reopen(self) -> None:
        """SIGUSR1 opens log files anew: the gateway's and, if it is a file, the application's."""
        path = Path(self.mktemp()).absolute()
        alone = self.service(nodaemon=True, logfile=str(path))
        alone.setServiceParent(service.Application("smartgate"))
        alone.startService()
        self.reactor.start()
        path.unlink()
        self.signal(signal.SIGUSR1)
        self.assertTrue(path.exists())
        self.assertEqual(self.gateway.told, ["start", "reopen"])
        alone._out.close()

    def test_failure(self) -> None:
        """A failure is logged, stops the reactor and ends the process with status 1."""
        registered: list[Any] = []
        self.patch(atexit, "register", registered.append)
        ended: list[int] = []
        self.patch(os, "_exit", ended.append)
        alone = self.start()
        alone.fail("the disk is gone")
        alone.fail("so is the other")
        self.assertEqual(self.reactor.stops, 1)
        self.assertEqual([event["log_level"] for event in self.told], [LogLevel.critical] * 2)
        registered[0]()
        self.assertEqual(ended, [1])


class NotifyTests(ServiceCase):
    """What systemd is told of a gateway in one process."""

    def test_states(self) -> None:
        """It is ready at once, lives as long as its reactor turns, and says how long its end may take."""
        told: list[tuple[str, ...]] = []
        self.patch(os, "environ", {**os.environ, "NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "8000000"})
        self.patch(Notify, "tell", lambda _, *states: told.append(states))
        alone = self.start()
        self.assertEqual(told.pop(0)[0], "READY=1")
        self.reactor.pump([2, 2])
        self.assertEqual(told, [("WATCHDOG=1",)] * 3)
        alone.stopService()
        self.assertEqual((told[-1][0], told[-1][-1]), ("STOPPING=1", "EXTEND_TIMEOUT_USEC=35000000"))
        for function, arguments, keywords in self.reactor.triggers["after"]["shutdown"]:
            function(*arguments, **keywords)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class LogTests(ServiceCase):
    """The application's log."""

    def join(self, parent: Any, **twistd: Any) -> None:
        """A process joins this parent, under a twistd that was told this."""
        self.service(**twistd).setServiceParent(parent)

    def test_application(self) -> None:
        """An application that twistd runs logs as the gateway does: in JSON where nobody watches."""
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        application: Any = service.Application("smartgate")
        self.join(application, nodaemon=True, logfile=None)
        told: Any = application.getComponent(ILogObserver)
        event = {"log_time": 0.0, "log_level": LogLevel.info, "log_namespace": "a", "log_format": "Hello {who}"}
        told({**event, "who": "Ann"})
        self.assertEqual(json.loads(out.getvalue())["message"], "Hello Ann")
        self.assertEqual(len(list(service.IServiceCollection(application))), 1)

    def test_a_way_of_its_own(self) -> None:
        """Where twistd was told how to log, it is left alone."""
        application: Componentized = service.Application("smartgate")
        self.join(application, nodaemon=True, syslog=True)
        self.assertIsNone(application.getComponent(ILogObserver))

    def test_other_parents(self) -> None:
        """A parent that is no application has no log."""
        parent = service.MultiService()
        self.join(parent, nodaemon=True)
        self.assertEqual(len(list(parent)), 1)

    def test_what_each_kind_says(self) -> None:
        """What a kind of process does when asked is its own."""
        nothing = ProcessService(self.reactor, {})
        for asked in (nothing.begin, nothing.reload, nothing.hurry):
            self.assertRaises(NotImplementedError, asked)
