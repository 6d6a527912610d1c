"""Both ends of a bridged WebSocket as raw sockets, so that tests can send what no library would."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import ssl

from tests.integration.origin import read_message
from tests.resources.wires import CLOSE, Frame, close, frame

UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")


class Peer:
    """One end of a WebSocket past its handshake; ``client`` says which.

    Waiting for what does not come fails after five seconds.
    """

    def __init__(self, connection: socket.socket, client: bool, head: bytes) -> None:
        self.connection = connection
        self.client = client
        self.head = head
        """What the other end's handshake was."""
        self._data = b""

    def send(self, opcode: int, payload: bytes = b"", final: bool = True) -> None:
        """Send one frame."""
        self.connection.sendall(frame(opcode, payload, self.client, final))

    def close(self, code: int) -> None:
        """Send a close frame."""
        self.connection.sendall(close(code, masked=self.client))

    def receive(self) -> Frame | None:
        """The next frame; None when the connection has ended."""
        while (found := self._take()) is None:
            try:
                data = self.connection.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self._data += data
        return found

    def rest(self) -> list[Frame]:
        """All frames up to the end of the connection; a close frame is answered first."""
        found = []
        while (received := self.receive()) is not None:
            found.append(received)
            if received.opcode == CLOSE:
                self.connection.sendall(frame(CLOSE, received.payload, self.client))
        return found

    def closed_with(self) -> int:
        """Wait for a close frame, answer it, and return its code."""
        while (received := self.receive()) is not None:
            if received.opcode == CLOSE:
                self.connection.sendall(frame(CLOSE, received.payload, self.client))
                return int.from_bytes(received.payload[:2], "big")
        raise AssertionError("the connection ended without a close frame")

    def _take(self) -> Frame | None:
        data = self._data
        if len(data) < 2:
            return None
        more = {126: 2, 127: 8}.get(data[1] & 127, 0)
        size = int.from_bytes(data[2 : 2 + more], "big") if more else data[1] & 127
        at = 2 + more + (0 if self.client else 4)
        if len(data) < at + size:
            return None
        payload, self._data = data[at : at + size], data[at + size :]
        if not self.client:
            key = data[at - 4 : at] * (size // 4 + 1)
            payload = bytes(byte ^ mask for byte, mask in zip(payload, key, strict=False))
        return Frame(data[0] & 15, payload, not self.client, data[0] & 128 != 0)


def connect(port: int, path: str, *lines: str, context: ssl.SSLContext | None = None) -> Peer:
    """Ask for a WebSocket; ``head`` of what is returned is the answer, whatever it is."""
    connection = socket.create_connection(("127.0.0.1", port), 5)
    if context is not None:
        connection = context.wrap_socket(connection, server_hostname="localhost")
    return upgrade(connection, path, *lines)


def upgrade(connection: socket.socket, path: str, *lines: str) -> Peer:
    """The same on a connection that is there."""
    key = base64.b64encode(os.urandom(16)).decode()
    head = (f"GET {path} HTTP/1.1", "Host: api.example.com", *UPGRADE, f"Sec-WebSocket-Key: {key}", *lines)
    connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n")
    return Peer(connection, True, read_message(connection))


class Upstream:
    """Takes connections on a free port, and leaves it to the test how each upgrade is answered."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(5)
        self.port = int(self._listener.getsockname()[1])

    def asked(self) -> Peer:
        """The next connection, once its request has come."""
        connection, _ = self._listener.accept()
        connection.settimeout(5)
        return Peer(connection, False, read_message(connection))

    def switch(self, peer: Peer) -> Peer:
        """Answer 101."""
        key = peer.head.partition(b"Sec-WebSocket-Key: ")[2].split(b"\r\n")[0]
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        peer.connection.sendall(head + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        return peer

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()
