"""Tests of gateway.process.worker: from the sockets it is given to its farewell, in memory."""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

from prometheus_client import CollectorRegistry, Counter
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from gateway.process import shares
from gateway.process.control import Failed, Serving
from gateway.process.sockets import Inherited
from gateway.process.worker import READY_TIMEOUT, Place, Worker
from tests.logs import observed
from tests.process.test_service import Reactor


class Gateway:
    """Serves nobody, and notes what it is told."""

    connections = 3
    websockets = 1

    def __init__(self, told: list[str]) -> None:
        self.told = told
        self.registry = CollectorRegistry()
        Counter("requests", "Requests.", registry=self.registry).inc(5)
        self.is_ready = True
        self.stopped: Deferred[Any] = Deferred()

    def start(self) -> None:
        self.told.append("start")

    def listen(self) -> None:
        self.told.append("listen")

    def ready(self) -> Deferred[bool]:
        return succeed(self.is_ready)

    def stopService(self) -> Deferred[Any]:
        self.told.append("stop")
        return self.stopped

    def retire(self) -> Deferred[Any]:
        self.told.append("retire")
        return self.stopped

    def hurry(self) -> None:
        self.told.append("hurry")

    def reopen(self) -> None:
        self.told.append("reopen")


class WorkerReactor(Reactor):
    """Has no sockets."""

    def adoptStreamConnection(self, descriptor: int, family: int, factory: Any) -> None:
        self.link = factory.buildProtocol(None)


class WorkerCase(SynchronousTestCase):
    """A worker, and what it says to its supervisor."""

    def setUp(self) -> None:
        self.reactor = WorkerReactor()
        self.told: list[str] = []
        self.said: list[Any] = []
        self.gateway = Gateway(self.told)
        self.patch(signal, "pthread_sigmask", lambda *_: None)
        one, other = socket.socketpair()
        self.addCleanup(other.close)
        self.spare = os.open("/dev/null", os.O_RDONLY)
        self.signals: dict[int, Any] = {}
        place = Place(1, 4, one.detach(), shares.make(2), {"tcp  80": self.spare})
        self.worker = Worker(self.reactor, {"nodaemon": 1}, self.make, place, install=self.signals.__setitem__)
        self.patch(self.worker._link, "callRemote", self.say)

    def make(self, reactor: Any) -> Any:
        self.assertIsInstance(reactor, Inherited)
        return self.gateway

    def say(self, command: type[amp.Command], **values: Any) -> None:
        self.said.append((command, values))

    def start(self) -> None:
        """The reactor runs."""
        self.worker.startService()
        self.reactor.start()

        class Transport:
            disconnecting = False

            def loseConnection(self) -> None:
                self.disconnecting = True

        self.worker._link.transport = self.transport = Transport()  # type: ignore[assignment]

    def lose(self) -> None:
        """The link ends."""
        self.worker._link.connectionLost(Failure(ConnectionDone()))


