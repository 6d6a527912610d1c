"""Connections in memory, and the frames that go over them, for the tests of the WebSocket bridge."""

from __future__ import annotations

from typing import Any, NamedTuple

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory
from twisted.internet.testing import StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure

from gateway.core.frames import apply_mask

KEY = b"\x01\x02\x03\x04"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Wire(StringTransport):
    """The gateway's end of a connection, which keeps what was written, and how the gateway ended it."""

    protocol: Any = None
    producer: Any

    def __init__(self) -> None:
        super().__init__()
        self.half_closed = False
        self.aborted = False

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def abortConnection(self) -> None:
        self.aborted = True

    def unregisterProducer(self) -> None:
        self.producer = None  # harmless where there is none, as with Twisted's own transports

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def receive(self, data: bytes) -> None:
        """The peer sends."""
        self.protocol.dataReceived(data)

    def lose(self) -> None:
        """The connection ends."""
        self.protocol.connectionLost(Failure(ConnectionDone()))

    def taken(self) -> bytes:
        """What was written since this was asked last."""
        data: bytes = self.value()
        self.clear()
        return data

    def taken_frames(self) -> list[Frame]:
        """The same, as frames."""
        return frames(self.taken())

    @property
    def paused(self) -> bool:
        """Whether the gateway reads nothing from it."""
        return bool(self.producerState == "paused")


def wrapped(wire: Wire) -> ProtocolWrapper:
    """A transport around ``wire``, as TLS and the PROXY protocol have them."""
    wrapper = ProtocolWrapper(WrappingFactory(Factory()), None)  # type: ignore[arg-type]
    wire.protocol = wrapper
    wrapper.connected = 1
    wrapper.transport = wire
    return wrapper


class Frame(NamedTuple):
    """One frame, its mask taken off."""

    opcode: int
    payload: bytes
    masked: bool
    final: bool


def frame(opcode: int, payload: bytes = b"", masked: bool = False, final: bool = True) -> bytes:
    """The bytes of a frame, a client's when ``masked``."""
    size = len(payload)
    if size < 126:
        length = bytes((masked << 7 | size,))
    elif size < 65536:
        length = bytes((masked << 7 | 126,)) + size.to_bytes(2, "big")
    else:
        length = bytes((masked << 7 | 127,)) + size.to_bytes(8, "big")
    return bytes((final << 7 | opcode,)) + length + (KEY + apply_mask(KEY, payload) if masked else payload)


def close(code: int, reason: bytes = b"", masked: bool = False) -> bytes:
    """The bytes of a close frame."""
    return frame(CLOSE, code.to_bytes(2, "big") + reason, masked)


def frames(data: bytes) -> list[Frame]:
    """Bytes taken apart; the last frame may be a part of one."""
    found = []
    while data:
        opcode, second = data[0] & 15, data[1]
        size, at = second & 127, 2
        if size > 125:
            more = 2 if size == 126 else 8
            size, at = int.from_bytes(data[2 : 2 + more], "big"), 2 + more
        key = data[at : at + 4] if second & 128 else b""
        at += len(key)
        payload = data[at : at + size]
        found.append(Frame(opcode, apply_mask(key, payload) if key else payload, bool(key), data[0] & 128 != 0))
        data = data[at + size :]
    return found


def code(found: Frame) -> int:
    """The code of a close frame."""
    assert found.opcode == CLOSE, found
    return int.from_bytes(found.payload[:2], "big")
