"""Tests of gateway.process.fleet: generations, take-over and restarts, without any process."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway.process import fleet as module
from gateway.process.fleet import (
    FIRST_DELAY,
    HURRY_TIMEOUT,
    LONGEST_DELAY,
    PATIENCE,
    START_TIMEOUT,
    STEADY,
    STOP_MARGIN,
    Fleet,
    Generation,
    State,
    Worker,
)

DRAIN = 10.0


def generation(number: int, wanted: int = 2) -> Generation:
    """What a configuration asks for."""
    return Generation(number, wanted, DRAIN, 9, 10, {}, "", {})


class FakeProcess:
    """Notes what it is told."""

    def __init__(self, worker: Worker[FakeProcess], pid: int) -> None:
        self.worker = worker
        self.pid = pid
        self.told: list[str] = []
        self.answered: Callable[[], None] | None = None

    def look(self, answered: Callable[[], None]) -> None:
        self.answered = answered

    def retire(self) -> None:
        self.told.append("retire")

    def stop(self) -> None:
        self.told.append("stop")

    def hurry(self) -> None:
        self.told.append("hurry")

    def kill(self) -> None:
        self.told.append("kill")


class FleetCase(SynchronousTestCase):
    """A fleet whose owner notes what it is told."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.fleet: Fleet[FakeProcess] = Fleet(self.clock, self)
        self.processes: list[FakeProcess] = []
        self.told: list[object] = []
        self.full = False

    # the owner's part

    def launch(self, worker: Worker[FakeProcess]) -> FakeProcess:
        if self.full:
            raise OSError("no room")
        self.processes.append(FakeProcess(worker, 100 + len(self.processes)))
        return self.processes[-1]

    def adopt(self, worker: Worker[FakeProcess]) -> FakeProcess:
        return self.launch(worker)

    def took_over(self, before: Generation | None) -> None:
        self.told.append(("took over", before and before.number))

    def refused(self, generation: Generation, reason: str) -> None:
        self.told.append(("refused", generation.number, reason))

    def settled(self) -> None:
        self.told.append("settled")

    def emptied(self) -> None:
        self.told.append("emptied")

    # the test's part

    def serve(self, *processes: FakeProcess) -> None:
        """They accept connections now."""
        for process in processes:
            self.fleet.serving(process.worker)

    def end(self, *processes: FakeProcess, how: str = "exit status 1") -> None:
        """They have ended."""
        for process in processes:
            self.fleet.ended(process.worker, how)

    def running(self, number: int = 1, wanted: int = 2) -> list[FakeProcess]:
        """A generation that serves."""
        before = len(self.processes)
        self.fleet.start(generation(number, wanted))
        started = self.processes[before:]
        self.serve(*started)
        return started


