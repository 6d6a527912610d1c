"""The listener's factory: what all connections share, and the step from a request that was read to its leaf."""

from __future__ import annotations

import itertools
import random
import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final
from typing import Protocol as Shape

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocolNegotiationFactory, IReactorTime
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.web.http import datetimeToString
from twisted.web.resource import IResource
from zope.interface import implementer

from gateway.core.addresses import Networks, client_address
from gateway.core.errors import GatewayError
from gateway.core.headers import sane_request_id
from gateway.core.overload import Overload
from gateway.http.channel import HTTPChannel
from gateway.http.connections import Connection, Connections
from gateway.http.h2 import H2Channel
from gateway.http.h2_stream import H2Stream
from gateway.http.overload import LoadShedder
from gateway.http.request import Request


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may do, and how long they may take; sizes in bytes, times in seconds, the rate in bytes a second."""

    head: int = 32 * 1024
    fields: int = 100
    target: int = 8 * 1024
    head_timeout: float = 10.0
    body_timeout: float = 30.0
    idle_timeout: float = 75.0
    linger_timeout: float = 2.0
    send_timeout: float = 30.0
    min_rate: float = 240.0
    connections: int = 20_000
    connections_per_client: int = 1_000


SHORTEST_PERIOD: Final = 0.05
LONGEST_PERIOD: Final = 0.5
"""Seconds between two looks at what is overdue: a timeout ends by as much too late, by twice as much among many."""
LOOKS: Final = 100
"""Connections that are looked at in a row, at most."""
LOOK: Final = 0.0001
"""Seconds from which on a look was more than that: a connection was ended, and the next look waits."""
LEAST_BREATH: Final = 0.001
BREATH: Final = 0.025
"""Seconds until then: the more, the more room for connections there is. Thousands may be overdue at once. To end one
costs as much as a request, and its client may be back at once, which costs more: the others must not wait for all that,
as long as nobody is turned away for want of room."""
NOBODY: Final = Networks()
FAREWELL: Final = 5.0
"""Seconds that a client who is not wanted any longer has for the exchange it is in."""


class TurnedAway(Protocol):
    """A connection that is cut at once; unlike none at all it fits below TLS, too."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()


class Channel(Connection, Shape):
    """A client's connection, whichever HTTP it speaks."""

    detached: bool
    """Whether another protocol has it."""

    @property
    def client(self) -> str:
        """The address of the client that is served, behind a proxy, or of the peer."""

    @property
    def answering(self) -> Sequence[Request]:
        """The requests that are being answered."""

    def check(self, now: float) -> None:
        """Give up what has been waited for too long."""

    def announce_end(self) -> None:
        """Say with the next answer that it is the last; or at once, where nothing is lost by that."""

    def abort(self) -> None:
        """Cut the connection."""


