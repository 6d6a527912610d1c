"""A twisted.web resource that waits to be asked for each piece of its answer, on a connection that is written to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.http.channel import HTTPChannel
    from gateway.http.h2_stream import H2Stream


class Pull:
    """A pull producer of twisted.web, asked for more once a turn of the reactor while there is room."""

    def __init__(self, channel: HTTPChannel | H2Stream, producer: Any) -> None:
        self._channel = channel
        self._producer = producer
        self._asks = False

    def resumeProducing(self) -> None:
        if not self._asks:
            self._asks = True
            self._channel.site.clock.callLater(0, self._ask)

    def _ask(self) -> None:
        self._asks = False
        if self._channel.stock_producer is self and not self._channel.output_full:
            self.resumeProducing()
            self._producer.resumeProducing()

    def pauseProducing(self) -> None:
        """It is not asked while the output is full."""

    def stopProducing(self) -> None:
        self._producer.stopProducing()
