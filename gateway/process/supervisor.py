"""The supervisor: binds the sockets, keeps the workers running, and replaces them and itself at a reload."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall, deferLater

from gateway.config import Settings
from gateway.process import snapshot
from gateway.process.admin import pages
from gateway.process.children import Check, Child
from gateway.process.commands import Commands
from gateway.process.control import Family
from gateway.process.fleet import STOP_MARGIN, Fleet, Generation, State, Worker
from gateway.process.handover import Handover
from gateway.process.service import PARTING, SIGNALS, ProcessService
from gateway.process.sockets import Binder, Inherited, close
from gateway.process.totals import Totals, families
from gateway.process.worker import Place
from gateway.telemetry.metrics import Metrics
from gateway.wiring.listeners import Listeners
from gateway.wiring.routes import admin_tree
from gateway.wiring.sites import make_admin

LOOK_PERIOD: Final = 1.0
"""Seconds between two looks at how the workers are."""
CHECK_TIMEOUT: Final = 60.0
"""Seconds in which a configuration has to be checked."""
QUIET_TIMEOUT: Final = 2.0
"""Seconds in which workers have to answer what was asked before another program takes over, and operators to take what
they asked for.
"""
GATHER_TIMEOUT: Final = 2.0
"""Seconds in which a worker has to tell its metrics; then those count that it told before."""
_FIRST_FILE: Final = 3
_NOT_FOR_WORKERS: Final = frozenset(("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"))


def usable_cpus() -> int:
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0))


def wanted(settings: Settings) -> int:
    """How many workers a configuration asks for: "auto" is one for each CPU, and one where nothing can be shared."""
    asked = settings.server.workers
    if asked != "auto":
        return asked
    return 1 if settings.redis.url == "memory:" else usable_cpus()


def systemd_files(environ: Mapping[str, str]) -> int:
    """How many sockets systemd has handed to this process, from descriptor 3 on.

    Twisted takes LISTEN_PID and LISTEN_FDS out of the environment where they are meant for this process.
    """
    names = environ.get("LISTEN_FDNAMES", "")
    return names.count(":") + 1 if names and "LISTEN_PID" not in environ else 0


class Supervisor(ProcessService):
    """Runs a gateway in workers.

    :param settings: the configuration that is to be served.
    :param config: its path, for the next one.
    :param taken: the descriptor of its snapshot, if it was read from that.
    :param handover: what the program before this one has left, when this is a reload.
    """

    def __init__(
        self,
        reactor: Any,
        twistd: Mapping[str, Any],
        settings: Settings,
        config: str,
        taken: int | None = None,
        handover: Handover | None = None,
        **more: Any,
    ) -> None:
        super().__init__(reactor, twistd, **more)
        self._commands = Commands(twistd, config)
        self._settings = settings
        self._taken = taken
        self._handover = handover
        self._fleet: Fleet[Child] = Fleet(reactor, self)
        self._totals = Totals(handover.counted if handover else ())
        self._counts = handover.counts if handover else {"reloads": 0, "refused": 0, "restarts": 0}
        self._fleet.restarts = self._counts["restarts"]
        self._left: dict[int, tuple[int, int]] = {}
        self._again = handover.again if handover else False
        self._pidfile = handover.pidfile if handover else os.path.abspath(twistd.get("pidfile") or "")
        self._reloading = handover is not None
        self._emptied: Deferred[None] = Deferred()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._admin = make_admin(reactor, admin_tree(pages(self._gather, self._ready, self._describe)))
        self._admin_text = ""
        self._admin_port: Any = None
        self._looking = LoopingCall(self._fleet.look)
        self._looking.clock = reactor

    # -- its life -------------------------------------------------------------------------------------------------

    def startService(self) -> None:
        """Bind the sockets.

        :raises SystemExit: when one cannot be bound, and nothing serves yet.
        """
        super().startService()
        if self._handover is None:
            try:
                self._first = self._generation(1, self._taken or snapshot.take(self._commands.config), {}, {})
            except (CannotListenError, OSError) as error:
                raise SystemExit(f"smartgate: {error}") from None

    def begin(self) -> None:
        """Start the workers, or go on with those there are and replace them."""
        os.chdir(self._commands.directory)
        handover = self._handover
        if handover is None:
            self._serve_admin(self._first)
            self._fleet.start(self._first)
        else:
            self._go_on(handover)
        self._looking.start(LOOK_PERIOD, now=False)

    def answering(self) -> bool:
        """Whether no worker hangs."""
        return self._fleet.answering

    def stopService(self) -> Deferred[Any]:
        """Let all workers finish their requests, and end."""
        super().stopService()
        self.stopping = True
        drains = [worker.generation.drain for worker in self._fleet.workers]
        self._notify.stopping(max(drains, default=0.0) + STOP_MARGIN + PARTING)
        _close([each for each in (self._fleet.current, self._fleet.coming) if each is not None], [])
        admin = maybeDeferred(self._admin_port.stopListening) if self._admin_port is not None else None
        self._admin.abort()
        self._fleet.stop()
        return DeferredList([each for each in (admin, self._emptied) if each is not None]).addCallback(self._stopped)

    def _stopped(self, _: Any) -> None:
        if self._looking.running:
            self._looking.stop()
        if self._handover is not None and self._pidfile:  # twistd does not know of it any more
            with contextlib.suppress(OSError):
                os.unlink(self._pidfile)

    def hurry(self) -> None:
        self._fleet.hurry()

    def reopen(self) -> None:
        super().reopen()
        for worker in self._fleet.workers:
            worker.process.reopen()

    # -- reload ---------------------------------------------------------------------------------------------------

    def reload(self) -> None:
        """Check the configuration and the code as they are now; then let them take over.

        While a reload is under way, or workers retire because of one, the next one waits: there are never more than
        two generations.
        """
        if self.stopping:
            return
        if self._reloading or self._fleet.busy:
            self._again = True
            self.log.info("The reload waits until the last one is over")
            return
        self._reloading, self._again = True, False
        self._notify.reloading()
        Deferred.fromCoroutine(self._reload()).addErrback(lambda failure: self._refuse(failure.getErrorMessage()))

    async def _reload(self) -> None:
        taken = snapshot.take(self._commands.config)
        try:
            mistakes = await self._check(taken)
            if mistakes is not None:
                self._refuse(mistakes)
            elif not self.stopping:
                await self._quiet()
                if not self.stopping:
                    self._replace(taken)  # returns only when it failed
        finally:
            os.close(taken)

    def _check(self, taken: int) -> Deferred[str | None]:
        """None when the configuration and the code are good, else what is wrong."""
        check = Check()
        environ = {**os.environ, snapshot.VARIABLE: str(_FIRST_FILE), Handover.FORMAT_VARIABLE: Handover.FORMAT}
        command = self._commands.check
        files: dict[int, Any] = {0: 0, 1: "r", 2: "r", _FIRST_FILE: taken}
        self.reactor.spawnProcess(check, command[0], command, environ, self._commands.directory, childFDs=files)
        place, config = snapshot.place(_FIRST_FILE), self._commands.config
        told = check.result.addTimeout(CHECK_TIMEOUT, self.reactor)
        return told.addCallback(lambda text: text and text.replace(place, config))

    async def _quiet(self) -> None:
        """Wait until nothing that was asked is unanswered: the next program could not understand what workers answer,
        and has no connection of an operator.
        """
        self._fleet.hold()
        self._looking.stop()
        if self._admin_port is not None:
            self._admin_port.pauseProducing()  # who comes now waits for the next program
        self._admin.drain()
        latest = patience = self.reactor.seconds() + QUIET_TIMEOUT
        while (loud := self._loud()) or (self._admin.channels and self.reactor.seconds() < patience):
            if self.reactor.seconds() > latest:
                for worker in loud:
                    self.log.error("Worker {number} hangs: it is killed", number=worker.number)
                    worker.process.kill()
                latest += QUIET_TIMEOUT
            await deferLater(self.reactor, 0.01)

    def _loud(self) -> list[Worker[Child]]:
        """The workers that have not answered yet."""
        return [each for each in self._fleet.workers if each.state is State.STARTING or not each.process.quiet]

    def _replace(self, taken: int) -> None:
        """Go on as another program, with the same process id, sockets and workers."""
        generation = self._fleet.current
        assert generation is not None
        handover = Handover(
            generation,
            [(each.number, each.process.pid, each.process.control, each.since) for each in self._fleet.workers],
            self._totals.kept,
            self._own_counts(),
            self._again,
            self._pidfile,
        )
        command = self._commands.supervisor
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # what comes meanwhile waits for the next program
        sys.stdout.flush()
        os.set_inheritable(taken, True)
        left = handover.give()
        environ = {**os.environ, **left, snapshot.VARIABLE: str(taken), **_systemd(os.getpid())}
        try:
            os.execve(command[0], command, environ)
        except OSError as error:
            Handover.take(left)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            self._fleet.resume()
            self._looking.start(LOOK_PERIOD, now=False)
            self._admin.draining = False
            if self._admin_port is not None:
                self._admin_port.resumeProducing()
            self._refuse(f"{command[0]}: {error}")

    def _go_on(self, handover: Handover) -> None:
        """Take over from the program before, and replace its workers."""
        before = handover.generation
        self._left = {number: (pid, control) for number, pid, control, _ in handover.workers}
        self._serve_admin(before)
        self._fleet.adopt(before, {number: since for number, _, _, since in handover.workers})
        assert self._taken is not None
        try:
            coming = self._generation(before.number + 1, self._taken, before.sockets, before.admin_sockets)
        except (CannotListenError, OSError) as error:
            os.close(self._taken)
            self._refuse(str(error))
        else:
            self._fleet.start(coming)

    def _refuse(self, reason: str) -> None:
        self._counts["refused"] += 1
        self.log.error("The reload is refused, and nothing has changed: {reason}", reason=reason)
        self._over(f"the last reload was refused: {reason}")

    def _over(self, status: str) -> None:
        """A start or a reload is over."""
        self._reloading = False
        self._notify.ready(status)
        self._next()

    def _next(self) -> None:
        if self._again and not self._reloading and not self._fleet.busy:
            self.reload()

    # -- sockets --------------------------------------------------------------------------------------------------

    def _generation(
        self, number: int, taken: int, bound: Mapping[str, int], bound_admin: Mapping[str, int]
    ) -> Generation:
        """Bind what the configuration says, where it is not bound already.

        :raises CannotListenError: when something cannot be bound; then nothing new is.
        """
        server = self._settings.server
        clients, admin = Binder(self.reactor, bound), Binder(self.reactor, bound_admin)
        try:
            if not wanted(self._settings):
                raise OSError("server.workers = 0 takes a restart")
            for text in server.listen:
                clients.bind(text)
            if server.admin:
                admin.bind(server.admin)
        except (CannotListenError, OSError):
            clients.release()
            admin.release()
            raise
        return Generation(
            number,
            wanted(self._settings),
            server.shutdown_delay + server.drain,
            taken,
            clients.sockets,
            server.admin,
            admin.sockets,
        )

    def _serve_admin(self, generation: Generation) -> None:
        """Listen to operators where this generation says."""
        if generation.admin == self._admin_text:
            return
        if self._admin_port is not None:
            maybeDeferred(self._admin_port.stopListening)
            self._admin_port = None
        self._admin_text = generation.admin
        if not generation.admin:
            return
        inherited = Inherited(self.reactor, {key: os.dup(fd) for key, fd in generation.admin_sockets.items()})
        listeners = Listeners(self._settings, inherited, Metrics())
        with _kept(systemd_files(os.environ)):
            maybeDeferred(listeners.listen, generation.admin, self._admin).addCallbacks(
                lambda port: setattr(self, "_admin_port", port),
                lambda failure: self.log.failure("Operators cannot be listened to", failure),
            )

    # -- what the fleet says --------------------------------------------------------------------------------------

    def launch(self, worker: Worker[Child]) -> Child:
        """Start a worker's process."""
        generation = worker.generation
        one, other = socket.socketpair()
        log_file = self._log_file()
        with one, other:
            systemd = _systemd(0)
            first = _FIRST_FILE + int(systemd.get("LISTEN_FDS", 0))
            files = {0: 0, 1: 1, 2: log_file, **{each: each for each in range(_FIRST_FILE, first)}}
            files |= {first: other.fileno(), first + 1: generation.snapshot}
            sockets = {key: first + 2 + index for index, key in enumerate(generation.sockets)}
            files |= {sockets[key]: descriptor for key, descriptor in generation.sockets.items()}
            place = Place(worker.number, generation.number, first, sockets)
            environ = {key: value for key, value in os.environ.items() if key not in _NOT_FOR_WORKERS}
            environ |= {**place.give(), snapshot.VARIABLE: str(first + 1), **systemd}
            child = self._child(worker)
            try:
                child.spawn(self.reactor, self._commands.worker, environ, self._commands.directory, files)
            finally:
                if log_file != 2:
                    os.close(log_file)
            child.connect(self.reactor, one.detach())
        return child

    def adopt(self, worker: Worker[Child]) -> Child:
        """Go on with a worker's process."""
        pid, control = self._left[worker.number]
        child = self._child(worker)
        child.connect(self.reactor, control)
        child.adopt(pid)
        child.seen["ready"] = True  # as far as is known
        child.look(lambda: None)
        return child

    def _child(self, worker: Worker[Child]) -> Child:
        fleet = self._fleet

        def serving() -> None:
            worker.process.seen["ready"] = True  # that is what it has waited for
            fleet.serving(worker)
            worker.process.look(lambda: None)

        def ended(how: str) -> None:
            self._totals.keep(worker.process.link.counted)
            fleet.ended(worker, how)

        return Child(serving, lambda reason: fleet.failed(worker, reason), ended)

    def _log_file(self) -> int:
        """Where what a worker says goes that is no line of its log: the log too, if it is a file."""
        if not self._commands.log_file:
            return 2
        return os.open(self._commands.log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def took_over(self, before: Generation | None) -> None:
        """The workers that were started serve."""
        now = self._fleet.current
        assert now is not None
        self._serve_admin(now)
        if before is not None:
            _close([before], [now])
            self._counts["reloads"] += 1
        status = f"{now.wanted} workers serve, generation {now.number}"
        self.log.info("{status}", status=status)
        self._over(status)

    def refused(self, generation: Generation, reason: str) -> None:
        """The workers that were started do not serve."""
        current = self._fleet.current
        _close([generation], [] if current is None else [current])
        if current is None:
            self.fail(reason)
        else:
            self._refuse(reason)

    def settled(self) -> None:
        """The workers of the generation before have ended."""
        self._next()

    def emptied(self) -> None:
        """No worker is left."""
        self._emptied.callback(None)

    # -- what operators are told ----------------------------------------------------------------------------------

    def _ready(self) -> bool:
        """Whether all workers that are wanted serve, and have all they need."""
        serving = self._fleet.of(self._fleet.current, State.SERVING)
        return self._fleet.complete and all(worker.process.seen["ready"] for worker in serving)

    def _describe(self) -> list[dict[str, Any]]:
        return [
            {
                "number": worker.number,
                "generation": worker.generation.number,
                "pid": worker.process.pid,
                "state": worker.state.value,
                "started": round(worker.since, 3),
                **worker.process.seen,
            }
            for worker in self._fleet.workers
        ]

    def _gather(self) -> Deferred[Iterable[Metric]]:
        workers = [worker for worker in self._fleet.workers if worker.state is not State.STARTING]
        asked = [
            Deferred.fromCoroutine(worker.process.link.count()).addTimeout(GATHER_TIMEOUT, self.reactor)
            for worker in workers
        ]
        told: Deferred[Any] = DeferredList(asked, consumeErrors=True)
        return told.addCallback(lambda _: self._add_up(workers))

    def _add_up(self, workers: list[Worker[Child]]) -> Iterable[Metric]:
        """What workers told now, or, where one did not, before."""
        living: list[tuple[str, list[Family]]] = [("supervisor", families(self._registry))]
        for worker in workers:
            if worker in self._fleet.workers:  # else it has ended meanwhile, and was counted
                name = f"{worker.number} retiring" if worker.state is State.RETIRING else str(worker.number)
                living.append((name, worker.process.link.counted))
        yield from self._totals.with_living(living)
        states = GaugeMetricFamily("smartgate_workers", "Workers.", labels=("state",))
        for state in State:
            states.add_metric((state.value,), sum(worker.state is state for worker in self._fleet.workers))
        yield states
        counts = self._own_counts()
        yield CounterMetricFamily(
            "smartgate_worker_restarts", "Workers that ended and were started again.", counts["restarts"]
        )
        reloads = CounterMetricFamily("smartgate_reloads", "Reloads.", labels=("outcome",))
        reloads.add_metric(("done",), counts["reloads"])
        reloads.add_metric(("refused",), counts["refused"])
        yield reloads

    def _own_counts(self) -> dict[str, int]:
        return {**self._counts, "restarts": self._fleet.restarts}


def _systemd(pid: int) -> dict[str, str]:
    """The environment that hands systemd's sockets on to a process; nothing where there are none."""
    files = systemd_files(os.environ)
    return {"LISTEN_FDS": str(files), "LISTEN_PID": str(pid)} if files else {}


@contextlib.contextmanager
def _kept(files: int) -> Iterator[None]:
    """Keep systemd's sockets: an endpoint closes the one that it listens at, which other processes need, too."""
    kept = {number: os.dup(number) for number in range(_FIRST_FILE, _FIRST_FILE + files)}
    yield
    for number, copy in kept.items():
        os.dup2(copy, number)
        os.close(copy)


def _close(these: Iterable[Generation], without: Iterable[Generation]) -> None:
    """Let go of generations, but not of what others of them have, too."""
    kept = {descriptor for each in without for descriptor in _descriptors(each)}
    for descriptor, key in {number: key for each in these for number, key in _descriptors(each).items()}.items():
        if descriptor not in kept:
            close(key, descriptor)


def _descriptors(generation: Generation) -> dict[int, str]:
    found = {descriptor: key for key, descriptor in (*generation.sockets.items(), *generation.admin_sockets.items())}
    return {**found, generation.snapshot: "snapshot"}