@implementer(IProtocolNegotiationFactory)
class Site(Factory):
    """Makes a channel of each accepted connection, and sends each request to its leaf.

    :param locate: finds the leaf of a normalised path.
    :param record: called once with every request when it is over.
    :param trusted: the addresses whose X-Forwarded-* fields and request ids are believed.
    :param plain_lines: header lines that every answer of the gateway itself over http has.
    :param secure_lines: those of every answer over https.
    :param overload: who counts the open requests, and refuses those there is no room for; None: there is for all.
    :param turns_away: asked about the address of each new connection, whether it is cut.
    :param http2: whether clients may choose HTTP/2 when they set up TLS.
    """

    noisy = False
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        locate: Callable[[bytes], IResource],
        record: Callable[[Request], None],
        limits: Limits,
        trusted: Networks = NOBODY,
        plain_lines: bytes = b"",
        secure_lines: bytes = b"",
        overload: LoadShedder | None = None,
        turns_away: Callable[[str], bool] | None = None,
        http2: bool = False,
    ) -> None:
        self.clock = clock
        self.locate = locate
        self.record = record
        self.limits = limits
        self.trusted = trusted
        self.connections = Connections(clock, limits.connections, limits.connections_per_client, trusted)
        self.channels: set[Channel] = self.connections.open
        self._overload = overload or LoadShedder(clock, Overload(sys.maxsize, float("inf")))
        self._load = self._overload.state
        self.draining = False
        self._drained: list[Deferred[None]] = []
        shortest = min(
            limits.head_timeout,
            limits.body_timeout,
            limits.idle_timeout,
            limits.linger_timeout,
            limits.send_timeout,
        )
        self._period = min(max(shortest / 8, SHORTEST_PERIOD), LONGEST_PERIOD)
        self._check_call: IDelayedCall | None = None
        self._unchecked: list[Channel] = []  # in the round of looks that is under way
        self._pause = self._period
        self._protocols = [b"h2", b"http/1.1"] if http2 else [b"http/1.1"]
        self._constant_lines = (plain_lines, secure_lines)
        self._own_lines = (b"", b"")
        self._turns_away = turns_away
        self._own_lines_second = -1
        self._id_prefix = secrets.token_hex(6)
        self._ids = itertools.count(1)

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        address = getattr(addr, "host", "")
        if (self._turns_away is not None and self._turns_away(address)) or not self.connections.admits(address):
            return TurnedAway()
        return HTTPChannel(self)

    def acceptableProtocols(self) -> list[bytes]:
        """What TLS offers to clients, the best first (RFC 7301)."""
        return self._protocols

    def speak_h2(self, transport: Any) -> None:
        """A client has chosen HTTP/2: a channel of its own takes the transport."""
        transport.wrappedProtocol = channel = H2Channel(self)
        channel.makeConnection(transport)
        if self.draining:
            channel.announce_end()

    def opened(self, channel: Channel) -> None:
        """A connection was accepted."""
        self.connections.add(channel)
        if self._check_call is None:
            self._check_call = self.clock.callLater(self._period, self._check)

    def closed(self, channel: Channel) -> None:
        """A connection has ended."""
        self.connections.remove(channel)
        if self._drained and not self.channels:
            drained, self._drained = self._drained, []
            for done in drained:
                done.callback(None)

    def _check(self) -> None:
        """Let some connections see whether what they wait for is overdue; in a period it is the turn of each.

        To look at all of them now and then costs less than to note, for each step of each request, when it has to end.
        """
        if not self._unchecked:
            self._unchecked = list(self.channels)
            self._pause = self._period / max(1, ceil(len(self._unchecked) / LOOKS))
        now, pause = self.clock.seconds(), self._pause
        began = now
        for _ in range(min(LOOKS, len(self._unchecked))):
            channel = self._unchecked.pop()
            if channel in self.channels:
                try:
                    channel.check(now)
                except Exception:  # the looks at all others must go on
                    self._log.failure("A look at a connection failed")
            ended = self.clock.seconds()
            if ended - began >= LOOK:
                pause = max(BREATH * self.connections.room, LEAST_BREATH)
                break
            began = ended
        if self.channels:
            self._check_call = self.clock.callLater(pause, self._check)
        else:
            self._check_call = None
            self._unchecked.clear()

    def begin(self, request: Request, channel: HTTPChannel | H2Stream) -> None:
        """Work out who asks and under which id, find the leaf, and render it."""
        load = self._load
        load.open += 1
        request.remote = channel.peer
        request.secure = channel.secure
        inbound = None
        if channel.trusted:
            request.remote = client_address(channel.peer, request.field(b"x-forwarded-for"), self.trusted)
            proto = request.field(b"x-forwarded-proto")
            if proto is not None:
                request.secure = proto.lower() == b"https"
            inbound = request.field(b"x-request-id")
        if inbound is not None and sane_request_id(inbound):
            request.id = inbound.decode()
        else:
            request.id = f"{self._id_prefix}{next(self._ids):010x}"
        if self.draining:
            request.keep_alive = False
        if request.failure is not None:
            request.decided_by = "wire"
            request.refuse(request.failure)
            return
        if load.open > load.room and self._overload.refuses(request):
            return
        try:
            self.locate(request.path).render(request)
        except GatewayError as error:
            request.refuse(error)
        except Exception:
            self._log.failure("Request {id} failed", id=request.id)
            request.refuse(GatewayError())

    def finished(self, request: Request) -> None:
        """A request that was begun is over."""
        self._load.open -= 1
        self.record(request)

    def detached(self) -> None:
        """A request has become something else, which lasts as long as its client likes: it takes no one's room."""
        self._load.open -= 1

    def own_lines(self, secure: bool) -> bytes:
        """Date and the constant lines; made once a second.

        :param secure: whether the answer goes over https.
        """
        now = int(self.clock.seconds())
        if now != self._own_lines_second:
            self._own_lines_second = now
            date = b"Date: " + datetimeToString(now) + b"\r\n"
            plain, over_tls = self._constant_lines
            self._own_lines = (date + plain, date + over_tls)
        return self._own_lines[secure]

    def retire(self) -> Deferred[None]:
        """Let each connection have one more answer, which says that it is the last; fires when the last has closed.

        None is closed before, as its client may be sending just then.
        """
        self.draining = True
        for channel in tuple(self.channels):
            channel.announce_end()
        done: Deferred[None] = Deferred()
        if self.channels:
            self._drained.append(done)
        else:
            done.callback(None)
        return done

    def drain(self) -> Deferred[None]:
        """Let requests finish and close idle connections; fires when the last connection has closed."""
        done = self.retire()
        self.close_idle()
        return done

    def close_idle(self) -> None:
        """Close idle connections, and the others after the exchange they are in."""
        for channel in tuple(self.channels):
            channel.close_when_idle()

    def part(self, seconds: float) -> None:
        """Close idle connections, and cut the others one by one, so that their clients do not all come back at once.

        :param seconds: in which all that is over. WebSockets are closed by their bridges.
        """
        self.close_idle()
        for channel in tuple(self.channels):
            if not channel.detached:
                self.clock.callLater(random.uniform(0, seconds), self._cut, [channel])

    def evict(self, unwanted: Callable[[str], object]) -> None:
        """Close the connections of clients that are not wanted any longer: idle ones now, the others after the
        exchange they are in, in :data:`FAREWELL` at the latest.

        :param unwanted: asked about each client's address.
        """
        evicted = [channel for channel in self.channels if unwanted(channel.client)]
        for channel in evicted:
            channel.close_when_idle()
        if evicted:
            self.clock.callLater(FAREWELL, self._cut, evicted)

    def _cut(self, channels: list[Channel]) -> None:
        for channel in channels:
            if channel in self.channels:
                channel.abort()

    def abort(self) -> None:
        """Cut every connection that is still open."""
        for channel in tuple(self.channels):
            channel.abort()
