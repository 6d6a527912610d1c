"""The sockets of clients and instances, apart from the reactor's: all that can be read is read, and what that leads to
is sent at the end of the turn.

Three things make it fast. The reactor's own bookkeeping for each event is for its own descriptors alone. A turn waits
once, for these sockets and, as one of them, for the reactor's epoll. And a send to a peer that sleeps wakes it, which
costs more than the send: when all sends of a turn follow each other, the first one wakes it and the others find it
awake; several writes to one socket leave in one call besides.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, epoll
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import directlyProvidedBy, directlyProvides, implementer, providedBy

from gateway.http.transport import LEAST_READ, MOST_READ, Connector, ServerTransport

if TYPE_CHECKING:
    from twisted.internet.protocol import ClientFactory

EVENTS: Final = 256
"""Sockets that are looked after in one turn, at most; timers and everything else get theirs in between."""

TURN: Final = 2 * MOST_READ
"""Bytes that are read in one turn, where that leaves :data:`~gateway.http.transport.LEAST_READ` for each socket."""

LEAST_FOR_LOSSES: Final = 0.0005
"""Seconds of each turn in which it is told that connections have ended, at least; half as long as all else takes, at
most. Thousands may end at once, and each costs as much as a request: the others must not wait for all of them."""


class _Others:
    """The descriptors of the reactor itself, as one more that may be read from: its own turn looks after them."""

    connected = True
    _log = Logger()

    def __init__(self, reactor: EPollReactor) -> None:
        self._turn: Callable[[float], None] = reactor.doIteration
        self.fileno: Callable[[], int] = reactor._poller.fileno

    def doRead(self) -> None:
        try:
            self._turn(0)
        except Exception:  # which must not take them out of all turns to come
            self._log.failure("The reactor's own turn failed")

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has stopped, and knows it."""


