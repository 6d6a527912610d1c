"""Connections in memory that behave like TCP's, a gateway's Site on one end of them, and instances on the other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from http.client import HTTPMessage, HTTPResponse
from io import BytesIO
from ipaddress import ip_network
from typing import Any, NamedTuple

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocol, ITransport
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from gateway.core.addresses import Networks
from gateway.core.circuit import Circuit
from gateway.core.errors import NotFound
from gateway.http.request import Request
from gateway.http.site import Limits, Site
from gateway.http.upstream import UpstreamConnection
from gateway.resources.guarded import GuardedResource
from gateway.resources.proxy import ProxySettings, ReverseProxyResource
from gateway.resources.tree import Branch
from gateway.upstreams.cluster import Cluster
from gateway.upstreams.health import ClusterHealth
from gateway.upstreams.instance import Instance

READ = 65536
"""Bytes that one read brings at most, and that are buffered before a producer is paused."""

STEP = 0.25
"""Seconds between two turns of the reactor while nothing happens."""


@implementer(ITransport)
class Wire:
    """A connection between a protocol and the test, which is its peer.

    What the protocol does not read waits. What the test does not take is buffered, and pauses the protocol's producer.
    A connection is lost in the reactor turn after it was closed.
    """

    _log = Logger()

    def __init__(self, clock: Clock, protocol: IProtocol, peer: str = "192.0.2.1") -> None:
        self.received = b""
        """What the test got."""
        self.unread = b""
        """What the test sent and the protocol has not read yet."""
        self.ended = ""
        """How the protocol ended the connection: ``closed``, ``half closed`` (for writing) or ``cut``."""
        self._clock = clock
        self._protocol = protocol
        self._peer = IPv4Address("TCP", peer, 40000)
        self._unsent = b""
        self._reading = self._taking = True
        self._lost = False
        self._then = ""  # how it ends when everything is sent
        self._producer: Any = None
        self._producer_paused = False
        protocol.makeConnection(self)

    # -- what the test does ---------------------------------------------------------------------------------------

    def send(self, *pieces: bytes) -> None:
        """Each piece arrives in a read of its own."""
        for piece in pieces:
            self.unread += piece
            self._read()
        self._clock.advance(0)

    def stop_taking(self) -> None:
        """From now on nothing is taken off the connection."""
        self._taking = False

    def take_again(self) -> None:
        """Take what has been buffered, and whatever comes."""
        self._taking = True
        self._flush()
        self._clock.advance(0)

    def take_once(self) -> None:
        """Take what has been buffered, within this turn of the reactor, and then nothing again."""
        self._deliver()

    def take_some(self, size: int) -> None:
        """Take a part of what has been buffered."""
        self.received += self._unsent[:size]
        self._unsent = self._unsent[size:]

    def leave(self, clean: bool = True) -> None:
        """Close the connection."""
        self._lose(Failure(ConnectionDone() if clean else ConnectionLost()))

    # -- what the protocol does -----------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if self._lost or self.ended == "cut":
            return  # but what is written after loseConnection is still sent, as with TCP
        self._unsent += data
        if self._taking:
            self._flush()
        elif len(self._unsent) > READ and self._producer is not None:
            self._pause()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        self._then = "closed"
        self._flush()

    def loseWriteConnection(self) -> None:
        self._then = self._then or "half closed"
        self._flush()

    def abortConnection(self) -> None:
        self._unsent = b""
        if not self._lost:
            self.ended = "cut"
            self._clock.callLater(0, self._lose, Failure(ConnectionAborted()))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self._producer is not None:
            raise RuntimeError("There is a producer already")
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None

    def pauseProducing(self) -> None:
        self._reading = False

    def resumeProducing(self) -> None:
        self._reading = True
        self._clock.callLater(0, self._read)

    def getPeer(self) -> IPv4Address:
        return self._peer

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.80", 80)

    def unsent(self) -> int:
        return len(self._unsent)

    def quiet(self) -> bool:
        return not self.unread

    def setTcpNoDelay(self, enabled: bool) -> None:
        """There is no delay."""

    # -- what happens between them --------------------------------------------------------------------------------

    def _read(self) -> None:
        while self._reading and self.unread and not self._lost and self.ended in ("", "half closed"):
            data, self.unread = self.unread[:READ], self.unread[READ:]
            try:
                self._protocol.dataReceived(data)
            except Exception:
                self._log.failure("The protocol failed")
                self._lose(Failure())

    def _pause(self) -> None:
        self._producer_paused = True
        self._producer.pauseProducing()

    def _flush(self) -> None:
        if self._taking:
            self._deliver()
        if self._then and not self._unsent and self.ended != "cut":
            self.ended = self._then
            if self.ended == "closed":
                self._clock.callLater(0, self._lose, Failure(ConnectionDone()))

    def _deliver(self) -> None:
        self.received += self._unsent
        self._unsent = b""
        if self._producer_paused:
            self._producer_paused = False
            if self._producer is not None:
                self._producer.resumeProducing()

    def _lose(self, reason: Failure) -> None:
        if not self._lost:
            self._lost = True
            if self._producer is not None:
                self._producer.stopProducing()
            self._protocol.connectionLost(reason)


class SecureWire(Wire):
    """A connection with TLS, as far as a protocol can tell."""

    def getPeerCertificate(self) -> None:
        """Clients have none."""


class LateWire(SecureWire):
    """One that tells of its buffer once, at the end of the turn, as Twisted's TLS does."""

    def _pause(self) -> None:
        if not self._producer_paused:
            self._producer_paused = True
            self._clock.callLater(0, self._producer.pauseProducing)


