"""Which workers there are and should be: generations, take-over, restarts with back-off. It knows no processes.

A generation is what one configuration asks for. It takes over when all its workers serve, and then the workers of the
one before retire; when one of them ends before that, the whole generation is refused and the one before goes on.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

START_TIMEOUT: Final = 60.0
"""Seconds in which a worker has to serve."""
STOP_MARGIN: Final = 10.0
"""Seconds beyond what it was given after which a worker that stops is killed."""
HURRY_TIMEOUT: Final = 2.0
"""Seconds in which a worker has to cut everything and end."""
FIRST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 30.0
"""Seconds until a worker is started again; twice as long each time, unless it has served for :data:`STEADY`."""
STEADY: Final = 30.0
PATIENCE: Final = 10
"""Looks that a worker may leave unanswered; then it hangs, and is killed."""


@dataclass(frozen=True)
class Generation:
    """What one configuration asks for.

    :ivar wanted: how many workers.
    :ivar drain: seconds until a worker that stops has finished.
    :ivar snapshot: the descriptor of the configuration as it was checked.
    :ivar shares: the descriptor of what its workers know of each other.
    :ivar sockets: the descriptors that its workers accept from, by their keys.
    :ivar admin: where operators are listened to, as an endpoint; and that endpoint's descriptors.
    """

    number: int
    wanted: int
    drain: float
    snapshot: int
    shares: int
    sockets: Mapping[str, int]
    admin: str
    admin_sockets: Mapping[str, int]


class State(enum.Enum):
    """Of a worker."""

    STARTING = "starting"
    SERVING = "serving"
    RETIRING = "retiring"


class Process(Protocol):
    """What a worker is told, and asked."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def look(self, answered: Callable[[], None]) -> None:
        """Ask how it is; ``answered`` is called if it says so."""

    def retire(self) -> None:
        """Others have taken over: let it finish, streams too."""

    def stop(self) -> None:
        """Let it finish requests."""

    def hurry(self) -> None:
        """Let it cut everything."""

    def kill(self) -> None:
        """End it at once."""


ProcessT = TypeVar("ProcessT", bound=Process)


@dataclass(eq=False)
class Worker(Generic[ProcessT]):
    """One worker, from its start to its end.

    :ivar number: its place in its generation, from 0.
    :ivar since: when it was started, in seconds of the clock.
    :ivar reason: what it said why it cannot start.
    """

    number: int
    generation: Generation
    since: float
    state: State = State.STARTING
    reason: str = ""
    missed: int = 0
    process: ProcessT = field(init=False)
    timer: IDelayedCall | None = None

    def wait(self, timer: IDelayedCall | None) -> None:
        """Wait for this instead of what was waited for."""
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        self.timer = timer


class Owner(Protocol[ProcessT]):
    """Who has a fleet, and is told what becomes of it."""

    def launch(self, worker: Worker[ProcessT]) -> ProcessT:
        """Start a process for a worker.

        :raises OSError: when there can be none.
        """

    def adopt(self, worker: Worker[ProcessT]) -> ProcessT:
        """The process of a worker that runs already."""

    def took_over(self, before: Generation | None) -> None:
        """The generation that was started serves; the one before it retires."""

    def refused(self, generation: Generation, reason: str) -> None:
        """The generation that was started does not serve; the one before goes on, if there is one."""

    def settled(self) -> None:
        """The last worker that retired has ended."""

    def emptied(self) -> None:
        """The fleet was stopped, and no worker is left."""


