"""How long a client is waited for: to send a head, to go on with a body, to take its answer, to ask again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from gateway.core.errors import RequestTimeout
from gateway.core.pace import Pace
from gateway.http.transport import quiet, unsent

if TYPE_CHECKING:
    from gateway.http.channel import HTTPChannel
    from gateway.http.request import Request
    from gateway.http.site import Limits

FRESH: Final = 0.5
"""Seconds that a new connection has for its first request where it is to be closed: that is on its way, and its client
would not send it again as one does whose kept connection is closed (RFC 9110 section 9.2.2).
"""


class Paced(Protocol):
    """Who may be too slow."""

    pace: Pace | None


def check(channel: HTTPChannel, now: float) -> None:
    """Give up what has been waited for too long on ``channel``; an instance is left to the request it answers."""
    limits = channel.site.limits
    if channel._lingering:
        if now - channel._since < limits.linger_timeout:
            return
        if not unsent(channel.transport):
            channel.abort()
            return
        channel._since = now  # it begins when the client has all of its answer
    current = channel._current
    if channel.output_full or channel._closing:
        # As long as nothing more is written, only this can tell what the client takes.
        if not keeps_up(channel, lambda: -unsent(channel.transport), limits.send_timeout, limits.min_rate, now):
            channel.abort()
            return
    elif current is not None and current.relay is not None:
        current.relay.check(now)
    if channel._closing or channel._paused:
        return  # what is not read cannot be late
    waited = now - channel._since
    receiving = channel._receiving
    if channel._in_head:
        if waited >= limits.head_timeout:
            channel._broken(RequestTimeout())
    elif receiving is not None:
        if waited >= limits.body_timeout or not sends(receiving, limits, now):
            channel._broken(RequestTimeout())
    elif channel._current is None and not channel._waiting:
        first = FRESH if channel._last else limits.head_timeout
        late = waited >= (limits.idle_timeout if channel._served else first)
        if late and quiet(channel.transport):  # a request that has just come is served
            channel._close(lingering=False)


def sends(request: Request, limits: Limits, now: float) -> bool:
    """Whether a body comes at the least rate."""
    return keeps_up(request, lambda: request.body_received, limits.body_timeout, limits.min_rate, now)


def keeps_up(peer: Paced, amount: Callable[[], int], period: float, rate: float, now: float) -> bool:
    """Whether an amount that a slow peer makes grow does so at the least rate; its ``pace`` remembers it meanwhile.

    :param amount: tells the bytes; asked once a period, as that may take a system call.
    :param period: seconds that the rate is looked at over.
    :param rate: bytes a second.
    """
    if peer.pace is None:
        peer.pace = Pace(period, rate, now, amount())
    return peer.pace.kept(now, amount)
