"""The origin of long exchanges: echoes WebSocket messages, sends and takes large bodies; a bare epoll loop."""

from __future__ import annotations

import re
import select
import socket
import sys
from base64 import b64encode
from hashlib import sha1

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_BLOCK = bytes(256 * 1024)
_READ = 256 * 1024


class Client:
    """One connection: a head first, then what it asks for."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.held = b""
        self.echoes = False
        self.to_send = 0
        """Bytes of a download that have not left."""
        self.sends = False
        """Whether it is waited for until it can be written to."""
        self.to_take = 0
        """Bytes of an upload that have not come."""

    def readable(self) -> bool:
        """Serve what has come; whether the connection goes on."""
        data = self.connection.recv(_READ)
        if not data:
            return False
        if self.to_take:
            self.to_take -= len(data)
            if not self.to_take:
                self.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        elif self.echoes:
            self._echo(data)
        else:
            self._head(data)
        return True

    def writable(self) -> None:
        """Send more of a download."""
        self.to_send -= self.connection.send(_BLOCK[: self.to_send])

    def _head(self, data: bytes) -> None:
        self.held += data
        head, end, rest = self.held.partition(b"\r\n\r\n")
        if not end:
            return
        self.held = b""
        if key := re.search(rb"(?i)\r\nsec-websocket-key: (\S+)", head):
            accept = b64encode(sha1(key[1] + _GUID).digest())
            self.connection.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
            self.echoes = True
        elif head.startswith(b"GET"):
            size = re.search(rb"size=(\d+)", head)
            self.to_send = int(size[1]) if size else 2
            self.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self.to_send)
        elif length := re.search(rb"(?i)\r\ncontent-length: (\d+)", head):
            self.to_take = int(length[1]) - len(rest)

    def _echo(self, data: bytes) -> None:
        """Send each whole frame back; its mask is zeros, so its payload is as it was (RFC 6455 section 5.3)."""
        data = self.held + data if self.held else data
        at = 0
        answer: list[bytes] = []
        while len(data) - at >= 4:
            short = data[at + 1] & 0x7F
            extended = 2 if short == 126 else 0  # no message here has more than 64 KiB
            size = int.from_bytes(data[at + 2 : at + 4], "big") if extended else short
            payload = at + 2 + extended + 4
            if len(data) < payload + size:
                break
            answer += (bytes((data[at], short)), data[at + 2 : at + 2 + extended], data[payload : payload + size])
            at = payload + size
        self.held = data[at:]
        if answer:
            self.connection.sendall(b"".join(answer))


def serve(port: int) -> None:
    """Serve on 127.0.0.1:port until killed."""
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    poller = select.epoll()
    poller.register(listener, select.EPOLLIN)
    clients: dict[int, Client] = {}
    while True:
        for number, event in poller.poll():
            if number == listener.fileno():
                connection = listener.accept()[0]
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                clients[connection.fileno()] = Client(connection)
                poller.register(connection, select.EPOLLIN)
                continue
            client = clients[number]
            try:
                lives = True
                if event & select.EPOLLOUT:
                    client.writable()
                if event & ~select.EPOLLOUT:
                    lives = client.readable()
            except OSError:
                lives = False
            if lives:
                if (client.to_send > 0) is not client.sends:
                    client.sends = not client.sends
                    poller.modify(number, select.EPOLLOUT if client.sends else select.EPOLLIN)
            else:
                del clients[number]
                client.connection.close()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
