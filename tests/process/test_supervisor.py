"""Tests of gateway.process.supervisor: its life and its reloads, with workers that are no processes."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import Mock

from prometheus_client import CollectorRegistry, Counter
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from gateway.config import load
from gateway.process import supervisor as module
from gateway.process import systemd
from gateway.process.control import Family
from gateway.process.handover import Handover
from gateway.process.notify import Notify
from gateway.process.sockets import Inherited
from gateway.process.supervisor import (
    LOOK_PERIOD,
    QUIET_TIMEOUT,
    Supervisor,
    usable_cpus,
    wanted,
)
from gateway.process.totals import families
from tests.integration.processes import free_port
from tests.logs import observed
from tests.process.test_service import Reactor

CONFIG = """
[server]
listen = ["tcp:0:interface=127.0.0.1"]
admin = "{admin}"
workers = {workers}
drain = "5s"
[redis]
url = "redis://127.0.0.1"
[[upstreams]]
name = "core"
instances = ["http://192.0.2.1:8080"]
[[routes]]
prefix = "/api"
upstream = "core"
auth = "none"
"""


class Replaced(Exception):
    """Another program goes on here."""


class Link:
    """Knows what its worker has counted."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        Counter("requests", "Requests.", registry=registry).inc(5)
        self.counted: list[Family] = families(registry)
        self.answers = True

    async def count(self) -> list[Family]:
        if not self.answers:
            await Deferred()
        return self.counted


class FakeChild:
    """A worker without a process."""

    made: list[FakeChild] = []
    full = False

    def __init__(self, serving: Callable[[], None], failed: Callable[[str], None], ended: Callable[[str], None]):
        self.serving, self.failed, self.ended = serving, failed, ended
        self.link = Link()
        self.seen = {"ready": False, "connections": 0, "websockets": 0}
        self.told: list[str] = []
        self.quiet = True
        self.pid = 100 + len(self.made)
        self.files: dict[int, int] = {}
        self.control = -1
        self.made.append(self)

    def spawn(self, reactor: Any, arguments: list[str], environ: dict[str, str], directory: str, files: Any) -> None:
        if self.full:
            raise OSError("no room")
        self.environ, self.files = environ, files

    def connect(self, reactor: Any, control: int) -> None:
        self.control = control

    def adopt(self, pid: int) -> None:
        self.pid = pid

    def look(self, answered: Callable[[], None]) -> None:
        self.seen = {"ready": True, "connections": 7, "websockets": 1}
        answered()

    def retire(self) -> None:
        self.told.append("retire")

    def stop(self) -> None:
        self.told.append("stop")

    def hurry(self) -> None:
        self.told.append("hurry")

    def reopen(self) -> None:
        self.told.append("reopen")

    def kill(self) -> None:
        self.told.append("kill")

    def end(self) -> None:
        """Its process has ended."""
        os.close(self.control)
        self.ended("exit status 0")


class Port:
    """Where operators are listened to."""

    transport = None

    def __init__(self, factory: Any) -> None:
        self.factory = factory
        self.closed = self.paused = False

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def stopListening(self) -> Deferred[None]:
        self.closed = True
        return succeed(None)


class SupervisorReactor(Reactor):
    """Notes what is started and listened to."""

    def __init__(self) -> None:
        super().__init__()
        self.checks: list[tuple[Any, ...]] = []
        self.checked: list[Any] = []

    def spawnProcess(self, protocol: Any, *arguments: Any, **more: Any) -> None:
        self.checked.append(protocol)
        self.checks.append((*arguments, more))


