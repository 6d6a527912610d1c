"""What clients keep open for long, and how and when it ends."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

from tests.integration.client import Client
from tests.integration.websockets import Peer
from tests.resources.wires import CLOSE, PING, PONG, frame

CUT = 0


class Held:
    """Reads in a thread until the end.

    :ivar code: that a WebSocket was closed with; :data:`CUT` where it ended without a close frame, and for streams.
    :ivar ended: when, in seconds of the monotonic clock; 0 as long as it is open.
    :ivar pieces: how many frames or pieces came.
    """

    def __init__(self, connection: socket.socket, read: Callable[[Held], None]) -> None:
        self.code = CUT
        self.ended = 0.0
        self.pieces = 0
        self._connection = connection
        self._thread = threading.Thread(target=self._run, args=(read,), daemon=True)
        connection.settimeout(120)
        self._thread.start()

    def _run(self, read: Callable[[Held], None]) -> None:
        with contextlib.suppress(OSError, EOFError):
            read(self)
        self.ended = time.monotonic()
        self._connection.close()

    def leave(self) -> None:
        """End it, if it has not ended."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)


def held_socket(peer: Peer) -> Held:
    """A WebSocket past its handshake."""
    assert peer.head.startswith(b"HTTP/1.1 101 "), peer.head

    def read(held: Held) -> None:
        while (received := peer.receive()) is not None:
            held.pieces += 1
            if received.opcode == CLOSE:
                held.code = int.from_bytes(received.payload[:2], "big")
                peer.connection.sendall(frame(CLOSE, received.payload, True))
            elif received.opcode == PING:
                peer.connection.sendall(frame(PONG, received.payload, True))

    return Held(peer.connection, read)


def held_stream(client: Client) -> Held:
    """An event stream past its head; one that ended in order would have the code 200."""

    def read(held: Held) -> None:
        last = b""
        while piece := client.socket.recv(65536):
            held.pieces += 1
            last = (last + piece)[-7:]
        held.code = 200 if last.endswith(b"0\r\n\r\n") else CUT

    return Held(client.socket, read)
