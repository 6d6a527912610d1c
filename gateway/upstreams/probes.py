"""Active health checks: each instance is asked again and again whether it is well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import random
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from gateway.core.errors import GatewayError
from gateway.http.upstream import Framing, UpstreamConnection
from gateway.upstreams.instance import Instance

JITTER: Final = 0.1
"""By how much an interval differs at most, as a part of it: many gateways must not ask in step."""


@dataclass(frozen=True, slots=True)
class Probing:
    """How instances are probed; times in seconds."""

    path: str
    interval: float
    timeout: float


class Probe:
    """Asks one instance for a path, on a new connection of the kind that requests get; 2xx is good.

    The answer's head tells, and ends the connection: redirects are not followed, and no body is waited for.

    :param tell: called after each probe: whether it was good, and what was wrong with it.
    :param chance: numbers in [0, 1).
    """

    def __init__(
        self,
        clock: IReactorTime,
        instance: Instance,
        probing: Probing,
        tell: Callable[[bool, str], None],
        chance: Callable[[], float] = random,
    ) -> None:
        self._clock = clock
        self._instance = instance
        self._probing = probing
        self._tell = tell
        self._chance = chance
        self._timer: IDelayedCall | None = None
        self._connecting: Deferred[UpstreamConnection] | None = None
        self._connection: UpstreamConnection | None = None
        self._status = 0
        self._head = b"GET %b HTTP/1.1\r\nHost: %b\r\nUser-Agent: smartgate\r\nConnection: close\r\n\r\n" % (
            probing.path.encode("ascii"),
            instance.authority,
        )

    def start(self) -> None:
        """Begin at some time within the first interval."""
        self._timer = self._clock.callLater(self._probing.interval * self._chance(), self._ask)

    def stop(self) -> None:
        """Ask no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._hang_up()

    def _ask(self) -> None:
        self._began = self._clock.seconds()
        self._status = 0
        self._timer = self._clock.callLater(self._probing.timeout, self._late)
        self._connecting = connecting = self._instance.connect(self._probing.timeout)
        connecting.addCallbacks(self._connected, self._not_connected)

    def _connected(self, connection: UpstreamConnection) -> None:
        self._connecting = None
        self._connection = connection
        connection.request(self, self._head)

    def _not_connected(self, failure: Failure) -> None:
        if self._connecting is not None:  # else it was given up here
            self._over(failure.getErrorMessage())

    def _late(self) -> None:
        self._timer = None
        self._over("no answer in time")

    def _over(self, why: str) -> None:
        """This probe is over; the next one comes an interval after its beginning."""
        self.stop()
        elapsed = self._clock.seconds() - self._began
        wait = self._probing.interval * (1 + JITTER * (2 * self._chance() - 1)) - elapsed
        self._timer = self._clock.callLater(max(wait, 0), self._ask)
        self._tell(not why, why)

    def _hang_up(self) -> None:
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    # -- the answer -----------------------------------------------------------------------------------------------

    def answer_head(self, status: int, reason: bytes, fields: list[Any], http_1_1: bool) -> Framing:
        self._status = status
        return Framing.LENGTH

    def answer_body(self, data: bytes) -> None:
        """What it says does not matter."""

    def answer_flush(self) -> None:
        if self._status >= 200:
            self._over("" if self._status < 300 else f"it answers {self._status}")

    def answer_end(self) -> None:
        self.answer_flush()

    def answer_failed(self, error: GatewayError) -> None:
        self._connection = None
        self._over(error.message)

    def pause_sending(self) -> None:
        """There is nothing more to send."""

    def resume_sending(self) -> None:
        """There is nothing more to send."""


class Probes:
    """The probes of one upstream: one for each of its instances.

    :param make: makes the probe of an instance.
    """

    def __init__(self, make: Callable[[Instance], Probe]) -> None:
        self._make = make
        self._instances: Sequence[Instance] = ()
        self._probes: dict[Instance, Probe] = {}
        self._running = False

    def follow(self, instances: Sequence[Instance]) -> None:
        """From now on these instances are probed, and no others; not before the start."""
        self._instances = instances
        wanted = set(instances) if self._running else set()
        for instance in self._probes.keys() - wanted:
            self._probes.pop(instance).stop()
        for instance in wanted - self._probes.keys():
            probe = self._probes[instance] = self._make(instance)
            probe.start()

    def start(self) -> None:
        """Begin to probe."""
        self._running = True
        self.follow(self._instances)

    def stop(self) -> None:
        """Probe nobody."""
        self._running = False
        self.follow(self._instances)
