"""Finding a connection for a request: an instance is chosen, connected to or waited for, and given up for another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from gateway.core.circuit import Circuit, Slots
from gateway.core.errors import GatewayError, Unavailable, UpstreamFailed, UpstreamTimeout
from gateway.core.health import Health
from gateway.http.transport import quiet
from gateway.http.upstream import Framing, UpstreamConnection

if TYPE_CHECKING:
    from gateway.http.request import Request

IDEMPOTENT: Final = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))
"""Methods whose request may be sent once more (RFC 9110 section 9.2.2)."""

TRIES: Final = 2


class Instance(Protocol):
    """What a relay asks of an instance of an upstream."""

    name: str
    active: int
    health: Health

    def take(self) -> UpstreamConnection | None:
        """An idle connection, if there is one."""

    def connect(self, timeout: float) -> Deferred[UpstreamConnection]:
        """A new connection.

        :raises UpstreamFailed: (the Deferred fails with it, or with UpstreamTimeout) when there is none to be had.
        """

    def give_back(self, connection: UpstreamConnection) -> None:
        """A connection whose exchange is over."""


class UpstreamHealth(Protocol):
    """Who wants to know how instances do."""

    def others(self, instance: Any) -> bool:
        """Whether there is another usable instance."""

    def failed(self, instance: Any, request: Request) -> None:
        """An instance did not answer, or not to the end."""

    def answered(self, instance: Any, request: Request, status: int) -> None:
        """An instance has begun to; to be told of errors, and where its health is doubtful."""


class Upstream(Protocol):
    """What a relay asks of its upstream."""

    circuit: Circuit
    health: Any
    """An UpstreamHealth."""

    def choose(self, request: Request, tried: Any) -> Instance:
        """An instance; not ``tried``, where there is another."""

    def room(self) -> bool:
        """Take the slot of a new connection; whether there was one."""


class Way(Protocol):
    """What a route decides about its relays."""

    upstream: Any
    """An Upstream."""
    connect_timeout: float
    first_byte_timeout: float
    idle_timeout: float

    def request_head(self, request: Request, instance: Any) -> bytes:
        """The head as the instance gets it."""

    def answer_lines(self, request: Request, fields: list[tuple[bytes, bytes]]) -> tuple[bytes, Framing]:
        """The header lines that go on to the client, and how the answer's body is framed by the instance.

        :raises UpstreamFailed: when that cannot be told.
        """

    def failed(self, reason: str) -> None:
        """Something went wrong with an instance: a short label for the metrics."""


class Tries:
    """The tries of one request, two at most, within the limits of its upstream.

    An attempt to connect that failed is made again on another instance, whatever the method: nothing was sent. What
    was sent is sent again only when its method is idempotent, nothing was heard and its whole body is in hand; on
    another instance, or on a new connection to the only one where a pooled connection turned out to be dead; and when
    the upstream's budget of retries has, or within ``connect_timeout`` gets, room for it.
    """

    __slots__ = (
        "_circuit",
        "_connecting",
        "_connection",
        "_error",
        "_queue",
        "_request",
        "_retrying",
        "_reused",
        "_same_will_do",
        "_since",
        "_tried",
        "_tries",
        "_uploading",
        "_way",
        "instance",
    )

    _log = Logger()

    def __init__(self, way: Way, request: Request) -> None:
        self._way = way
        self._request = request
        self._circuit: Circuit = way.upstream.circuit
        self._connection: UpstreamConnection | None = None
        self._connecting: Deferred[UpstreamConnection] | None = None
        self._queue: Slots | None = None
        self._tries = 1
        self._tried: Any = None
        self._reused = False
        self._retrying = False
        self._uploading = False
        self.instance: Any = None

    def start(self) -> None:
        """Find a connection and send the request on it."""
        circuit = self._circuit
        circuit.requests += 1
        self._request.relay = self  # type: ignore[assignment]
        if not self._request.body_complete:
            self._uploading = True
            circuit.uploads += 1
        if circuit.requests > circuit.max_requests:
            circuit.refused["requests"] += 1
            self._refuse(Unavailable())
        else:
            self._try()

    def _try(self) -> None:
        try:
            self._find()
        except Exception as error:
            self._raised(error)

    def _raised(self, error: Exception) -> None:
        """Answer what a step raised: nobody above does, when it is not the first one."""
        if not isinstance(error, GatewayError):
            self._log.failure("Request {id} failed", id=self._request.id)
            error = GatewayError()
        self._refuse(error)

    def _find(self) -> None:
        """:raises GatewayError: when there is no instance, or no other one, or no connection."""
        upstream, tried = self._way.upstream, self._tried
        instance = upstream.choose(self._request, tried)
        if instance is tried and not self._same_will_do:
            raise self._error
        self.instance = instance
        instance.active += 1
        connection = self._pooled(instance) if instance is not tried else None
        if connection is None and not upstream.room():
            self._leave()
            self._wait(self._circuit.connections, "pending", Unavailable())
            return
        self._request.upstream = instance.name
        if tried is not None:
            self._circuit.retried += 1
        self._reused = connection is not None
        if connection is not None:
            self._send(connection)
        else:
            self._connect(instance)

    def _pooled(self, instance: Instance) -> UpstreamConnection | None:
        """An idle connection, if there is one; not one that has just been closed, where no other try may follow."""
        connection = instance.take()
        while connection is not None and self._request.method not in IDEMPOTENT and not quiet(connection.transport):
            connection.abort()
            connection = instance.take()
        return connection

    def _send(self, connection: UpstreamConnection) -> None:
        """Send the request on a connection."""
        raise NotImplementedError

    def _connect(self, instance: Instance) -> None:
        try:
            self._connecting = connecting = instance.connect(self._way.connect_timeout)
        except Exception:
            self._circuit.connections.free()
            raise
        connecting.addCallbacks(self._connected, self._not_connected)

    def _connected(self, connection: UpstreamConnection) -> None:
        self._connecting = None
        connection.slots = self._circuit.connections
        try:
            self._send(connection)
        except Exception as error:
            self._raised(error)

    def _not_connected(self, failure: Failure) -> None:
        self._connecting = None
        self._circuit.connections.free()
        if self.instance is None:
            return  # the client left meanwhile
        error = failure.value if isinstance(failure.value, GatewayError) else UpstreamFailed()
        self._way.failed("connect_timeout" if isinstance(error, UpstreamTimeout) else "connect")
        self._way.upstream.health.failed(self.instance, self._request)
        if self._tries < TRIES:
            self._again(error, same_will_do=True)
            self._try()
        else:
            self._refuse(error)

    # -- once more ------------------------------------------------------------------------------------------------

    def _again(self, error: GatewayError, same_will_do: bool) -> None:
        """The next try is another one.

        :param error: what the client is told when there cannot be one.
        :param same_will_do: whether the same instance may be tried, when there is no other.
        """
        self._tries += 1
        self._tried, self._error, self._same_will_do = self.instance, error, same_will_do
        self._leave()

    def _retry(self) -> None:
        """Send what was sent before, when the budget has room for it."""
        retries = self._circuit.retries
        if retries.take():
            self._retrying = True
            self._try()
            return
        try:
            self._wait(retries, "retries", self._error)
        except GatewayError as error:
            self._refuse(error)

    def _wait(self, queue: Slots, limit: str, error: GatewayError) -> None:
        """Wait for a slot, as long as for a connection.

        :raises GatewayError: ``error``, when too many wait.
        """
        if not queue.wait(self):
            self._circuit.refused[limit] += 1
            raise error
        self._queue, self._error = queue, error
        self._since = self._request.channel.site.clock.seconds()

    def woken(self) -> None:
        """There may be a slot."""
        queue, self._queue = self._queue, None
        if queue is self._circuit.retries:
            self._retry()
        else:
            self._try()

    def _waited(self, now: float) -> None:
        """Give up what was waited for too long; attempts to connect have a timer of their own."""
        queue = self._queue
        if queue is not None and now - self._since >= self._way.connect_timeout:
            self._circuit.refused["retries" if queue is self._circuit.retries else "pending"] += 1
            self._refuse(self._error)

    # -- the end --------------------------------------------------------------------------------------------------

    def _leave(self) -> None:
        """The instance is not asked any more."""
        instance, self.instance = self.instance, None
        if instance is not None:
            instance.active -= 1
            if instance.health.trial is self._request:
                instance.health.trial = None  # whatever came of it, the next may be the trial

    def _finish(self) -> None:
        """The request counts no more."""
        self._circuit.requests -= 1
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.leave(self)
        if self._retrying:
            self._retried()
        if self._uploading:
            self._uploaded()

    def _uploaded(self) -> None:
        """The body, or the request, is over."""
        self._uploading = False
        self._circuit.uploads -= 1

    def _retried(self) -> None:
        """The second try was answered, or is over."""
        self._retrying = False
        self._circuit.retries.free()

    def _cut(self) -> None:
        """Cut the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    def _refuse(self, error: GatewayError) -> None:
        """The end without an answer."""
        request = self._request
        request.relay = request.sink = None
        self._cut()
        self._leave()
        self._finish()
        request.decided_by = request.decided_by or "proxy"
        request.refuse(error)
