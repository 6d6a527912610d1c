"""How long a client is waited for: to send a head, to go on with a body, to take its answer, to ask again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.errors import RequestTimeout
from gateway.core.pace import Pace
from gateway.http.transport import unsent

if TYPE_CHECKING:
    from gateway.http.channel import HTTPChannel
    from gateway.http.request import Request


def check(channel: HTTPChannel, now: float) -> None:
    """Give up what has been waited for too long on ``channel``; an instance is left to the request it answers."""
    waited = now - channel._since
    limits = channel.site.limits
    if channel._lingering:
        if waited >= limits.linger_timeout:
            channel.abort()
        return
    current = channel._current
    if channel.output_full or channel._closing:
        if not _takes(channel, now):
            channel.abort()
            return
    elif current is not None and current.relay is not None:
        current.relay.check(now)
    if channel._closing or channel._paused:
        return  # what is not read cannot be late
    if channel._in_head:
        if waited >= limits.head_timeout:
            channel._broken(RequestTimeout())
    elif channel._receiving is not None:
        if waited >= limits.body_timeout or not _sends(channel, channel._receiving, now):
            channel._broken(RequestTimeout())
    elif channel._current is None and not channel._waiting:  # noqa: SIM102
        if waited >= (limits.idle_timeout if channel._served else limits.head_timeout):
            channel._close(lingering=False)


def _takes(channel: HTTPChannel, now: float) -> bool:
    """Whether a client that has something to take does, at the least rate."""
    taken = -unsent(channel.transport)  # as long as nothing more is written, which only this can tell
    if channel._pace is None:
        limits = channel.site.limits
        channel._pace = Pace(limits.send_timeout, limits.min_rate, now, taken)
    return channel._pace.kept(now, taken)


def _sends(channel: HTTPChannel, request: Request, now: float) -> bool:
    """Whether a body comes at the least rate."""
    if request.pace is None:
        limits = channel.site.limits
        request.pace = Pace(limits.body_timeout, limits.min_rate, now, request.body_received)
    return request.pace.kept(now, request.body_received)
