"""An origin of raw bytes: it keeps what it received to the letter, and answers what the test says."""

from __future__ import annotations

import socket
import ssl
import threading


class Origin:
    """Takes connections on a free port; each request gets ``answer``; ``cut`` closes right after it.

    :param tls: what it shows to those who connect, if it speaks TLS.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        self.cut = False
        self.received: list[bytes] = []
        self.closed = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                if self._tls is not None:
                    connection = self._tls.wrap_socket(connection, server_side=True)
                while request := read_message(connection):
                    self.received.append(request)
                    if self.answer:
                        connection.sendall(self.answer)
                    if self.cut:
                        return
            except OSError:
                pass
            connection.close()
            self.closed.set()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()


def read_message(connection: socket.socket) -> bytes:
    """One whole message, by Content-Length or chunks; ``b""`` at the end of the connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return data
        data += piece
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
        body += piece
    return head + b"\r\n\r\n" + body


def talk(port: int, request: bytes, seconds: float = 5.0) -> bytes:
    """Send ``request`` on a new connection, and return all that comes until it closes, or one whole answer."""
    with socket.create_connection(("127.0.0.1", port), seconds) as connection:
        connection.sendall(request)
        return read_message(connection)