class Answer(NamedTuple):
    """An answer as the standard library's client reads it."""

    status: int
    fields: HTTPMessage
    body: bytes

    @property
    def code(self) -> str:
        """What the standard error format names the error."""
        return str(json.loads(self.body)["code"])


class _Stream(BytesIO):
    def makefile(self, mode: str) -> _Stream:
        return self

    def close(self) -> None:
        """The next answer is read from it, too."""


def read_answers(received: bytes, *methods: str) -> list[Answer]:
    """All the answers in what a client got; each of ``methods`` but GET must be named, in their order.

    :raises http.client.HTTPException: when one is incomplete, or is not HTTP.
    """
    stream, found, asked = _Stream(received), [], list(methods)
    while stream.tell() < len(received):
        response = HTTPResponse(stream, method=asked.pop(0) if asked else "GET")  # type: ignore[arg-type]
        response.begin()
        found.append(Answer(response.status, response.msg, response.read()))
    return found


def ask(path: str = "/", *lines: str, method: str = "GET", body: bytes = b"", version: str = "1.1") -> bytes:
    """The bytes of a request."""
    return "\r\n".join((f"{method} {path} HTTP/{version}", "Host: example.com", *lines, "", "")).encode() + body


def chunks(*pieces: bytes) -> bytes:
    """The pieces of a body in the chunked coding, with its end."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


class ByHand(Resource):
    """A leaf that keeps what it was asked; the test answers."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Any] = []

    def render(self, request: Any) -> int:
        self.requests.append(request)
        return NOT_DONE_YET


class Echo(Resource):
    """A leaf that answers each request with its path and the body it took; ``limit`` is the body's."""

    isLeaf = True

    def __init__(self, limit: int = READ * 16) -> None:
        super().__init__()
        self._limit = limit

    def render(self, request: Any) -> int:
        if request.upgrading:
            request.channel.ignore_upgrade()
        request.limit_body(self._limit)
        _Taking(request)
        return NOT_DONE_YET


class _Taking:
    def __init__(self, request: Any) -> None:
        self._request = request
        self._taken = b""
        request.stream_to(self)

    def body_data(self, data: bytes) -> None:
        self._taken += data

    def body_end(self) -> None:
        self._request.respond(200, b"", self._request.path + b" " + self._taken)


class Missing(Resource):
    """What every path is that nobody planted."""

    isLeaf = True

    def render(self, request: Any) -> int:
        raise NotFound