class SupervisorCase(SynchronousTestCase):
    """A supervisor on a reactor in memory; only its listening sockets are real."""

    running: Any = None

    def setUp(self) -> None:
        self.reactor = SupervisorReactor()
        self.patch(FakeChild, "made", [])
        self.patch(module, "Child", FakeChild)
        self.patch(signal, "pthread_sigmask", lambda *_: None)
        self.ports: list[Port] = []
        self.patch(Inherited, "_accept", lambda inherited, key, family, factory, *_: self.accept(factory))
        self.told: list[tuple[str, ...]] = []
        self.patch(Notify, "tell", lambda _, *states: self.told.append(states))
        self.executed: list[Any] = []
        self.patch(os, "execve", self.execute)
        self.log = observed(self)
        self.config = Path(self.mktemp()).absolute()
        self.admin = f"tcp:{free_port()}:interface=127.0.0.1"
        self.write()
        self.registered: list[Any] = []
        self.patch(__import__("atexit"), "register", self.registered.append)

    def accept(self, factory: Any) -> Port:
        self.ports.append(Port(factory))
        return self.ports[-1]

    def execute(self, program: str, command: list[str], environ: dict[str, str]) -> None:
        left = dict(environ)
        handover = Handover.take(left)
        assert handover is not None
        self.executed.append((program, command, left, handover, os.dup(int(left["SMARTGATE_SNAPSHOT"]))))
        raise Replaced

    def write(self, **values: Any) -> None:
        self.config.write_text(CONFIG.format(**({"admin": self.admin, "workers": 2} | values)))

    def supervisor(self, taken: int | None = None, handover: Handover | None = None, **twistd: Any) -> Supervisor:
        settings = load(str(self.config), {})
        found = Supervisor(
            self.reactor, {"nodaemon": 1, "pidfile": "", **twistd}, settings, str(self.config), taken, handover,
            install=lambda *_: None,
        )  # fmt: skip
        self.addCleanup(self.close, found)
        return found

    def close(self, supervisor: Supervisor) -> None:
        fleet = supervisor._fleet
        if supervisor is self.running and not fleet.stopping:
            module._close([each for each in (fleet.current, fleet.coming) if each is not None], [])

    def start(self, **more: Any) -> Supervisor:
        """One whose reactor runs."""
        self.running = running = self.supervisor(**more)
        running.startService()
        self.reactor.start()
        return running

    def serve(self, *children: FakeChild) -> None:
        for child in children:
            child.serving()

    def served(self) -> Supervisor:
        """One whose workers serve."""
        running = self.start()
        self.serve(*FakeChild.made)
        return running

    def logged(self) -> str:
        return "\n".join(str(event.get("log_format")) + str(event) for event in self.log)

    def ask(self, path: str) -> tuple[int, str]:
        """What operators get."""
        transport = StringTransport(peerAddress=IPv4Address("TCP", "127.0.0.1", 9))
        transport.setTcpNoDelay = lambda _: None  # type: ignore[attr-defined]
        channel = self.ports[-1].factory.buildProtocol(None)
        channel.makeConnection(transport)
        channel.dataReceived(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        self.reactor.advance(0)
        head, _, body = transport.value().decode().partition("\r\n\r\n")
        self.addCleanup(self.running._operators.stop)
        return int(head.split(" ")[1]) if head else 0, body


class StartTests(SupervisorCase):
    """The first generation."""

    def test_start(self) -> None:
        """Sockets are bound, workers started with them, and it is ready when all of them serve."""
        self.start()
        one, other = FakeChild.made
        place = json.loads(one.environ["SMARTGATE_WORKER"])
        self.assertEqual((place["number"], place["generation"]), (0, 1))
        self.assertEqual(set(place["sockets"]), {"tcp 127.0.0.1 0"})
        self.assertLessEqual({0, 1, 2, place["control"], *place["sockets"].values()}, set(one.files))
        self.assertIn(int(one.environ["SMARTGATE_SNAPSHOT"]), one.files)
        self.assertEqual(self.ask("/ready")[0], 503)
        self.serve(one)
        self.assertEqual(self.told, [])
        self.serve(other)
        self.assertEqual(self.told, [("READY=1", "STATUS=2 workers serve, generation 1")])
        self.assertEqual((self.ask("/ready")[0], self.ask("/health")[0]), (200, 200))

    def test_not_for_workers(self) -> None:
        """What is between systemd and the supervisor is not in the workers' environment."""
        self.patch(os, "environ", {**os.environ, "NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "8000000"})
        self.served()
        self.assertFalse({"NOTIFY_SOCKET", "WATCHDOG_USEC"} & set(FakeChild.made[0].environ))
        self.told.clear()
        self.reactor.advance(2)
        self.assertEqual(self.told, [("WATCHDOG=1",)])

    def hang(self, watchdog: float) -> list[float]:
        """When the watchdog is fed while a worker hangs, is killed and ends, in seconds since it hung."""
        usec = str(int(watchdog * 1e6))
        self.patch(os, "environ", {**os.environ, "NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": usec})
        self.served()
        hung = FakeChild.made[0]
        self.patch(FakeChild, "look", lambda child, answered: child is hung or answered())
        self.told.clear()
        fed = []
        for moment in range(60):
            self.reactor.advance(LOOK_PERIOD / 2)
            fed += [moment * LOOK_PERIOD / 2 for states in self.told if states == ("WATCHDOG=1",)]
            self.told.clear()
            if hung.told == ["kill"]:
                hung.told.clear()
                hung.end()
        return fed

    def test_hang(self) -> None:
        """The watchdog hears nothing while a worker does not answer for long."""
        fed = self.hang(2)
        self.assertGreater(max(later - before for before, later in pairwise(fed)), 4)

    def test_hang_is_survived(self) -> None:
        """One worker that hangs and is killed does not bring the watchdog near its end, which would end them all."""
        for watchdog in (30, 10):
            self.setUp()
            fed = self.hang(watchdog)
            self.assertLessEqual(max(later - before for before, later in pairwise(fed)), watchdog * 0.75)

    def test_systemd(self) -> None:
        """Its sockets are handed on under their numbers."""
        self.patch(systemd, "handed", lambda environ: 2)
        self.patch(self, "admin", "")
        self.write()
        self.start()
        child = FakeChild.made[0]
        self.assertEqual((child.files[3], child.files[4]), (3, 4))
        self.assertEqual(child.environ["LISTEN_FDS"], "2")
        self.assertEqual(json.loads(child.environ["SMARTGATE_WORKER"])["control"], 5)

    def test_log_file(self) -> None:
        """What a worker says that is no line of the log goes to the log file, if there is one."""
        path = Path(self.mktemp()).absolute()
        self.start(logfile=str(path))
        self.assertNotEqual(FakeChild.made[0].files[2], 2)
        self.assertTrue(path.exists())

    def test_taken(self) -> None:
        """A port that is taken, and a file that is gone, end it at once."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            self.write(admin=f"tcp:{other.getsockname()[1]}:interface=127.0.0.1")
            error = self.assertRaises(SystemExit, self.supervisor().startService)
        self.assertIn("in use", str(error))
        gone = self.supervisor()
        self.config.unlink()
        self.assertIn("No such file", str(self.assertRaises(SystemExit, gone.startService)))

    def test_worker_that_cannot_start(self) -> None:
        """It ends the start, with its reason in the log and status 1."""
        running = self.start()
        one, other = FakeChild.made
        one.failed("the disk is full")
        one.end()
        self.assertIn("worker 0 did not start: the disk is full", self.logged())
        self.assertEqual((len(self.registered), self.reactor.stops, other.told), (1, 1, ["kill"]))
        stopped = running.stopService()
        self.assertNoResult(stopped)
        other.end()
        self.successResultOf(stopped)

    def test_no_process(self) -> None:
        """So does one for which there is no room."""
        self.patch(FakeChild, "full", True)
        self.start()
        self.assertIn("cannot be started: no room", self.logged())
        self.assertEqual(self.reactor.stops, 1)

    def test_how_many(self) -> None:
        """As many as are asked for; "auto" is as many as there are CPUs, or one where they could share nothing."""
        for text, expected in (("3", 3), ('"auto"', usable_cpus())):
            self.write(workers=text)
            self.assertEqual(wanted(load(str(self.config), {})), expected)
        self.config.write_text(self.config.read_text().replace("redis://127.0.0.1", "memory:"))
        self.assertEqual(wanted(load(str(self.config), {})), 1)


class ReloadTests(SupervisorCase):
    """What comes after the first generation."""

    def check(self, mistakes: str = "") -> None:
        """The check under way has decided."""
        check = self.reactor.checked[-1]
        check.outReceived(mistakes.encode())
        check.processEnded(Failure(ProcessTerminated(1, status=256) if mistakes else ProcessDone(0)))

    def replace(self) -> Handover:
        """What is left for the next program when this one reloads."""
        self.running.reload()
        self.check()
        left: Handover = self.executed[-1][3]
        return left

    def go_on(self) -> Supervisor:
        """The next program."""
        left = self.replace()
        taken = self.executed[-1][4]
        self.reactor = SupervisorReactor()
        self.told.clear()
        return self.start(taken=taken, handover=left)

    def test_check(self) -> None:
        """What is wrong is told with the file's own name, and nothing changes."""
        self.served()
        self.running.reload()
        ((_, command, environ, _, more),) = self.reactor.checks
        self.assertIn("gateway.process.check", command)
        self.assertEqual((environ["SMARTGATE_SNAPSHOT"], environ["SMARTGATE_HANDOVER_FORMAT"]), ("3", Handover.FORMAT))
        self.assertEqual(set(more["childFDs"]), {0, 1, 2, 3})
        self.check("/proc/self/fd/3: is all wrong")
        self.assertIn(f"{self.config}: is all wrong", self.logged())
        self.assertEqual([states[0] for states in self.told], ["READY=1", "RELOADING=1", "READY=1"])
        self.assertEqual(self.told[-1][1], f"STATUS=the last reload was refused: {self.config}: is all wrong")
        self.assertEqual((self.executed, FakeChild.made[0].told), ([], []))
        self.running.reload()
        self.assertEqual(len(self.reactor.checks), 2)

    def test_no_file(self) -> None:
        """Nor without the file."""
        self.served()
        self.config.unlink()
        self.running.reload()
        self.assertIn("No such file", self.logged())
        self.assertEqual(self.reactor.checks, [])

    def test_once(self) -> None:
        """A reload that is asked for while one is under way waits for it, and any number of them is one."""
        self.start()
        self.running.reload()
        self.assertEqual(self.reactor.checks, [])
        self.serve(*FakeChild.made)
        self.assertEqual(len(self.reactor.checks), 1)
        for _ in range(3):
            self.running.reload()
        self.check("wrong")
        self.assertEqual(len(self.reactor.checks), 2)
        self.check("wrong")
        self.assertEqual(len(self.reactor.checks), 2)

    def test_next_program(self) -> None:
        """It has the workers, the sockets and what was counted, and the same process."""
        self.served()
        left = self.replace()
        generation = left.generation
        self.assertEqual((generation.number, generation.wanted, generation.drain), (1, 2, 5))
        self.assertEqual([worker[:2] for worker in left.workers], [[0, 100], [1, 101]])
        program, command, environ, _, taken = self.executed[0]
        os.close(taken)
        self.assertEqual((program, command[-2:]), (command[0], ["--config", str(self.config)]))
        self.assertNotIn("LISTEN_PID", environ)

    def test_take_over(self) -> None:
        """The new workers serve, then the old ones retire, and what only they had is closed."""
        self.served()
        old = list(FakeChild.made)
        other = f"tcp:{free_port()}:interface=127.0.0.1"
        self.write(admin=other, workers=1)
        running = self.go_on()
        adopted, new = FakeChild.made[2:4], FakeChild.made[4:]
        self.assertEqual([child.pid for child in adopted], [child.pid for child in old])
        self.assertEqual(len(new), 1)
        port = self.ports[-1]
        self.serve(*new)
        self.assertEqual([child.told for child in adopted], [["retire"]] * 2)
        self.assertEqual(self.told[-1], ("READY=1", "STATUS=1 workers serve, generation 2"))
        self.assertTrue(port.closed)
        self.assertEqual(len(self.ports), 3)
        running.reload()
        self.assertEqual(self.reactor.checks, [])
        self.assertIn("waits until", self.logged())
        for child in adopted:
            child.control = os.open("/dev/null", os.O_RDONLY)
            child.end()
        self.assertEqual(len(self.reactor.checks), 1)
        text = self.ask("/metrics")[1]
        self.assertIn('smartgate_reloads_total{outcome="done"} 1.0\n', text)
        self.assertIn("requests_total 15.0\n", text)

    def test_retiring(self) -> None:
        """While old workers retire their gauges are told apart."""
        self.served()
        self.write(workers=1)
        self.go_on()
        self.serve(FakeChild.made[-1])
        self.assertIn('smartgate_workers{state="retiring"} 2.0\n', self.ask("/metrics")[1])

    def test_refused_by_a_worker(self) -> None:
        """A new worker that does not start changes nothing."""
        self.served()
        running = self.go_on()
        new = FakeChild.made[4:]
        self.serve(new[1])
        new[0].failed("no such file")
        new[0].end()
        self.assertIn("worker 0 did not start: no such file", self.logged())
        self.assertEqual((FakeChild.made[2].told, new[1].told), ([], ["retire"]))
        self.assertEqual(self.told[-1][0], "READY=1")
        self.assertTrue(running._fleet.complete)

    def test_refused_by_a_socket(self) -> None:
        """Nor does a port that is taken, and what was bound by then is closed."""
        self.served()
        with socket.create_server(("127.0.0.1", 0)) as other:
            self.write(admin=f"tcp:{other.getsockname()[1]}:interface=127.0.0.1")
            self.go_on()
            self.assertIn("in use", self.logged())
        self.assertEqual(len(FakeChild.made), 4)
        self.assertEqual(FakeChild.made[2].told, [])

    def test_refused_by_the_number(self) -> None:
        """Nor does the end of all workers, which would take a gateway of another kind."""
        self.served()
        self.write(workers=0)
        self.go_on()
        self.assertIn("takes a restart", self.logged())
        self.assertEqual(len(FakeChild.made), 4)

    def test_cannot_be_executed(self) -> None:
        """Where there is no next program this one goes on."""
        self.served()

        def fail(*_: Any) -> None:
            raise OSError("no memory")

        self.patch(os, "execve", fail)
        self.running.reload()
        self.check()
        self.assertIn("no memory", self.logged())
        self.assertTrue(self.running._looking.running)
        self.assertEqual((FakeChild.made[0].told, self.ports[0].paused), ([], False))
        self.assertEqual(self.ask("/ready")[0], 200)

    def test_cannot_hand_over(self) -> None:
        """Where nothing more can be opened it goes on as before, and hears signals as before."""
        self.served()
        masks: list[Any] = []
        self.patch(signal, "pthread_sigmask", lambda how, _: masks.append(how))

        def fail(_: Handover) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(Handover, "give", fail)
        self.running.reload()
        self.check()
        self.reactor.advance(0.01)
        self.assertIn("Too many open files", self.logged())
        self.assertEqual(masks, [signal.SIG_BLOCK, signal.SIG_UNBLOCK])
        self.assertEqual((self.running._looking.running, self.ports[0].paused), (True, False))
        FakeChild.made[0].end()
        self.reactor.advance(1)
        self.assertEqual(len(FakeChild.made), 3, "workers are started again")

    def test_check_too_late(self) -> None:
        """A check that does not end refuses the reload, in words."""
        self.served()
        self.running.reload()
        self.reactor.checked[-1].transport = Mock()
        self.reactor.pump([1] * 61)
        self.assertIn("is not over after 60 s", self.logged())

    def test_moved_to_operators(self) -> None:
        """Where clients were served operators may be from now on, and the reverse."""
        port = free_port()
        self.write(admin=f"tcp:{port}:interface=127.0.0.1")
        self.served()
        text = self.config.read_text().replace(f"tcp:{port}:", "tcp:X:").replace("tcp:0:", f"tcp:{port}:")
        self.config.write_text(text.replace("tcp:X:", "tcp:0:"))
        self.go_on()
        self.assertEqual(len(FakeChild.made), 6, self.logged())

    def test_ready_throughout(self) -> None:
        """Who serves is ready, before and after it takes over, until it says otherwise."""
        self.served()
        self.patch(FakeChild, "look", lambda *_: None)
        self.go_on()
        self.assertEqual(self.ask("/ready")[0], 200)
        self.serve(*FakeChild.made[4:])
        self.assertEqual(self.ask("/ready")[0], 200)

    def test_operators(self) -> None:
        """Who has asked is answered before another program takes over, and who comes then waits for that."""
        self.served()
        FakeChild.made[0].link.answers = False
        self.ask("/metrics")
        self.running.reload()
        self.check()
        self.assertEqual((self.executed, self.ports[0].paused), ([], True))
        self.reactor.pump([0.01, QUIET_TIMEOUT / 2])
        self.assertEqual(self.executed, [])
        (channel,) = self.running._operators._site.channels
        channel.connectionLost()
        self.reactor.pump([0.01, 0.01])
        self.assertEqual(len(self.executed), 1)

    def test_operators_who_stay(self) -> None:
        """Nobody is waited for very long."""
        self.served()
        FakeChild.made[0].link.answers = False
        self.ask("/metrics")
        self.running.reload()
        self.check()
        self.reactor.pump([QUIET_TIMEOUT, 0.01])
        self.assertEqual(len(self.executed), 1)

    def test_loud(self) -> None:
        """A worker is waited for that has not answered; one that does not is killed."""
        self.served()
        one, other = FakeChild.made
        one.quiet = other.quiet = False
        self.running.reload()
        self.check()
        self.reactor.advance(0.01)
        one.quiet = True
        self.reactor.pump([0.5] * 5)
        self.assertEqual((one.told, other.told), ([], ["kill"]))
        other.quiet = True
        self.reactor.advance(0.5)
        self.assertEqual(len(self.executed), 1)

    def test_stopped_meanwhile(self) -> None:
        """A gateway that stops reloads no more, however far it was."""
        self.served()
        self.running.reload()
        self.running.stop()
        self.check()
        self.running.reload()
        self.assertEqual((self.executed, len(self.reactor.checks)), ([], 1))
        self.setUp()
        self.served()
        FakeChild.made[0].quiet = False
        self.running.reload()
        self.check()
        self.running.stop()
        FakeChild.made[0].quiet = True
        self.reactor.advance(0.01)
        self.assertEqual(self.executed, [])


class StopTests(SupervisorCase):
    """The end."""

    def test_stop(self) -> None:
        """Nothing is listened to, and it is over with the last worker."""
        running = self.served()
        stopped = running.stopService()
        self.assertEqual((self.told[-1][0], self.told[-1][-1]), ("STOPPING=1", "EXTEND_TIMEOUT_USEC=20000000"))
        self.assertTrue(self.ports[0].closed)
        self.assertEqual([child.told for child in FakeChild.made], [["stop"]] * 2)
        for child in FakeChild.made:
            self.assertNoResult(stopped)
            child.end()
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_hurry(self) -> None:
        """Asked again, workers are to cut everything."""
        running = self.served()
        running.stop()
        running.stopService()
        running.stop()
        self.assertEqual(FakeChild.made[0].told, ["stop", "hurry"])

    def test_nowhere(self) -> None:
        """It ends without an admin port, and with a pid file that twistd knows of."""
        self.write(admin="")
        running = self.start(pidfile="x.pid")
        stopped = running.stopService()
        for child in FakeChild.made:
            child.end()
        self.successResultOf(stopped)

    def test_pid_file(self) -> None:
        """The pid file that twistd has forgotten at a reload is removed at the end."""
        path = Path(self.mktemp()).absolute()
        path.write_text("1")
        self.running = self.supervisor(pidfile=str(path))
        self.running.startService()
        self.reactor.start()
        self.serve(*FakeChild.made)
        self.running.reload()
        self.reactor.checked[-1].processEnded(Failure(ProcessDone(0)))
        taken, left = self.executed[-1][4], self.executed[-1][3]
        self.reactor = SupervisorReactor()
        stopped = self.start(taken=taken, handover=left).stopService()
        for child in FakeChild.made[2:]:
            child.control = os.open("/dev/null", os.O_RDONLY)
            child.end()
        self.successResultOf(stopped)
        self.assertFalse(path.exists())

    def test_reopen(self) -> None:
        """All workers open their log files anew."""
        self.served().reopen()
        self.assertEqual([child.told for child in FakeChild.made], [["reopen"]] * 2)
