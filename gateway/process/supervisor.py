"""The supervisor: binds the sockets, keeps the workers running, and replaces them and itself at a reload."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall, deferLater

from gateway.config import Settings
from gateway.process import shares, snapshot, systemd
from gateway.process.children import Check, Child
from gateway.process.commands import Commands
from gateway.process.fleet import STOP_MARGIN, Fleet, Generation, State, Worker
from gateway.process.handover import Handover
from gateway.process.operators import Operators
from gateway.process.service import END_MARGIN, SIGNALS, ProcessService
from gateway.process.sockets import Binder, close
from gateway.process.totals import Totals
from gateway.process.worker import Place

LOOK_PERIOD: Final = 1.0
"""Seconds between two looks at how the workers are."""
CHECK_TIMEOUT: Final = 60.0
"""Seconds in which a configuration has to be checked."""
QUIET_TIMEOUT: Final = 2.0
"""Seconds in which workers have to answer what was asked before another program takes over, and operators to take what
they asked for.
"""
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
        self._operators = Operators(reactor, settings, self._fleet, self._totals, self._own_counts)
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
                self._first = self._generation(1, self._taken or snapshot.take(self._commands.config), {})
            except (CannotListenError, OSError) as error:
                raise SystemExit(f"smartgate: {error}") from None

    def begin(self) -> None:
        """Start the workers, or go on with those there are and replace them."""
        os.chdir(self._commands.directory)
        handover = self._handover
        if handover is None:
            self._operators.listen(self._first)
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
        self._notify.stopping(max(drains, default=0.0) + STOP_MARGIN + END_MARGIN)
        _close([each for each in (self._fleet.current, self._fleet.coming) if each is not None], [])
        operators = self._operators.stop()
        self._fleet.stop()
        return DeferredList([operators, self._emptied]).addCallback(self._stopped)

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
                try:
                    await self._quiet()
                    if not self.stopping:
                        self._replace(taken)
                finally:
                    self._resume()
        finally:
            os.close(taken)

    def _check(self, taken: int) -> Deferred[str | None]:
        """None when the configuration and the code are good, else what is wrong."""
        check, there = Check(), 3  # the snapshot's descriptor in that process
        environ = {**os.environ, snapshot.VARIABLE: str(there), Handover.FORMAT_VARIABLE: Handover.FORMAT}
        command = self._commands.check
        files: dict[int, Any] = {0: 0, 1: "r", 2: "r", there: taken}
        self.reactor.spawnProcess(check, command[0], command, environ, self._commands.directory, childFDs=files)
        place, config = snapshot.place(there), self._commands.config
        told = check.result.addTimeout(CHECK_TIMEOUT, self.reactor, _unchecked)
        return told.addCallback(lambda text: text and text.replace(place, config))

    async def _quiet(self) -> None:
        """Wait until nothing that was asked is unanswered: the next program could not understand what workers answer,
        and has no connection of an operator.
        """
        self._fleet.hold()
        self._looking.stop()
        self._operators.hold()
        latest = patience = self.reactor.seconds() + QUIET_TIMEOUT
        while (loud := self._loud()) or (self._operators.connected and self.reactor.seconds() < patience):
            if self.reactor.seconds() > latest:
                for worker in loud:
                    self.log.error("Worker {number} hangs: it is killed", number=worker.number)
                    worker.process.kill()
                latest += QUIET_TIMEOUT
            await deferLater(self.reactor, 0.01)

    def _loud(self) -> list[Worker[Child]]:
        """The workers that have not answered yet."""
        return [each for each in self._fleet.workers if each.state is State.STARTING or not each.process.quiet]

    def _resume(self) -> None:
        """Go on after :meth:`_quiet`: no other program has taken over."""
        if not self.stopping:
            self._fleet.resume()
            self._looking.start(LOOK_PERIOD, now=False)
            self._operators.resume()

    def _replace(self, taken: int) -> None:
        """Go on as another program, with the same process id, sockets and workers.

        :raises RuntimeError: when it cannot.
        """
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
        command, left = self._commands.supervisor, dict[str, str]()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # what comes meanwhile waits for the next program
        try:
            sys.stdout.flush()
            os.set_inheritable(taken, True)
            left = handover.give()
            environ = {**os.environ, **left, snapshot.VARIABLE: str(taken), **systemd.to(os.getpid())}
            os.execve(command[0], command, environ)
        except OSError as error:
            Handover.take(left)
            raise RuntimeError(f"{command[0]}: {error}") from error
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _go_on(self, handover: Handover) -> None:
        """Take over from the program before, and replace its workers."""
        before = handover.generation
        self._left = {number: (pid, control) for number, pid, control, _ in handover.workers}
        self._operators.listen(before)
        self._fleet.adopt(before, {number: since for number, _, _, since in handover.workers})
        assert self._taken is not None
        try:
            coming = self._generation(before.number + 1, self._taken, {**before.sockets, **before.admin_sockets})
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

    def _generation(self, number: int, taken: int, bound: Mapping[str, int]) -> Generation:
        """Bind what the configuration says, where it is not bound already.

        :raises CannotListenError: when something cannot be bound; then nothing new is.
        """
        server = self._settings.server
        clients, admin = Binder(self.reactor, bound), Binder(self.reactor, bound)
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
            shares.make(wanted(self._settings)),
            clients.sockets,
            server.admin,
            admin.sockets,
        )

    # -- what the fleet says --------------------------------------------------------------------------------------

    def launch(self, worker: Worker[Child]) -> Child:
        """Start a worker's process."""
        generation = worker.generation
        one, other = socket.socketpair()
        log_file = self._log_file()
        with one, other:
            first = systemd.FIRST + systemd.handed(os.environ)
            files = {0: 0, 1: 1, 2: log_file, **{each: each for each in range(systemd.FIRST, first)}}
            files |= {first: other.fileno(), first + 1: generation.snapshot, first + 2: generation.shares}
            sockets = {key: first + 3 + index for index, key in enumerate(generation.sockets)}
            files |= {sockets[key]: descriptor for key, descriptor in generation.sockets.items()}
            place = Place(worker.number, generation.number, first, first + 2, sockets)
            environ = {key: value for key, value in os.environ.items() if key not in _NOT_FOR_WORKERS}
            environ |= {**place.give(), snapshot.VARIABLE: str(first + 1), **systemd.to(0)}
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
        self._operators.listen(now)
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

    def _own_counts(self) -> dict[str, int]:
        return {**self._counts, "restarts": self._fleet.restarts}


def _unchecked(_: object, seconds: float) -> None:
    raise RuntimeError(f"the check of the configuration is not over after {seconds:g} s")


def _close(these: Iterable[Generation], without: Iterable[Generation]) -> None:
    """Let go of generations, but not of what others of them have, too."""
    kept = {descriptor for each in without for descriptor in _descriptors(each)}
    for descriptor, key in {number: key for each in these for number, key in _descriptors(each).items()}.items():
        if descriptor not in kept:
            close(key, descriptor)


def _descriptors(generation: Generation) -> dict[int, str]:
    found = {descriptor: key for key, descriptor in (*generation.sockets.items(), *generation.admin_sockets.items())}
    return {**found, generation.snapshot: "snapshot", generation.shares: "shares"}
