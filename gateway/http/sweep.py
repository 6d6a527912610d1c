"""The end of answers in progress whose client may not have them any longer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from gateway.core.errors import GatewayError

if TYPE_CHECKING:
    from gateway.core.tokens import Claims
    from gateway.http.request import Request

PERIOD: Final = 0.25
"""Seconds from a change to the sweep it asks for: those that come meanwhile share it."""


class Channel(Protocol):
    """What a sweep asks of a client's connection."""

    @property
    def answering(self) -> Sequence[Request]:
        """The requests that are being answered on it."""


class Sweep:
    """Looks at all that is in progress, soon after it was said that credentials have changed.

    :param refusal: why a client with these claims may have nothing more; None when it may.

    :ivar channels: the connections that are looked at; the site sees that none is missing.
    """

    channels: Collection[Channel] = ()
    _log = Logger()

    def __init__(self, clock: IReactorTime, refusal: Callable[[Claims], GatewayError | None]) -> None:
        self._clock = clock
        self._refusal = refusal
        self._due = False

    def soon(self) -> None:
        """Credentials have changed."""
        if not self._due:
            self._due = True
            self._clock.callLater(PERIOD, self._sweep)

    def _sweep(self) -> None:
        self._due = False
        for channel in tuple(self.channels):
            for request in channel.answering:
                if request.claims is not None:
                    error = self._refusal(request.claims)
                    if error is not None:
                        try:
                            request.end(error)
                        except Exception:  # the others must end all the same
                            self._log.failure("Request {id} could not be ended", id=request.id)
