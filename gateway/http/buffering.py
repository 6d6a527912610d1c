"""Bodies of requests in a crowd of them: an instance hears of one only when there is enough of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gateway.http.request import keep

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

    from gateway.core.circuit import Circuit
    from gateway.core.errors import GatewayError
    from gateway.http.request import Request

CROWD: Final = 100
"""Bodies on their way to an upstream from which on others wait. As they come and are taken in milliseconds, so many are
there at a time only where clients send slowly."""
ENOUGH: Final = 16 * 1024
"""Bytes that an instance hears of; most bodies are whole before."""


def when_enough(request: Request, circuit: Circuit, go_on: Callable[[], None]) -> None:
    """Go on when enough of the body has come; at once, unless many bodies are on their way to the upstream.

    Very many clients that send slowly so keep connections of the gateway, but not of instances, which may have few. A
    body without a length is never waited for: it may be one half of a conversation.

    :param go_on: called once, unless the client leaves before.
    """
    enough = min(request.content_length or 0, ENOUGH)
    if circuit.uploads < CROWD or request.body_complete or request.body_received >= enough:
        go_on()
    else:
        Buffering(request, enough, go_on)


class Buffering:
    """Stands for the exchange, and takes the body, until enough of it has come. How long that may take, and how much
    may come, is the channel's to say.
    """

    __slots__ = ("_call", "_enough", "_go_on", "_request")

    def __init__(self, request: Request, enough: int, go_on: Callable[[], None]) -> None:
        self._request = request
        self._enough = enough
        self._go_on = go_on
        self._call: IDelayedCall | None = None
        request.relay = request.sink = self
        request.invite_body()
        request.channel.update_reading()  # what came before may have filled its window

    def body_data(self, data: bytes) -> None:
        request = self._request
        keep(request.body, data)
        if request.body_received >= self._enough and self._call is None:
            # When the channel is done with what it has read: there may be no room for the request any longer.
            self._call = request.channel.site.clock.callLater(0, self._begin)

    def body_end(self) -> None:
        """There was enough of it before."""

    def _begin(self) -> None:
        self._request.relay = self._request.sink = None
        self._go_on()

    def pause(self) -> None:
        """There is no answer yet."""

    def resume(self) -> None:
        """There is no answer yet."""

    def check(self, now: float) -> None:
        """Nobody but the client is waited for."""

    def client_gone(self) -> None:
        self._request.relay = self._request.sink = None
        if self._call is not None:
            self._call.cancel()

    def end(self, error: GatewayError) -> None:
        self.client_gone()
        self._request.refuse(error)
