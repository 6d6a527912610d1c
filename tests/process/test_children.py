"""Tests of gateway.process.children: a child's life as its supervisor sees it, without processes."""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

from twisted.internet.defer import succeed
from twisted.internet.error import ConnectionDone, ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from gateway.process import children
from gateway.process.children import SAID, Check, Child
from gateway.process.control import Hurry, Reopen, Retire


class Reactor(Clock):
    """Starts no processes, and connects nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.spawned: list[tuple[Any, ...]] = []
        self.adopted: list[Any] = []

    def spawnProcess(self, *arguments: Any, **more: Any) -> Any:
        self.spawned.append((*arguments, more))

        class Transport:
            pid = 4711

        return Transport()

    def adoptStreamConnection(self, descriptor: int, family: int, factory: Any) -> None:
        self.adopted.append(factory.buildProtocol(None))


class ChildTests(SynchronousTestCase):
    """A worker's process."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.ended: list[str] = []
        self.child = Child(lambda: None, lambda reason: None, self.ended.append)
        self.killed: list[tuple[int, int]] = []
        self.patch(children.os, "kill", lambda *told: self.killed.append(told))  # type: ignore[attr-defined]
        self.ordered: list[Any] = []
        self.patch(self.child.link, "order", self.ordered.append)

    def exit(self, status: int) -> None:
        """Twisted says that it has exited."""
        why = ProcessTerminated(status=status) if status else ProcessDone(status)
        self.child.processExited(Failure(why))
        self.child.processEnded(Failure(why))

    def lose(self) -> None:
        """The link ends."""
        self.child.link.connectionLost(Failure(ConnectionDone()))

    def test_started(self) -> None:
        """It has the files that it is given, and a directory."""
        self.child.spawn(self.reactor, ["python", "-m", "x"], {"A": "b"}, "/tmp", {0: 0, 3: 17})
        (started,) = self.reactor.spawned
        self.assertEqual(
            started[1:], ("python", ["python", "-m", "x"], {"A": "b"}, "/tmp", {"childFDs": {0: 0, 3: 17}})
        )
        self.assertEqual(self.child.pid, 4711)

    def test_told(self) -> None:
        """Orders go over the link, signals to the process, while there is one."""
        self.child.pid = 4711
        self.child.retire()
        self.child.reopen()
        self.child.hurry()
        self.assertEqual(self.ordered, [Retire, Reopen, Hurry])
        self.child.stop()
        self.child.kill()
        self.exit(0)
        self.child.kill()
        self.assertEqual(self.killed, [(4711, signal.SIGTERM), (4711, signal.SIGKILL)])

    def test_end(self) -> None:
        """It has ended when the process has exited and all that it said was heard, whichever is first."""
        self.exit(3 << 8)
        self.assertEqual(self.ended, [])
        self.lose()
        self.assertEqual(self.ended, ["exit status 3"])
        self.setUp()
        self.lose()
        self.assertFalse(self.child.quiet)
        self.exit(signal.SIGKILL)
        self.assertEqual(self.ended, ["killed by SIGKILL"])

    def test_looked_at(self) -> None:
        """What it answers is seen; what it does not answer is no answer."""
        self.connect()
        answered: list[None] = []
        self.child.look(lambda: answered.append(None))
        self.assertFalse(self.child.quiet)
        self.lose()
        self.assertEqual(answered, [])
        seen = {"ready": True, "connections": 1, "websockets": 0}
        self.patch(self.child.link, "look", lambda: succeed(seen))
        self.child.look(lambda: answered.append(None))
        self.assertEqual((self.child.seen, answered), (seen, [None]))

    def connect(self) -> None:
        """The link is there, on a transport that keeps everything."""

        class Transport:
            def write(self, data: bytes) -> None: ...
            def getPeer(self) -> None: ...
            def getHost(self) -> None: ...
            def fileno(self) -> int:
                return 23

        one, other = socket.socketpair()
        other.close()
        self.child.connect(self.reactor, one.detach())
        self.assertEqual(self.reactor.adopted, [self.child.link])
        self.child.link.makeConnection(Transport())
        self.assertEqual(self.child.control, 23)
        self.assertTrue(self.child.quiet)

    def test_adopted(self) -> None:
        """One that runs already is waited for like any other."""
        statuses = [(0, 0), (0, 0), (4711, 2 << 8)]
        self.patch(os, "waitpid", lambda *_: statuses.pop(0))
        self.child.adopt(4711)
        self.child.reapProcess()
        self.lose()
        self.assertEqual(self.ended, [])
        self.child.reapProcess()
        self.assertEqual(self.ended, ["exit status 2"])

    def test_adopted_after_its_end(self) -> None:
        """Also when it has ended before that."""
        self.patch(os, "waitpid", lambda *_: (4711, 0))
        self.child.adopt(4711)
        self.lose()
        self.assertEqual(self.ended, ["exit status 0"])


class CheckTests(SynchronousTestCase):
    """A process that says whether something is right."""

    def test_right(self) -> None:
        """It ends well, whatever it says."""
        check = Check()
        check.outReceived(b"a warning")
        check.processEnded(Failure(ProcessDone(0)))
        self.assertIsNone(self.successResultOf(check.result))

    def test_wrong(self) -> None:
        """It says what, and how it ended where it says nothing; nobody keeps a novel."""
        check = Check()
        check.outReceived(b" all \xff")
        check.errReceived(b"wrong\n" + b"x" * SAID)
        check.processEnded(Failure(ProcessTerminated(1, status=256)))
        said = self.successResultOf(check.result)
        assert said is not None
        self.assertTrue(said.startswith("all \ufffdwrong\n"))
        self.assertLessEqual(len(said), SAID)
        check = Check()
        check.processEnded(Failure(ProcessTerminated(signal=9)))
        self.assertIn("signal 9", str(self.successResultOf(check.result)))

    def test_too_long(self) -> None:
        """One that does not end is killed."""
        check, clock, signals = Check(), Clock(), []

        class Transport:
            def signalProcess(self, name: str) -> None:
                signals.append(name)

        check.makeConnection(Transport())
        check.result.addTimeout(5, clock)
        clock.advance(5)
        self.failureResultOf(check.result)
        self.assertEqual(signals, ["KILL"])
        check.processEnded(Failure(ProcessTerminated(signal=9)))
