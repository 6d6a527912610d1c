"""What a supervisor and a worker say to each other (AMP), over a pair of sockets."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.internet.protocol import connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure

PIECE: Final = 60_000
"""Bytes of what is too long for one value of AMP (65,535) that are sent at once."""

Sample = tuple[str, dict[str, str], float]
Family = tuple[str, str, str, list[Sample]]
"""A family of metrics: name, type, description, samples."""


class Look(amp.Command):
    """How is it going? Asked from time to time: who does not answer hangs."""

    response = [(b"ready", amp.Boolean()), (b"connections", amp.Integer()), (b"websockets", amp.Integer())]


class Count(amp.Command):
    """The metrics, in JSON, from ``offset`` on; those of the moment when they were asked for from 0."""

    arguments = [(b"offset", amp.Integer())]
    response = [(b"piece", amp.String()), (b"more", amp.Boolean())]


class Retire(amp.Command):
    """Others have taken over: finish what is under way, and end."""

    requiresAnswer = False


class Hurry(amp.Command):
    """Cut everything, and end."""

    requiresAnswer = False


class Reopen(amp.Command):
    """Open the log files anew."""

    requiresAnswer = False


class Serving(amp.Command):
    """The worker accepts connections."""

    requiresAnswer = False


class Failed(amp.Command):
    """The worker cannot start."""

    arguments = [(b"reason", amp.Unicode())]
    requiresAnswer = False


class Farewell(amp.Command):
    """The worker ends; its metrics as they are then, piece by piece."""

    arguments = [(b"piece", amp.String()), (b"more", amp.Boolean())]
    requiresAnswer = False


class Work(Protocol):
    """What a worker does when its supervisor says so."""

    def look(self) -> Any:
        """The answer to :class:`Look`, or a Deferred of it."""

    def families(self) -> list[Family]:
        """All metrics as they are now."""

    def retire(self) -> None:
        """See :class:`Retire`."""

    def hurry(self) -> None:
        """See :class:`Hurry`."""

    def reopen(self) -> None:
        """See :class:`Reopen`."""

    def abandoned(self) -> None:
        """The supervisor is gone."""


class _End(amp.AMP):
    """Does not log that it is connected, and that no more."""

    def makeConnection(self, transport: Any) -> None:
        amp.BinaryBoxProtocol.makeConnection(self, transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        amp.BinaryBoxProtocol.connectionLost(self, reason)
        self.transport = None


class WorkerEnd(_End):
    """The worker's end."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work = work
        self._counted = b""

    @Look.responder
    def _look(self) -> Any:
        return self._work.look()

    @Count.responder
    def _count(self, offset: int) -> dict[str, Any]:
        if offset == 0:
            self._counted = json.dumps(self._work.families()).encode()
        piece = self._counted[offset : offset + PIECE]
        more = offset + len(piece) < len(self._counted)
        if not more:
            self._counted = b""
        return {"piece": piece, "more": more}

    @Retire.responder
    def _retire(self) -> dict[str, Any]:
        self._work.retire()
        return {}

    @Hurry.responder
    def _hurry(self) -> dict[str, Any]:
        self._work.hurry()
        return {}

    @Reopen.responder
    def _reopen(self) -> dict[str, Any]:
        self._work.reopen()
        return {}

    def farewell(self) -> None:
        """Send the last metrics, and close when they are sent."""
        left = json.dumps(self._work.families()).encode()
        while left:
            piece, left = left[:PIECE], left[PIECE:]
            self.callRemote(Farewell, piece=piece, more=bool(left))
        transport: Any = self.transport
        transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self._work.abandoned()


class SupervisorEnd(_End):
    """The supervisor's end.

    :param serving: called when the worker accepts connections.
    :param failed: called with the reason for which the worker cannot start.
    :ivar counted: the last metrics that are known.
    """

    def __init__(self, serving: Callable[[], None], failed: Callable[[str], None]) -> None:
        super().__init__()
        self._serving = serving
        self._failed = failed
        self._asked = 0
        self._last = b""
        self._counting = DeferredLock()
        self.counted: list[Family] = []

    @Serving.responder
    def _is_serving(self) -> dict[str, Any]:
        self._serving()
        return {}

    @Failed.responder
    def _has_failed(self, reason: str) -> dict[str, Any]:
        self._failed(reason)
        return {}

    @Farewell.responder
    def _bids_farewell(self, piece: bytes, more: bool) -> dict[str, Any]:
        self._last += piece
        if not more:
            self.counted = json.loads(self._last)
        return {}

    @property
    def quiet(self) -> bool:
        """Whether nothing is asked and not answered, or half received: another program can go on here."""
        return not self._asked and self.state == "init" and not self.recvd

    def look(self) -> Deferred[dict[str, Any]]:
        """See :class:`Look`."""
        return self._ask(Look)

    async def count(self) -> list[Family]:
        """See :class:`Count`."""
        async with self._counting:
            pieces: list[bytes] = []
            more, offset = True, 0
            while more:
                answer = await self._ask(Count, offset=offset)
                pieces.append(answer["piece"])
                more, offset = answer["more"], offset + len(answer["piece"])
        self.counted = json.loads(b"".join(pieces))
        return self.counted

    def order(self, command: type[amp.Command]) -> None:
        """Send a command that has no answer; one that cannot be sent any more is of no use either."""
        maybeDeferred(self.callRemote, command).addErrback(lambda _: None)

    def _ask(self, command: type[amp.Command], **values: Any) -> Deferred[dict[str, Any]]:
        self._asked += 1
        answer: Deferred[dict[str, Any]] = Deferred()

        def heard(result: Any) -> None:
            self._asked -= 1
            if not answer.called:  # nobody waits for it any more
                answer.callback(result)

        maybeDeferred(self.callRemote, command, **values).addBoth(heard)
        return answer