@implementer(IReadDescriptor)
class Poller:
    """A reactor to the transports of :mod:`gateway.http.transport`; the real one waits by it.

    What it does not do itself it leaves to the reactor, so it can stand for that wherever connections are made. A
    reactor that is not Twisted's for epoll(7), or has another Poller already, has this as one of its descriptors.

    :param reactor: the real one, or what stands for it.
    :ivar share: bytes that each transport may read in this turn.
    """

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._epoll = epoll()
        self.fileno: Callable[[], int] = self._epoll.fileno
        self.seconds: Callable[[], float] = reactor.seconds  # asked for each request
        self._transports: dict[int, Any] = {}
        self._events: dict[int, int] = {}  # what epoll waits for
        self._written: dict[Any, None] = {}  # transports with something to send, in their order
        self._losses: deque[tuple[Any, Exception, bool]] = deque()  # who has ended, and is not told yet
        self._loss_call: IDelayedCall | None = None
        self._ends: list[Callable[[], None]] = []
        self._in_turn = False
        self.share = MOST_READ
        self._send_call: IDelayedCall | None = None
        directlyProvides(self, directlyProvidedBy(self) + providedBy(reactor))
        loop: Any = getattr(getattr(reactor, "doIteration", None), "__self__", None)
        self._joined = loop if isinstance(loop, EPollReactor) else None
        if self._joined is None:
            reactor.addReader(self)
        else:
            self._others = _Others(self._joined)
            self._joined.doIteration = self._iterate  # type: ignore[method-assign]
            self._stopping = reactor.addSystemEventTrigger("during", "shutdown", self._stopped)
            self.addReader(self._others)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def close(self) -> None:
        """Leave the reactor."""
        if self._joined is None:
            self._reactor.removeReader(self)
        else:
            del self._joined.doIteration
            self._reactor.removeSystemEventTrigger(self._stopping)
        self._epoll.close()

    # -- making connections ---------------------------------------------------------------------------------------

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory,
        timeout: float = 30,
        bindAddress: tuple[str, int] | None = None,
    ) -> Connector:
        """See ``IReactorTCP.connectTCP``.

        :param timeout: seconds until the attempt fails.
        """
        connector = Connector(host, port, factory, timeout, bindAddress, self)
        connector.connect()
        return connector

    def accept(self, skt: Any, protocol: Any, client: Any, server: Any, session: int, reactor: Any) -> ServerTransport:
        """What a listening port calls for each connection: set as its ``transport``."""
        poller: Any = self
        return ServerTransport(skt, protocol, client, server, session, poller)

    # -- what the reactor calls -----------------------------------------------------------------------------------

    def _iterate(self, timeout: float | None) -> None:
        """A turn of the reactor's loop: wait for the first event.

        :param timeout: seconds; None for as long as it takes.
        """
        ready = self._epoll.poll(timeout, EVENTS)
        if ready:
            self._turn(ready)

    def doRead(self) -> None:
        """Some sockets are ready, says a reactor that waited by itself."""
        self._turn(self._epoll.poll(0, EVENTS))

    def _turn(self, ready: list[tuple[int, int]]) -> None:
        self._in_turn = True
        began = self.seconds()
        try:
            self._read(ready)
            if self._losses:
                self._tell(self.seconds() - began)
            if self._ends:
                self._end()
        finally:
            self._in_turn = False
        if self._written:
            self._send()

    def _read(self, ready: list[tuple[int, int]]) -> None:
        transports = self._transports
        self.share = max(TURN // max(len(ready), 1), LEAST_READ)
        for descriptor, event in ready:
            transport = transports.get(descriptor)
            if transport is None:
                continue  # closed by what came before it in this turn
            why, reading = None, True
            try:
                if event & EPOLLIN:
                    why = transport.doRead()
                elif event & (EPOLLHUP | EPOLLERR):
                    why = ConnectionDone() if self._events[descriptor] & EPOLLIN else ConnectionLost()
                if why is None and event & EPOLLOUT:
                    reading = False
                    why = transport.doWrite()
            except Exception as error:
                self._log.failure("A connection failed")
                why = error
            if why is not None:
                if transport.connected:
                    self._ended(transport, why, reading)
                else:
                    self._lost(transport, Failure(why), reading)

    def logPrefix(self) -> str:
        return "-"

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has stopped: so it is for everybody here."""
        self._tell(float("inf"))
        for transport in tuple(self._transports.values()):
            self._lost(transport, reason, False)

    def _stopped(self) -> None:
        self.connectionLost(Failure(ConnectionLost()))
        self.addReader(self._others)  # the loop goes on until all that stops has stopped

    # -- what transports call -------------------------------------------------------------------------------------

    def written(self, transport: Any) -> None:
        """There is something to send: at the end of this turn, or, outside of one, of the reactor's."""
        self._written[transport] = None
        if not self._in_turn and self._send_call is None:
            self._send_call = self._reactor.callLater(0, self._send)

    def at_end(self, call: Callable[[], None]) -> None:
        """Call it when all of this turn has been read and nothing is sent; outside of one, in the reactor's next."""
        if self._in_turn:
            self._ends.append(call)
        else:
            self._reactor.callLater(0, call)

    def addReader(self, transport: Any) -> None:
        """Tell the transport when there is something to read."""
        self._wait(transport, EPOLLIN)

    def addWriter(self, transport: Any) -> None:
        """Let the transport write: one that is connected soon, one that is not when it is."""
        if transport.connected:
            self.written(transport)
        else:
            self.wait_for_room(transport)

    def wait_for_room(self, transport: Any) -> None:
        """Tell the transport when it can write again."""
        self._wait(transport, EPOLLOUT)

    def removeReader(self, transport: Any) -> None:
        """It is not to be told any more."""
        self._ignore(transport, EPOLLIN)

    def removeWriter(self, transport: Any) -> None:
        """It is not to be told any more."""
        self._written.pop(transport, None)
        self._ignore(transport, EPOLLOUT)

    # -- the rest -------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        ends, self._ends = self._ends, []
        for call in ends:
            try:
                call()
            except Exception:
                self._log.failure("What was to be done at the end of a turn failed")

    def _send(self) -> None:
        self._send_call = None
        written, self._written = self._written, {}
        for transport in written:
            if not transport.connected:
                continue
            why = None
            try:
                why = transport.doWrite()
            except Exception as error:
                self._log.failure("A connection failed")
                why = error
            if why is not None:
                self._lost(transport, Failure(why), False)

    def _ended(self, transport: Any, why: Exception, reading: bool) -> None:
        """A connection has ended: nothing more is read from it, and soon it is told."""
        self.removeReader(transport)
        if not (reading and isinstance(why, ConnectionDone)):
            self.removeWriter(transport)
        self._losses.append((transport, why, reading))

    def _tell(self, took: float) -> None:
        """Tell those that have ended, the first ones first, as many as there is time for.

        :param took: seconds that the rest of this turn took.
        """
        losses, until = self._losses, self.seconds() + max(took / 2, LEAST_FOR_LOSSES)
        while losses:
            transport, why, reading = losses.popleft()
            if transport.connected:
                self._lost(transport, Failure(why), reading)
            if self.seconds() >= until:
                break
        if losses and self._loss_call is None:
            self._loss_call = self._reactor.callLater(0, self._tell_more)

    def _tell_more(self) -> None:
        self._loss_call = None
        self._tell(0)

    def _lost(self, transport: Any, reason: Failure, reading: bool) -> None:
        try:
            self.removeReader(transport)
            if reading and reason.check(ConnectionDone):
                transport.readConnectionLost(reason)
            else:
                self.removeWriter(transport)
                transport.connectionLost(reason)
        except Exception:  # which must not take their turn from the others
            self._log.failure("A connection failed")

    def _wait(self, transport: Any, event: int) -> None:
        descriptor = transport.fileno()
        waited = self._events.get(descriptor, 0)
        if waited & event:
            return
        if waited:
            self._epoll.modify(descriptor, waited | event)
        else:
            self._epoll.register(descriptor, event)
            self._transports[descriptor] = transport
        self._events[descriptor] = waited | event

    def _ignore(self, transport: Any, event: int) -> None:
        descriptor = transport.fileno()
        waited = self._events.get(descriptor, 0)
        if not waited & event:
            return
        if waited == event:
            self._epoll.unregister(descriptor)
            del self._events[descriptor], self._transports[descriptor]
        else:
            self._epoll.modify(descriptor, waited & ~event)
            self._events[descriptor] = waited & ~event