class StartTests(WorkerCase):
    """How it begins to serve."""

    def test_serves(self) -> None:
        """It gets ready, accepts, and says so; what it was given and does not use it closes."""
        self.start()
        self.assertEqual((self.told, self.said), (["start", "listen"], [(Serving, {})]))
        self.assertRaises(OSError, os.fstat, self.spare)
        self.assertEqual(self.successResultOf(self.worker.look()), {"ready": True, "connections": 3, "websockets": 1})
        self.assertIn(("requests_total", {}, 5.0), self.worker.families()[0][3])

    def test_waits(self) -> None:
        """It accepts nobody until all it needs is there."""
        self.gateway.is_ready = False
        self.start()
        self.assertEqual((self.told, self.said), (["start"], []))
        self.gateway.is_ready = True
        self.reactor.advance(1)
        self.assertEqual((self.told, self.said), (["start", "listen"], [(Serving, {})]))

    def test_waits_no_longer(self) -> None:
        """After a time it does without."""
        log = observed(self)
        self.gateway.is_ready = False
        self.start()
        self.reactor.pump([0.1] * int(READY_TIMEOUT / 0.1 + 2))
        self.assertEqual(self.said, [(Serving, {})])
        self.assertEqual(sum("without all it needs" in str(event["log_format"]) for event in log), 1)

    def test_stopped_before(self) -> None:
        """One that is stopped while it waits never accepts."""
        self.gateway.is_ready = False
        self.start()
        self.worker.stop()
        self.gateway.is_ready = True
        self.reactor.advance(1)
        self.assertEqual(self.told, ["start"])

    def test_cannot(self) -> None:
        """It says why, and ends with status 1; with a traceback in the log, if nobody has foreseen it."""
        self.patch(os, "_exit", lambda _: None)
        for error, tracebacks in ((OSError(2, "no such file"), 0), (SystemExit("no port"), 0), (KeyError("x"), 1)):
            self.setUp()
            log = observed(self)

            def fail(_: Any, error: BaseException = error) -> Any:
                raise error

            self.worker._make = fail
            registered: list[Any] = []
            self.patch(__import__("atexit"), "register", registered.append)
            self.start()
            ((command, values),) = self.said
            self.assertIs(command, Failed)
            self.assertIn(str(error.args[-1]), values["reason"])
            self.assertEqual((self.reactor.stops, len(registered)), (1, 1))
            self.assertEqual(sum("cannot start" in str(event["log_format"]) for event in log), tracebacks)
            self.flushLoggedErrors()
            stopped = self.worker.stopService()
            self.assertTrue(self.transport.disconnecting)
            self.lose()
            self.successResultOf(stopped)

    def test_asked_before(self) -> None:
        """What is asked of it before there is a gateway."""
        self.assertEqual(self.worker.look(), {"ready": False, "connections": 0, "websockets": 0})
        self.assertEqual(self.worker.families(), [])
        self.worker.reopen()
        self.worker.retire()
        self.worker.hurry()
        self.assertEqual((self.told, self.reactor.stops), ([], 1))
        self.successResultOf(self.worker.stopService())


class StopTests(WorkerCase):
    """How it ends."""

    def test_stop(self) -> None:
        """SIGTERM, however often, lets requests finish; then it says what it has counted."""
        self.start()
        for _ in range(2):
            self.signals[signal.SIGTERM](signal.SIGTERM, None)
        self.assertEqual((self.reactor.stops, self.told[2:]), (1, []))
        stopped = self.worker.stopService()
        self.assertEqual(self.told[2:], ["stop"])
        self.gateway.stopped.callback(None)
        self.assertTrue(self.transport.disconnecting)
        self.assertIn(b"requests_total", self.said[-1][1]["piece"])
        self.assertNoResult(stopped)
        self.lose()
        self.successResultOf(stopped)

    def test_nobody_hears(self) -> None:
        """A supervisor that does not listen is not waited for."""
        self.start()
        stopped = self.worker.stopService()
        self.gateway.stopped.callback(None)
        self.reactor.advance(2)
        self.successResultOf(stopped)

    def test_retire(self) -> None:
        """When others have taken over it ends after its last connection."""
        self.start()
        self.worker.retire()
        self.worker.retire()
        self.assertEqual((self.told[2:], self.reactor.stops), (["retire"], 0))
        self.gateway.stopped.callback(None)
        self.assertEqual(self.reactor.stops, 1)

    def test_hurry(self) -> None:
        """In a hurry it cuts everything."""
        self.start()
        self.worker.hurry()
        self.assertEqual((self.told[2:], self.reactor.stops), (["hurry"], 1))

    def test_abandoned(self) -> None:
        """Without its supervisor it ends."""
        self.start()
        self.lose()
        self.assertEqual(self.reactor.stops, 1)
        stopped = self.worker.stopService()
        self.gateway.stopped.callback(None)
        self.successResultOf(stopped)

    def test_other_signals(self) -> None:
        """To reload is the supervisor's; log files are opened anew."""
        self.start()
        self.signals[signal.SIGHUP](signal.SIGHUP, None)
        self.signals[signal.SIGUSR1](signal.SIGUSR1, None)
        self.assertEqual(self.told[2:], ["reopen"])
