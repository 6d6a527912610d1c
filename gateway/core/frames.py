"""WebSocket frames (RFC 6455 section 5), checked as they pass by: headers are read, payloads not even copied.

A relay may pass frames on as they are, masked ones too: what a client sends is exactly what a client may send. So
nothing is decoded but the headers, and the payloads of close and pong frames.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final, NamedTuple

CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

NO_CODE: Final = 1005
"""What stands for the code of a close frame that has none; never sent (RFC 6455 section 7.4.1)."""

SMALL_FRAME: Final = 1024
"""Bytes below which a frame counts as a message of its own: a message in many pieces costs as much as many messages."""

_CONTROL_LIMIT: Final = 125
_CODES: Final = frozenset((*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)))
_LENGTH_BYTES: Final = {126: 2, 127: 8}
_LEAST_EXTENDED: Final = {126: 126, 127: 65536}


class Ending(NamedTuple):
    """Why nothing more comes: a close frame, or a rule that was broken."""

    code: int
    """A close code; :data:`NO_CODE` for a close frame without one."""
    reason: str


class FrameReader:
    """Follows the frames that one peer sends, and tells which bytes may go on to the other.

    :param masked: whether the peer must mask its frames: a client must, a server must not (section 5.1).
    :param max_message: bytes that a message may have, however many frames it comes in.
    :param max_fragments: frames that a message may come in.
    :param own_pong: pongs with this payload answer the relay itself, and stop here.
    :param spent: called when a frame comes that there is no allowance for; it may call :meth:`allow`, else the peer
        sends too fast.
    :ivar closed: the peer's close frame, once it has come; what follows is ignored.
    :ivar broken: the rule it broke, and the code to close with; nothing of that frame passed, and what follows is
        ignored.
    """

    __slots__ = (
        "_between",
        "_close_passes",
        "_controls",
        "_fragments",
        "_held",
        "_inside",
        "_least",
        "_left",
        "_longest",
        "_mask_bit",
        "_mask_size",
        "_max_fragments",
        "_max_message",
        "_messages",
        "_most",
        "_muted",
        "_own_pong",
        "_passing",
        "_size",
        "_spent",
        "_to_second",
        "broken",
        "closed",
    )

    def __init__(
        self,
        masked: bool,
        max_message: int,
        max_fragments: int,
        own_pong: bytes = b"",
        spent: Callable[[], None] | None = None,
    ) -> None:
        self._mask_bit = 0x80 if masked else 0
        self._mask_size = 4 if masked else 0
        self._max_message = max_message
        self._max_fragments = max_fragments
        self._own_pong = own_pong
        self._held = b""  # the beginning of a header, or of a control frame
        self._left = 0  # bytes of the frame under way that have not come yet
        self._passing = True  # whether these go on
        self._muted = False
        self._close_passes = True
        self._inside = False  # a message whose final frame has not begun
        self._size = 0
        self._fragments = 0
        self._between = True  # a whole message may come next: nothing held, left or inside, and not muted
        self._least = 2 + self._mask_size
        self._most = self._least + min(_CONTROL_LIMIT, max_message)
        self._longest = self._least + _LENGTH_BYTES[126] + min(_LEAST_EXTENDED[127] - 1, max_message)
        self._to_second = self._mask_bit - self._least
        self._spent = spent
        self._messages = self._controls = sys.maxsize if spent is None else 0
        self.closed: Ending | None = None
        self.broken: Ending | None = None

    @property
    def passing(self) -> bool:
        """Whether a frame has begun to pass, and its rest has not come: no other frame may be written before that."""
        return self._left > 0 and self._passing

    def allow(self, messages: int, controls: int) -> None:
        """From now on the peer may send so many messages and control frames, until it is asked for more."""
        self._messages = messages
        self._controls = controls

    def mute(self) -> None:
        """Let no further frame pass; they are still checked, and the close frame looked for."""
        self._muted = True
        self._between = False

    def stop_close(self) -> None:
        """Let no close frame pass; what comes before it still does."""
        self._close_passes = False

    def feed(self, data: bytes) -> bytes:
        """Read what came, and return what of it may go on; ``data`` itself when that is all of it."""
        size = len(data)
        # One whole unfragmented message of at most 64 KiB: what most reads bring.
        if self._between and self._messages and self._least <= size <= self._longest and data[0] in (0x81, 0x82):
            if size <= self._most:
                whole = data[1] == size + self._to_second
            else:
                length = size - self._least - _LENGTH_BYTES[126]
                extended = (self._mask_bit | 126, length >> 8, length & 0xFF)
                whole = length >= _LEAST_EXTENDED[126] and (data[1], data[2], data[3]) == extended
            if whole:
                self._messages -= 1
                return data
        if self.closed is not None or self.broken is not None:
            return b""
        if self._held:
            data = self._held + data
            size = len(data)
            self._held = b""
        at = self._left
        if at > size:
            self._left = at - size
            return data if self._passing else b""
        return self._walk(data, at, size)

    def _walk(self, data: bytes, at: int, size: int) -> bytes:
        """Read the frames that begin in ``data``, the first at ``at``."""
        pieces = []
        begin = 0 if self._passing else at  # of what passes
        while at < size:
            end = self._frame(data, at, size)
            if end < 0:
                break
            if not self._passing:
                pieces.append(data[begin:at])
                begin = end
            at = end
            if self.closed is not None:
                break
        self._left = max(at - size, 0)
        if at < size and self.closed is None and self.broken is None:
            self._held = data[at:]
        self._between = not (self._left or self._held or self._inside or self._muted or self.closed or self.broken)
        if begin == 0 and at >= size:
            return data
        pieces.append(data[begin:at])
        return b"".join(pieces)

    def _frame(self, data: bytes, at: int, size: int) -> int:
        """Where the frame at ``at`` ends; -1 when more of it must come first, or it breaks a rule.

        Sets whether it passes.
        """
        if size - at < 2:
            return -1
        first, second = data[at], data[at + 1]
        if second & 0x80 != self._mask_bit:
            return self._break("a client's frames must be masked, a server's must not")
        if first & 0x70:
            return self._break("no extension was agreed on")
        length = second & 0x7F
        payload = at + 2 + self._mask_size
        if length >= 126:
            payload += _LENGTH_BYTES[length]
            if size < payload - self._mask_size:
                return -1
            least = _LEAST_EXTENDED[length]
            length = int.from_bytes(data[at + 2 : payload - self._mask_size], "big")
            if length < least or length >> 63:
                return self._break("a length must take the fewest bytes")
        if size < payload:
            return -1
        opcode = first & 0xF
        final = first & 0x80
        end = payload + length
        if opcode <= 2:
            return end if self._fits(opcode, final, length) else -1
        if not CLOSE <= opcode <= PONG:
            return self._break("an unknown opcode")
        if not final or length > _CONTROL_LIMIT:
            return self._break("control frames are short and whole")
        if size < end:
            return -1
        if not self._controls and not self._more(control=True):
            return -1
        self._controls -= 1
        self._passing = not self._muted
        if opcode == CLOSE:
            self._passing = self._passing and self._close_passes
            return end if self._close(self._unmasked(data, payload, end)) else -1
        if opcode == PONG and self._own_pong and self._unmasked(data, payload, end) == self._own_pong:
            self._passing = False
        return end

    def _fits(self, opcode: int, final: int, length: int) -> bool:
        """Count a data frame into its message."""
        if (opcode == 0) is not self._inside:
            self._break("a message within a message" if opcode else "a continuation of nothing")
            return False
        if final or length < SMALL_FRAME:
            if not self._messages and not self._more(control=False):
                return False
            self._messages -= 1
        self._size += length
        self._fragments += 1
        if self._size > self._max_message:
            self.broken = Ending(1009, f"a message may have {self._max_message} bytes")
            return False
        if self._fragments > self._max_fragments:
            self.broken = Ending(1009, f"a message may come in {self._max_fragments} frames")
            return False
        self._inside = not final
        if final:
            self._size = self._fragments = 0
        self._passing = not self._muted
        return True

    def _more(self, control: bool) -> bool:
        """Ask for another allowance; without one the peer sends too fast."""
        if self._spent is not None:
            self._spent()
        if self._controls if control else self._messages:
            return True
        self.broken = Ending(1008, f"too many {'control frames' if control else 'messages'} a second")
        return False

    def _close(self, payload: bytes) -> bool:
        if not payload:
            self.closed = Ending(NO_CODE, "")
            return True
        code = int.from_bytes(payload[:2], "big")
        if code not in _CODES:  # nor is half a code
            self._break("a close code that may not be sent")
            return False
        try:
            self.closed = Ending(code, payload[2:].decode())
        except UnicodeDecodeError:
            self.broken = Ending(1007, "a close reason that is not UTF-8")
            return False
        return True

    def _break(self, reason: str) -> int:
        self.broken = Ending(1002, reason)
        return -1

    def _unmasked(self, data: bytes, begin: int, end: int) -> bytes:
        payload = data[begin:end]
        return apply_mask(data[begin - 4 : begin], payload) if self._mask_size else payload


def apply_mask(key: bytes, payload: bytes) -> bytes:
    """Mask a payload, or take the mask off (RFC 6455 section 5.3)."""
    size = len(payload)
    repeated = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")


def control_frame(opcode: int, payload: bytes, key: bytes = b"") -> bytes:
    """A control frame, its ``payload`` cut after 125 bytes.

    :param key: the four random bytes of a client's mask, or nothing for a server.
    """
    payload = payload[:_CONTROL_LIMIT]
    if not key:
        return bytes((0x80 | opcode, len(payload))) + payload
    return bytes((0x80 | opcode, 0x80 | len(payload))) + key + apply_mask(key, payload)


def close_frame(ending: Ending, key: bytes = b"") -> bytes:
    """A close frame; its reason is cut between two characters where it is too long."""
    reason = ending.reason.encode()[: _CONTROL_LIMIT - 2].decode(errors="ignore").encode()
    return control_frame(CLOSE, ending.code.to_bytes(2, "big") + reason, key)