class Gateway:
    """A Site in memory, whose leaves the test plants, and the list of the requests that are over."""

    def __init__(self, limits: Limits | None = None, trusted: tuple[str, ...] = (), http2: bool = False) -> None:
        self.clock = Clock()
        self.recorded: list[Request] = []
        self.root = Branch(GuardedResource([], Missing()))
        networks = Networks(ip_network(network) for network in trusted)
        self.site = Site(
            self.clock,
            self.root.locate,
            self.recorded.append,
            limits or Limits(),
            networks,
            b"X-Own: yes\r\n",
            b"X-Own: both\r\n",
            http2=http2,
        )

    def plant(self, prefix: bytes, leaf: IResource) -> None:
        """Let ``leaf`` answer at ``prefix`` and below."""
        self.root.plant(prefix, GuardedResource([], leaf, route_name=prefix.decode()))

    def connect(self, peer: str = "192.0.2.1", of: Callable[..., Wire] = Wire) -> Wire:
        """A client's connection."""
        return of(self.clock, self.site.buildProtocol(None), peer)

    def after(self, seconds: float) -> None:
        """Let the time pass in steps, as it does for a reactor that wakes up now and then."""
        for _ in range(int(seconds / STEP)):
            self.clock.advance(STEP)
        self.clock.advance(seconds % STEP)

    def proxy(self, prefix: bytes, *instances: Origin, circuit: Circuit | None = None, **settings: Any) -> list[str]:
        """Let ``instances`` answer at ``prefix`` and below; returns the list of what will be reported of them."""
        reports: list[str] = []
        self.cluster = Cluster(
            "origins", instances, "round-robin", ClusterHealth("origins", self.clock), circuit=circuit
        )
        values: dict[str, Any] = {
            "stripped_prefix": b"",
            "preserve_host": False,
            "connect_timeout": 5.0,
            "first_byte_timeout": 20.0,
            "idle_timeout": 40.0,
            "security": {},
        }
        leaf = self.leaf = ReverseProxyResource(
            self.cluster, ProxySettings(**{**values, **settings}), lambda name, reason: reports.append(reason)
        )
        self.plant(prefix, leaf)
        return reports


class Origin(Instance):
    """An instance in memory. It takes each connection at once, unless ``at_once`` is cleared."""

    def __init__(self, clock: Clock, name: str = "origin") -> None:
        super().__init__(clock, f"http://{name}:80")
        self.wires: list[Wire] = []
        self.attempts: list[Deferred[UpstreamConnection]] = []
        self.at_once = True
        self.cancelled = 0
        self._clock = clock

    def connect(self, timeout: float) -> Deferred[UpstreamConnection]:
        attempt: Deferred[UpstreamConnection] = Deferred(self._cancelled)
        self.attempts.append(attempt)
        if self.at_once:
            self.accept()
        return attempt

    def accept(self) -> None:
        """Take the connection that was asked for first."""
        connection = UpstreamConnection(self)
        self.wires.append(Wire(self._clock, connection))
        self.attempts.pop(0).callback(connection)

    def refuse(self, error: Exception) -> None:
        """Do not take it."""
        self.attempts.pop(0).errback(Failure(error))

    def _cancelled(self, attempt: Deferred[UpstreamConnection]) -> None:
        self.attempts.remove(attempt)
        self.cancelled += 1

    @property
    def received(self) -> bytes:
        """What came on all its connections."""
        return b"".join(wire.received for wire in self.wires)


class ProxyTestCase(SynchronousTestCase):
    """A gateway that proxies /a to one origin and /two to this and another one, and one client."""

    def setUp(self) -> None:
        self.gateway = Gateway()
        self.origin, self.other = Origin(self.gateway.clock), Origin(self.gateway.clock, "other")
        self.reports = self.gateway.proxy(b"/a", self.origin)
        self.gateway.proxy(b"/two", self.origin, self.other)
        self.client = self.gateway.connect()

    def tearDown(self) -> None:
        """However it went: no request counts as being in flight when everybody has left."""
        for channel in tuple(self.gateway.site.channels):
            channel.abort()
        self.gateway.clock.advance(0)
        self.assertEqual((self.origin.active, self.other.active), (0, 0))

    def after(self, seconds: float) -> None:
        self.gateway.after(seconds)

    def answers(self, *methods: str) -> list[tuple[int, bytes]]:
        """Status and body of what the client got so far."""
        return [(answer.status, answer.body) for answer in read_answers(self.client.received, *methods)]

    def code(self) -> str:
        """The code of the error that the client got last."""
        return read_answers(self.client.received)[-1].code

    def exchange(self, answer: bytes, path: str = "/a", method: str = "GET") -> None:
        """One request, and what the origin says to it, on the connection it took last."""
        self.client.send(ask(path, method=method))
        self.origin.wires[-1].send(answer)
