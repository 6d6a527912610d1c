"""An origin of raw bytes: it keeps what it received to the letter, and answers what the test says."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Step = bytes | threading.Event | Callable[[socket.socket], None]
"""What an origin does next: it sends bytes, waits for an event, or does whatever the test says with its socket."""


class Origin:
    """Takes connections on the loopback, and answers each request.

    Requests get what was planned for them, then ``answer``; ``cut`` closes right after it.

    :param context: for https.
    :param address: where; port 0 is a free one.
    """

    def __init__(self, context: ssl.SSLContext | None = None, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self._context = context
        self._listener = socket.create_server(address)
        self.port = int(self._listener.getsockname()[1])
        self.closed = threading.Event()
        self.reset()
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self) -> None:
        """Forget what was received and planned."""
        self.answer = OK
        self.cut = False
        self.whole = True
        """Whether requests are read to their end before they are answered, or their heads alone."""
        self.received: list[bytes] = []
        self.connections = 0
        self.closed.clear()
        self._plans: deque[Sequence[Step]] = deque()

    def plan(self, *exchanges: Sequence[Step]) -> None:
        """Answer the next requests with these steps, one sequence each."""
        self._plans.extend(exchanges)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection:
                while request := read_head(connection):
                    self.received.append(read_body(connection, request) if self.whole else request)
                    steps = self._plans.popleft() if self._plans else (self.answer, close if self.cut else b"")
                    for step in steps:
                        take(step, connection)
        except OSError:
            pass
        self.closed.set()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()


def take(step: Step, connection: socket.socket) -> None:
    """Do one step."""
    if isinstance(step, threading.Event):
        step.wait(10)
    elif callable(step):
        step(connection)
    else:
        connection.sendall(step)


def close(connection: socket.socket) -> None:
    """End the connection in order."""
    connection.shutdown(socket.SHUT_RDWR)


def reset(connection: socket.socket) -> None:
    """Cut the connection."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def read_message(connection: socket.socket) -> bytes:
    """One whole message; ``b""`` at the end of the connection."""
    return read_body(connection, read_head(connection))


def read_head(connection: socket.socket) -> bytes:
    """A head, with what came of the body along with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return data
        data += piece
    return data


def read_body(connection: socket.socket, data: bytes) -> bytes:
    """The message that begins with ``data``, to its end by Content-Length or chunks."""
    head, _, body = data.partition(b"\r\n\r\n")
    fields = {
        line.partition(b":")[0].strip().lower(): line.partition(b":")[2].strip() for line in head.split(b"\r\n")[1:]
    }
    length = int(fields.get(b"content-length", b"0"))
    chunked = fields.get(b"transfer-encoding") == b"chunked"
    while len(body) < length or (chunked and not body.endswith(b"0\r\n\r\n")):
        piece = connection.recv(65536)
        if not piece:
            break
        data += piece
        body += piece
    return data


def talk(port: int, request: bytes, seconds: float = 5.0) -> bytes:
    """Send ``request`` on a new connection, and return all that comes until it closes, or one whole answer."""
    with socket.create_connection(("127.0.0.1", port), seconds) as connection:
        connection.sendall(request)
        return read_message(connection)


def drained(connection: socket.socket) -> bytes:
    """All that still comes until the connection ends, in order or not."""
    data = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            data += piece
    return bytes(data)