class Fleet(Generic[ProcessT]):
    """All workers of a supervisor."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, owner: Owner[ProcessT]) -> None:
        self._clock = clock
        self._owner = owner
        self._quick_ends: dict[int, int] = {}
        self._restarts: dict[int, IDelayedCall] = {}
        self._held = False
        self.workers: list[Worker[ProcessT]] = []
        self.current: Generation | None = None
        self.coming: Generation | None = None
        self.stopping = False
        self.restarts = 0

    # -- what there is --------------------------------------------------------------------------------------------

    def of(self, generation: Generation | None, state: State | None = None) -> list[Worker[ProcessT]]:
        """The workers of a generation, in this state if one is given."""
        return [worker for worker in self.workers if worker.generation is generation and state in (None, worker.state)]

    @property
    def busy(self) -> bool:
        """Whether a generation starts, or one retires."""
        return self.coming is not None or any(worker.state is State.RETIRING for worker in self.workers)

    @property
    def complete(self) -> bool:
        """Whether all workers that are wanted serve."""
        return self.current is not None and len(self.of(self.current, State.SERVING)) == self.current.wanted

    @property
    def answering(self) -> bool:
        """Whether no worker has left looks unanswered for half of the time it may."""
        return all(worker.missed <= PATIENCE // 2 for worker in self.workers)

    # -- what the owner wants -------------------------------------------------------------------------------------

    def start(self, generation: Generation) -> None:
        """Start a generation, which takes over when it can."""
        self.coming = generation
        for number in range(generation.wanted):
            if self.coming is generation:  # no worker before it could not be started
                self._launch(generation, number)

    def adopt(self, generation: Generation, since: Mapping[int, float]) -> None:
        """Go on with workers that serve, and start those that are missing.

        :param since: when they were started, by their numbers.
        """
        self.current = generation
        for number, began in since.items():
            worker = Worker[ProcessT](number, generation, began, State.SERVING)
            worker.process = self._owner.adopt(worker)
            self.workers.append(worker)
        self.resume()

    def hold(self) -> None:
        """Start no workers for now; those that do not serve yet are ended."""
        self._held = True
        self._cancel_restarts()
        for worker in self.of(self.current, State.STARTING):
            worker.process.kill()

    def resume(self) -> None:
        """Start the workers that are missing."""
        self._held = False
        assert self.current is not None
        there = {worker.number for worker in self.of(self.current)}
        for number in sorted(set(range(self.current.wanted)) - there):
            self._restart(number)

    def stop(self) -> None:
        """Let every worker finish its requests, and start none any more."""
        self.stopping, self.coming = True, None
        self._cancel_restarts()
        for worker in tuple(self.workers):
            worker.process.stop()
            worker.wait(
                self._clock.callLater(worker.generation.drain + STOP_MARGIN, self._kill, worker, "did not stop")
            )
        if not self.workers:
            self._owner.emptied()

    def hurry(self) -> None:
        """Let every worker cut everything."""
        for worker in tuple(self.workers):
            worker.process.hurry()
            worker.wait(self._clock.callLater(HURRY_TIMEOUT, self._kill, worker, "did not stop"))

    def look(self) -> None:
        """Ask each worker how it is, and end those that have not answered for long; to be called from time to time."""
        for worker in tuple(self.workers):
            if worker.state is State.STARTING:
                continue
            worker.missed += 1
            if worker.missed > PATIENCE:
                self._kill(worker, "hangs")
            else:
                worker.process.look(lambda worker=worker: setattr(worker, "missed", 0))  # type: ignore[misc]

    # -- what workers do ------------------------------------------------------------------------------------------

    def serving(self, worker: Worker[ProcessT]) -> None:
        """A worker accepts connections."""
        if worker.state is not State.STARTING:
            return
        worker.state = State.SERVING
        worker.wait(None)
        coming = self.coming
        if coming is None or worker.generation is not coming:
            return
        if len(self.of(coming, State.SERVING)) == coming.wanted:
            before, self.current, self.coming = self.current, coming, None
            self._quick_ends.clear()
            self._cancel_restarts()
            for each in self.of(before):
                self._retire(each)
            self._owner.took_over(before)

    def failed(self, worker: Worker[ProcessT], reason: str) -> None:
        """A worker cannot start, and will end."""
        worker.reason = reason

    def ended(self, worker: Worker[ProcessT], how: str) -> None:
        """A worker's process has ended."""
        self.workers.remove(worker)
        worker.wait(None)
        why = worker.reason or how
        if self.stopping:
            if not self.workers:
                self._owner.emptied()
        elif worker.generation is self.coming:
            self._refuse(f"worker {worker.number} did not start: {why}")
        elif worker.generation is self.current:
            self._log.error("Worker {number} (process {pid}) has ended: {why}", **_named(worker), why=why)
            if self._clock.seconds() - worker.since >= STEADY:
                self._quick_ends.pop(worker.number, None)
            self.restarts += 1
            self._restart(worker.number)
        elif not self.busy:
            self._owner.settled()

    # -- what follows ---------------------------------------------------------------------------------------------

    def _launch(self, generation: Generation, number: int) -> None:
        worker = Worker[ProcessT](number, generation, self._clock.seconds())
        try:
            worker.process = self._owner.launch(worker)
        except OSError as error:
            if generation is self.coming:
                self._refuse(f"worker {number} cannot be started: {error}")
            else:
                self._log.error("Worker {number} cannot be started: {error}", number=number, error=str(error))
                self._restart(number)
            return
        worker.wait(self._clock.callLater(START_TIMEOUT, self._late, worker))
        self.workers.append(worker)

    def _cancel_restarts(self) -> None:
        for number in tuple(self._restarts):
            self._restarts.pop(number).cancel()

    def _restart(self, number: int) -> None:
        if self._held:
            return
        ends = self._quick_ends.get(number, 0)
        self._quick_ends[number] = min(ends + 1, 20)
        self._restarts[number] = self._clock.callLater(
            min(FIRST_DELAY * 2**ends, LONGEST_DELAY), self._launch_again, number
        )

    def _launch_again(self, number: int) -> None:
        del self._restarts[number]
        assert self.current is not None
        self._launch(self.current, number)

    def _refuse(self, reason: str) -> None:
        generation, self.coming = self.coming, None
        assert generation is not None
        for worker in self.of(generation):
            self._retire(worker)
        self._owner.refused(generation, reason)

    def _retire(self, worker: Worker[ProcessT]) -> None:
        if worker.state is State.STARTING:  # it has no connections yet, and no way to be told
            worker.process.kill()
        else:
            worker.process.retire()
        worker.state = State.RETIRING
        patience = 2 * worker.generation.drain + STOP_MARGIN
        worker.wait(self._clock.callLater(patience, self._kill, worker, "did not stop"))

    def _late(self, worker: Worker[ProcessT]) -> None:
        worker.reason = f"it does not serve after {START_TIMEOUT:g} s"
        worker.process.kill()

    def _kill(self, worker: Worker[ProcessT], why: str) -> None:
        self._log.error("Worker {number} (process {pid}) {why}: it is killed", **_named(worker), why=why)
        worker.process.kill()


def _named(worker: Worker[Any]) -> dict[str, Any]:
    return {"number": worker.number, "pid": worker.process.pid}
