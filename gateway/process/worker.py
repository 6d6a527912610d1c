"""A worker: a gateway that accepts from the sockets of its supervisor, and does what that says."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol, Self

from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater

from gateway.process.children import connect
from gateway.process.control import Failed, Family, Serving, WorkerEnd
from gateway.process.service import ProcessService
from gateway.process.shares import Shares
from gateway.process.sockets import Inherited
from gateway.process.totals import families

READY_TIMEOUT: Final = 5.0
"""Seconds in which what the gateway needs should be there before it accepts connections; then it does without."""
_LOOK: Final = 0.05
_FAREWELL: Final = 2.0


@dataclass(frozen=True)
class Place:
    """Where a worker stands.

    :ivar control: the descriptor by which it is in touch with its supervisor.
    :ivar shares: the descriptor of what workers know of each other.
    :ivar sockets: the descriptors that it accepts from, by their keys.
    """

    number: int
    generation: int
    control: int
    shares: int
    sockets: Mapping[str, int]

    VARIABLE = "SMARTGATE_WORKER"

    @classmethod
    def take(cls, environ: Any) -> Self | None:
        """The place that the supervisor gave this process, if it is a worker."""
        text = environ.pop(cls.VARIABLE, None)
        return None if text is None else cls(**json.loads(text))

    def give(self) -> dict[str, str]:
        """The environment by which a process takes this place."""
        return {self.VARIABLE: json.dumps(asdict(self))}


class Gateway(Protocol):
    """What a worker serves with."""

    @property
    def registry(self) -> CollectorRegistry:
        """Its metrics."""

    @property
    def connections(self) -> int:
        """How many connections of clients are open."""

    @property
    def websockets(self) -> int:
        """How many WebSockets are open."""

    def start(self) -> None:
        """Get ready, without listening."""

    def listen(self) -> None:
        """Accept connections."""

    def ready(self) -> Deferred[bool]:
        """Whether all that it needs is there."""

    def stopService(self) -> Deferred[None]:
        """Let requests finish."""

    def retire(self) -> Deferred[None]:
        """Let streams have their time, too."""

    def hurry(self) -> None:
        """Cut everything."""

    def reopen(self) -> None:
        """Open log files anew."""


class Worker(ProcessService):
    """Serves as one of several.

    :param make: makes the gateway on a reactor.
    """

    def __init__(
        self, reactor: Any, twistd: Mapping[str, Any], make: Callable[[Any], Gateway], place: Place, **more: Any
    ) -> None:
        super().__init__(reactor, twistd, **more)
        self._make = make
        self._place = place
        self._gateway: Gateway | None = None
        self._retired: Deferred[Any] | None = None
        self._gone: Deferred[None] = Deferred()
        os.set_inheritable(place.control, False)
        self._link = WorkerEnd(self)

    def begin(self) -> None:
        """Make the gateway, and accept connections when it is ready."""
        connect(self.reactor, self._place.control, self._link)
        Deferred.fromCoroutine(self._begin_serving()).addErrback(self._failed)

    async def _begin_serving(self) -> None:
        shares = Shares(self._place.shares, self._place.number, self._connections, self.reactor.seconds)
        inherited = Inherited(self.reactor, self._place.sockets, shares)
        gateway = self._make(inherited)
        gateway.start()
        self._gateway = gateway
        latest = self.reactor.seconds() + READY_TIMEOUT
        while not await gateway.ready():
            if self.reactor.seconds() >= latest:
                self.log.warn("Worker {number} serves without all it needs: see /ready", number=self._place.number)
                break
            await deferLater(self.reactor, _LOOK)
        if self.stopping:
            return
        gateway.listen()
        inherited.release()
        self._link.callRemote(Serving)

    def _connections(self) -> int:
        return 0 if self._gateway is None else self._gateway.connections

    def _failed(self, failure: Any) -> None:
        if failure.check(SystemExit, OSError) is None:
            self.log.failure("Worker {number} cannot start", failure, number=self._place.number)
        reason = failure.getErrorMessage()
        self._link.callRemote(Failed, reason=reason)
        self.fail(reason)

    def stopService(self) -> Deferred[Any]:
        """Let requests finish, say how many they were, and end."""
        super().stopService()
        self.stopping = True
        if self._gateway is None:
            return self._part(None)
        stopped: Deferred[Any] = self._gateway.stopService()
        return stopped.addCallback(self._part)

    def _part(self, _: Any) -> Deferred[Any]:
        if self._link.transport is None or self._gone.called:
            return DeferredList([])
        if self._gateway is not None:
            self._link.farewell()
        else:
            self._link.transport.loseConnection()
        return self._gone.addTimeout(_FAREWELL, self.reactor).addErrback(lambda _: None)

    def reload(self) -> None:
        """It is the supervisor who reloads."""

    def stop(self) -> None:
        """End in good order; said twice, as when systemd tells all processes, it means no more than said once."""
        if not self.stopping:
            super().stop()

    # -- what the supervisor says ---------------------------------------------------------------------------------

    def look(self) -> Any:
        """How it is."""
        gateway = self._gateway
        if gateway is None:
            return {"ready": False, "connections": 0, "websockets": 0}
        return gateway.ready().addCallback(
            lambda ready: {"ready": ready, "connections": gateway.connections, "websockets": gateway.websockets}
        )

    def families(self) -> list[Family]:
        """All metrics."""
        return [] if self._gateway is None else families(self._gateway.registry)

    def retire(self) -> None:
        """Others serve now."""
        if self._gateway is not None and self._retired is None:
            self._retired = self._gateway.retire().addBoth(lambda _: self.stop())

    def reopen(self) -> None:
        super().reopen()
        if self._gateway is not None:
            self._gateway.reopen()

    def hurry(self) -> None:
        """Cut everything."""
        self.stop()
        if self._gateway is not None:
            self._gateway.hurry()

    def abandoned(self) -> None:
        """Without a supervisor nobody would end it: it ends itself."""
        if not self._gone.called:
            self._gone.callback(None)
        if not self.stopping:
            self.log.error("The supervisor is gone: worker {number} ends", number=self._place.number)
            self.stop()