class TakeOverTests(FleetCase):
    """One generation after the other."""

    def test_start(self) -> None:
        """It takes over when its last worker serves."""
        self.fleet.start(generation(1))
        self.assertEqual((len(self.processes), self.fleet.busy, self.fleet.complete), (2, True, False))
        self.serve(self.processes[1])
        self.assertEqual(self.told, [])
        self.serve(self.processes[0])
        self.assertEqual(self.told, [("took over", None)])
        self.assertEqual((self.fleet.busy, self.fleet.complete), (False, True))

    def test_next(self) -> None:
        """Only when the next one serves are the workers of the first told to retire, and then it is settled."""
        old = self.running()
        self.fleet.start(generation(2, 1))
        self.assertEqual([process.told for process in old], [[], []])
        new = self.processes[-1]
        self.serve(new)
        self.assertEqual([process.told for process in old], [["retire"]] * 2)
        self.assertEqual(self.told[-1], ("took over", 1))
        self.assertTrue(self.fleet.busy)
        self.end(old[0])
        self.assertEqual(self.told[-1], ("took over", 1))
        self.end(old[1])
        self.assertEqual(self.told[-1], "settled")
        self.assertEqual((self.fleet.busy, len(self.processes)), (False, 3))

    def test_said_twice(self) -> None:
        """That a worker serves is news once."""
        first, _ = self.running()
        self.serve(first)
        self.assertEqual(self.told, [("took over", None)])

    def test_refused(self) -> None:
        """When one of the next ends first, with its reason, the others go and the first goes on."""
        old = self.running()
        self.fleet.start(generation(2))
        one, other = self.processes[2:]
        self.serve(other)
        self.fleet.failed(one.worker, "no such file")
        self.end(one)
        self.assertEqual(self.told[-1], ("refused", 2, "worker 0 did not start: no such file"))
        self.assertEqual((other.told, old[0].told), (["retire"], []))
        self.assertTrue(self.fleet.complete)
        self.end(other)
        self.assertEqual(self.told[-1], "settled")

    def test_refused_while_others_start(self) -> None:
        """Those that do not serve yet have nothing to finish."""
        self.fleet.start(generation(1, 3))
        self.end(self.processes[0], how="killed by SIGSEGV")
        self.assertEqual(self.told, [("refused", 1, "worker 0 did not start: killed by SIGSEGV")])
        self.assertEqual([process.told for process in self.processes], [[], ["kill"], ["kill"]])

    def test_no_process(self) -> None:
        """Where none can be started it is refused at once."""
        self.full = True
        self.fleet.start(generation(1))
        self.assertEqual(self.told, [("refused", 1, "worker 0 cannot be started: no room")])

    def test_late(self) -> None:
        """One that takes too long to serve is ended, and says why."""
        self.fleet.start(generation(1, 1))
        self.clock.advance(START_TIMEOUT)
        self.assertEqual(self.processes[0].told, ["kill"])
        self.end(self.processes[0])
        self.assertIn("does not serve after 60 s", str(self.told[-1]))

    def test_retires_too_long(self) -> None:
        """One that does not end in its time is killed."""
        old = self.running(1, 1)
        self.running(2, 1)
        self.clock.advance(2 * DRAIN + STOP_MARGIN)
        self.assertEqual(old[0].told, ["retire", "kill"])
        self.end(old[0])
        self.clock.advance(1000)
        self.assertEqual(old[0].told, ["retire", "kill"])


