"""What an HTTP/2 client may cost: its frames are counted by their heads, before anything reads what is in them."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

PREFACE: Final = 24
"""Bytes that a client's connection begins with (RFC 9113 section 3.4)."""

LARGEST_FRAME: Final = 16384
"""Bytes in a frame; what the protocol has until somebody announces more, which the gateway never does."""

FRAME_SIZE_ERROR: Final = 6
ENHANCE_YOUR_CALM: Final = 11

_HEAD: Final = 9
_DATA, _HEADERS, _SETTINGS, _CONTINUATION = 0, 1, 4, 9
_END_STREAM, _END_HEADERS, _PADDED = 1, 4, 8
_STREAM: Final = 0x7FFFFFFF
_SETTINGS_BYTES: Final = 64  # each ten settings beyond the first ten cost as much as a frame


class Allowance:
    """A token bucket: ``burst`` at once, ``rate`` a second in the long run.

    :param now: the time in seconds; of any clock, as in all that follows.
    """

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst = self._left = burst
        self._rate = rate
        self._filled = now

    def take(self, amount: float, now: float) -> bool:
        """Whether ``amount`` was left; it is taken, in any case."""
        left = self._left + max(now - self._filled, 0) * self._rate  # a clock that was set back takes nothing
        self._filled = now
        self._left = min(left, self._burst) - amount
        return self._left >= 0

    def earn(self, amount: float) -> None:
        """Allow that much more, up to the burst."""
        self._left = min(self._left + amount, self._burst)


class FrameMeter:
    """Walks along the frames of a connection.

    Requests and their bodies have limits of their own; what has none costs here. Every frame that is neither HEADERS
    nor DATA takes one from the allowance, and so does DATA that carries nothing: floods of PING, SETTINGS, PRIORITY,
    WINDOW_UPDATE, RST_STREAM, empty DATA and CONTINUATION (CVE-2019-9512 to 9518, CVE-2024-27316) all end there. A
    header block is measured while it comes, long before its end would let anybody decode it. What comes for a stream
    that has ended costs, too, as it is answered and otherwise counted nowhere; so do trailers, of which requests hardly
    have any.

    :param block_limit: bytes that one header block may have, compressed.
    :param streams: the numbers of those that have not ended.
    :ivar frames: how many began in what was read last.
    """

    def __init__(self, block_limit: int, allowance: Allowance, streams: Container[int]) -> None:
        self.allowance = allowance
        self._streams = streams
        self.in_block = False
        """Whether a header block has begun and not ended."""
        self.frames = 0
        self._newest = 0  # the largest number of a stream
        self._block_limit = block_limit
        self._block = 0
        self._skip = PREFACE  # bytes of a frame that have not come yet
        self._rest = b""  # the beginning of a frame's head

    def read(self, data: bytes, now: float) -> int:
        """Look at all frames that begin in ``data``; the error code (RFC 9113 section 7) of what may not be, or 0."""
        if self._rest:
            data = self._rest + data
        at, end = self._skip, len(data)
        cost = frames = 0
        known = self._newest  # streams that have begun, and may have ended
        while at + _HEAD <= end:
            length = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            kind, flags = data[at + 3], data[at + 4]
            stream = int.from_bytes(data[at + 5 : at + _HEAD], "big") & _STREAM
            at += _HEAD + length
            frames += 1
            if length > LARGEST_FRAME:  # it would be waited for, and held
                return FRAME_SIZE_ERROR
            if kind == _DATA:
                empty = (length == 0 or flags & _PADDED != 0) and not flags & _END_STREAM
                cost += empty or (stream <= known and stream not in self._streams)
                continue
            if kind == _HEADERS:
                cost += stream <= self._newest
                self._newest = max(self._newest, stream)
            if kind in (_HEADERS, _CONTINUATION):
                self._block = length if kind == _HEADERS else self._block + length
                self.in_block = not flags & _END_HEADERS
                if self._block > self._block_limit:
                    return ENHANCE_YOUR_CALM
            if kind != _HEADERS:
                cost += 1 + (length // _SETTINGS_BYTES if kind == _SETTINGS else 0)
        self.frames = frames
        self._rest = data[at:]
        self._skip = max(at - end, 0)
        return ENHANCE_YOUR_CALM if cost and not self.allowance.take(cost, now) else 0
