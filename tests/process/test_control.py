"""Tests of gateway.process.control: a supervisor and a worker that talk, in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.test.iosim import connectedServerAndClient
from twisted.trial.unittest import SynchronousTestCase

from gateway.process.control import (
    PIECE,
    Failed,
    Family,
    Hurry,
    Reopen,
    Retire,
    Serving,
    SupervisorEnd,
    WorkerEnd,
)

SEEN = {"ready": True, "connections": 7, "websockets": 1}


class Work:
    """A worker that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.seen: Any = succeed(SEEN)
        self.counted: list[Family] = [("a", "counter", "Some.", [("a_total", {"route": "/x"}, 3.0)])]

    def look(self) -> Any:
        return self.seen

    def families(self) -> list[Family]:
        return self.counted

    def retire(self) -> None:
        self.told.append("retire")

    def hurry(self) -> None:
        self.told.append("hurry")

    def reopen(self) -> None:
        self.told.append("reopen")

    def abandoned(self) -> None:
        self.told.append("abandoned")


class ControlTests(SynchronousTestCase):
    """Both ends."""

    def setUp(self) -> None:
        self.work = Work()
        self.told: list[str] = []
        connected = connectedServerAndClient(
            lambda: SupervisorEnd(lambda: self.told.append("serving"), self.told.append), lambda: WorkerEnd(self.work)
        )
        self.worker: WorkerEnd = connected[0]
        self.supervisor: SupervisorEnd = connected[1]
        self.pump = connected[2]
        self.pump.flush()

    def test_look(self) -> None:
        """A look is answered when the worker knows."""
        self.work.seen = waiting = Deferred[Any]()
        answer = self.supervisor.look()
        self.pump.flush()
        self.assertNoResult(answer)
        self.assertFalse(self.supervisor.quiet)
        waiting.callback(SEEN)
        self.pump.flush()
        self.assertEqual(self.successResultOf(answer), SEEN)
        self.assertTrue(self.supervisor.quiet)

    def test_not_waited_for(self) -> None:
        """An answer that nobody waits for any more is still waited for by what must not overhear it."""
        self.work.seen = waiting = Deferred[Any]()
        answer = self.supervisor.look()
        answer.cancel()
        self.failureResultOf(answer)
        self.pump.flush()
        self.assertFalse(self.supervisor.quiet)
        waiting.callback(SEEN)
        self.pump.flush()
        self.assertTrue(self.supervisor.quiet)

    def test_half_received(self) -> None:
        """Nor is it quiet while half of what the worker says has come."""
        self.supervisor.dataReceived(b"\x00")
        self.assertFalse(self.supervisor.quiet)

    def test_orders(self) -> None:
        """Orders are carried out; one that comes too late is forgotten."""
        for command in (Retire, Reopen, Hurry):
            self.supervisor.order(command)
        self.pump.flush()
        self.assertEqual(self.work.told, ["retire", "reopen", "hurry"])
        self.supervisor.connectionLost(Failure(ConnectionDone()))
        self.supervisor.order(Retire)
        self.failureResultOf(self.supervisor.look())

    def test_news(self) -> None:
        """The worker says that it serves, or why it cannot."""
        self.worker.callRemote(Serving)
        self.worker.callRemote(Failed, reason="no such fil\xe9")
        self.pump.flush()
        self.assertEqual(self.told, ["serving", "no such fil\xe9"])

    def test_count(self) -> None:
        """Metrics come whole, however many they are, and two who ask do not get in each other's way."""
        for number in range(3000):
            self.work.counted.append((f"metric{number}", "gauge", "Some more.", [(f"metric{number}", {}, 1.0)]))
        answers = [Deferred.fromCoroutine(self.supervisor.count()) for _ in range(2)]
        self.pump.flush()
        for answer in answers:
            counted = self.successResultOf(answer)
            self.assertEqual(len(counted), 3001)
            self.assertEqual(counted[0], ["a", "counter", "Some.", [["a_total", {"route": "/x"}, 3.0]]])
        self.assertGreater(len(str(self.work.counted)), 2 * PIECE)

    def test_farewell(self) -> None:
        """The last metrics come whole, too, and then the end."""
        for number in range(3000):
            self.work.counted.append((f"metric{number}", "gauge", "Some more.", []))
        self.worker.farewell()
        self.pump.flush()
        self.assertEqual(len(self.supervisor.counted), 3001)
        self.assertIsNone(self.supervisor.transport)
        self.assertEqual(self.work.told, ["abandoned"])