class RestartTests(FleetCase):
    """Workers that end by themselves."""

    def test_again(self) -> None:
        """Another one takes the place, soon."""
        first, second = self.running()
        self.end(second)
        self.assertEqual((len(self.processes), self.fleet.complete, self.fleet.busy), (2, False, False))
        self.clock.advance(FIRST_DELAY)
        new = self.processes[2]
        self.assertEqual((new.worker.number, new.worker.generation.number, self.fleet.restarts), (1, 1, 1))
        self.serve(new)
        self.assertTrue(self.fleet.complete)
        self.assertEqual((first.told, self.told), ([], [("took over", None)]))

    def test_back_off(self) -> None:
        """Later each time, up to a limit; one that has served for a while begins anew."""
        (worker,) = self.running(1, 1)
        waited: list[float] = []
        for _ in range(10):
            self.end(worker)
            began = self.clock.seconds()
            while self.processes[-1] is worker:
                self.clock.advance(FIRST_DELAY / 8)
            waited.append(round(self.clock.seconds() - began, 1))
            worker = self.processes[-1]
        self.assertEqual(waited[:4], [0.1, 0.2, 0.4, 0.8])
        self.assertAlmostEqual(waited[-1], LONGEST_DELAY, places=1)
        self.serve(worker)
        self.clock.advance(STEADY)
        self.end(worker)
        self.clock.advance(FIRST_DELAY)
        self.assertIsNot(self.processes[-1], worker)

    def test_no_process(self) -> None:
        """Where none can be started it is tried again."""
        (worker,) = self.running(1, 1)
        self.full = True
        self.end(worker)
        self.clock.advance(FIRST_DELAY)
        self.full = False
        self.clock.advance(2 * FIRST_DELAY)
        self.assertEqual(len(self.processes), 2)

    def test_next_generation(self) -> None:
        """What waits to be started again is forgotten when the next generation takes over."""
        first, _ = self.running()
        self.end(first)
        self.running(2)
        self.clock.advance(1000)
        self.assertEqual(len(self.processes), 4)

    def test_hang(self) -> None:
        """A worker that leaves too many looks unanswered is killed; one that starts is not asked."""
        well, bad = self.running()
        self.fleet.start(generation(2, 1))
        for look in range(PATIENCE):
            self.fleet.look()
            assert well.answered is not None
            well.answered()
            self.assertEqual(self.fleet.answering, look < PATIENCE // 2)
        self.assertEqual(bad.told, [])
        self.fleet.look()
        self.assertEqual((well.told, bad.told, self.processes[2].told), ([], ["kill"], []))


class HandoverTests(FleetCase):
    """Another program takes over the workers."""

    def test_hold(self) -> None:
        """None is started meanwhile, and those that start are ended."""
        first, second = self.running()
        self.end(first)
        self.clock.advance(FIRST_DELAY)
        self.fleet.hold()
        self.assertEqual((self.processes[2].told, second.told), (["kill"], []))
        self.end(self.processes[2])
        self.clock.advance(1000)
        self.assertEqual(len(self.processes), 3)
        self.fleet.resume()
        self.clock.advance(LONGEST_DELAY)
        self.assertEqual(len(self.processes), 4)

    def test_hold_a_restart(self) -> None:
        """What waits to be started again waits no more."""
        first, _ = self.running()
        self.end(first)
        self.fleet.hold()
        self.clock.advance(1000)
        self.assertEqual(len(self.processes), 2)
        self.fleet.resume()
        self.clock.advance(LONGEST_DELAY)
        self.assertEqual((len(self.processes), self.fleet.restarts), (3, 1))

    def test_adopt(self) -> None:
        """Workers go on where they were, and missing ones are started."""
        self.clock.advance(50)
        self.fleet.adopt(generation(3), {1: 20.0})
        (found,) = self.processes
        self.assertEqual((found.worker.number, found.worker.since, found.worker.state), (1, 20.0, State.SERVING))
        self.clock.advance(FIRST_DELAY)
        self.serve(self.processes[1])
        self.assertTrue(self.fleet.complete)
        self.running(4)
        self.assertEqual((self.told, found.told), ([("took over", 3)], ["retire"]))


class StopTests(FleetCase):
    """The end."""

    def test_all(self) -> None:
        """Every worker finishes its requests; none is started any more."""
        first, second = self.running()
        self.end(first)
        self.fleet.stop()
        self.assertEqual((second.told, self.told[1:]), (["stop"], []))
        self.clock.advance(FIRST_DELAY)
        self.assertEqual(len(self.processes), 2)
        self.end(second)
        self.assertEqual(self.told[-1], "emptied")

    def test_nobody(self) -> None:
        """Without workers it is over at once."""
        self.fleet.stop()
        self.assertEqual(self.told, ["emptied"])

    def test_too_long(self) -> None:
        """One that does not end is killed."""
        first, second = self.running()
        self.fleet.stop()
        self.end(first)
        self.clock.advance(DRAIN + STOP_MARGIN)
        self.assertEqual(second.told, ["stop", "kill"])

    def test_hurry(self) -> None:
        """In a hurry they cut everything, and are killed soon."""
        (worker,) = self.running(1, 1)
        self.fleet.stop()
        self.fleet.hurry()
        self.clock.advance(HURRY_TIMEOUT)
        self.assertEqual(worker.told, ["stop", "hurry", "kill"])

    def test_names(self) -> None:
        """The states are what operators read."""
        self.assertEqual([state.value for state in module.State], ["starting", "serving", "retiring"])
