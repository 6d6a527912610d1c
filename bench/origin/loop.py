"""The origin where nginx is missing: a bare epoll loop that answers GET requests, as fast as nginx's `return`."""

from __future__ import annotations

import select
import socket
import sys

from bench.origin import BODY

ANSWER = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}".encode()


def serve(port: int) -> None:
    """Answer on 127.0.0.1:port until killed; requests must have no body."""
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    poller = select.epoll()
    poller.register(listener, select.EPOLLIN)
    clients: dict[int, tuple[socket.socket, bytes]] = {}
    while True:
        for number, _ in poller.poll():
            if number == listener.fileno():
                client = listener.accept()[0]
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                clients[client.fileno()] = client, b""
                poller.register(client, select.EPOLLIN)
                continue
            client, begun = clients[number]
            try:
                data = client.recv(65536)
            except OSError:
                data = b""
            if not data:
                del clients[number]
                poller.unregister(client)
                client.close()
                continue
            data = begun + data
            heads = data.count(b"\r\n\r\n")
            clients[number] = client, data[data.rfind(b"\r\n\r\n") + 4 :] if heads else data
            if heads:
                client.send(ANSWER * heads)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
