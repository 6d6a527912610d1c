"""A supervisor's child processes: started here, or before this program took over."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone
from twisted.internet.process import registerReapProcessHandler, unregisterReapProcessHandler
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.python.failure import Failure

from gateway.process.control import Hurry, Reopen, Retire, SupervisorEnd

SAID: Final = 16 * 1024
"""Bytes of what a check says that are kept."""


class _One(Factory):
    """Has one protocol, for the one connection there is."""

    noisy = False

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: Any) -> Any:
        return self._protocol


def connect(reactor: Any, descriptor: int, protocol: Any) -> None:
    """Let ``protocol`` speak over a descriptor, which is used up."""
    reactor.adoptStreamConnection(descriptor, socket.AF_UNIX, _One(protocol))
    os.close(descriptor)


class _Link(SupervisorEnd):
    """Says when it is lost."""

    def __init__(self, child: Child, serving: Callable[[], None], failed: Callable[[str], None]) -> None:
        super().__init__(serving, failed)
        self._child = child

    def connectionLost(self, reason: Any = None) -> None:
        super().connectionLost(reason)
        self._child.link_lost()


class Child(ProcessProtocol):
    """A worker's process, as its supervisor has it.

    :param ended: called with how it ended, when it has, and all that it said was heard.
    """

    pid = 0

    def __init__(self, serving: Callable[[], None], failed: Callable[[str], None], ended: Callable[[str], None]):
        self.link = _Link(self, serving, failed)
        self._ended = ended
        self._how = ""
        self._lost = False
        self.seen: dict[str, Any] = {"ready": False, "connections": 0, "websockets": 0}

    def spawn(
        self, reactor: Any, arguments: list[str], environ: dict[str, str], directory: str, files: Mapping[int, int]
    ) -> None:
        """Start it.

        :param files: this process's descriptors by those that the child has them as.
        :raises OSError: when it cannot be started.
        """
        self.pid = reactor.spawnProcess(self, arguments[0], arguments, environ, directory, childFDs=dict(files)).pid

    def connect(self, reactor: Any, control: int) -> None:
        """Be in touch with it, over a descriptor that is used up."""
        connect(reactor, control, self.link)

    @property
    def control(self) -> int:
        """The descriptor by which this is in touch with it."""
        transport: Any = self.link.transport
        return int(transport.fileno())

    @property
    def quiet(self) -> bool:
        """Whether another program can go on with it: it was heard out."""
        return self.link.quiet and not self._lost and not self._how

    def adopt(self, pid: int) -> None:
        """It runs already, as a child of this process."""
        self.pid = pid
        registerReapProcessHandler(pid, self)

    # -- what it is told and asked --------------------------------------------------------------------------------

    def look(self, answered: Callable[[], None]) -> None:
        """Ask how it is."""

        def heard(answer: dict[str, Any]) -> None:
            self.seen = answer
            answered()

        self.link.look().addCallbacks(heard, lambda _: None)

    def retire(self) -> None:
        """Others have taken over."""
        self.link.order(Retire)

    def stop(self) -> None:
        """Let it finish requests."""
        self._signal(signal.SIGTERM)

    def hurry(self) -> None:
        """Let it cut everything."""
        self.link.order(Hurry)

    def reopen(self) -> None:
        """Let it open its log files anew."""
        self.link.order(Reopen)

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if not self._how:  # else its pid may be another's
            os.kill(self.pid, number)

    # -- its end --------------------------------------------------------------------------------------------------

    def processExited(self, reason: Failure) -> None:
        """Twisted, about a child that this program has started."""
        value: Any = reason.value
        self._exited(0 if reason.check(ProcessDone) else value.status)

    def reapProcess(self) -> None:
        """Twisted, when some child has ended: perhaps one that was adopted."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            unregisterReapProcessHandler(pid, self)
            self._exited(status)

    def processEnded(self, reason: Any) -> None:
        """Twisted: of a child that was adopted after its end its status, of others what is known already."""
        if isinstance(reason, int):
            self._exited(reason)

    def link_lost(self) -> None:
        """All that it said was heard."""
        self._lost = True
        self._look_at_end()

    def _exited(self, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        self._how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        self._look_at_end()

    def _look_at_end(self) -> None:
        if self._how and self._lost:
            self._ended(self._how)


class Check(ProcessProtocol):
    """A process that says whether something is right.

    :ivar result: fires with None, or with what it said was wrong.
    """

    def __init__(self) -> None:
        self.result: Deferred[str | None] = Deferred(lambda _: self._kill())
        self._said = b""

    def outReceived(self, data: bytes) -> None:
        """Keep what it says."""
        self._said = (self._said + data)[:SAID]

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        """It has decided."""
        if not self.result.called:
            said = self._said.decode(errors="replace").strip()
            value: Any = reason.value
            self.result.callback(None if reason.check(ProcessDone) else said or str(value))

    def _kill(self) -> None:
        transport: Any = self.transport
        transport.signalProcess("KILL")
