"""Very many slow clients, in a process of their own: each sends or takes a byte a second; what was cut comes back."""

from __future__ import annotations

import select
import socket
import time
from typing import Any

from tests.faults.apart import Apart

HEAD = b"GET /public/large HTTP/1.1\r\nHost: a\r\nA: "
BODY = b"POST /public/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
READ = b"GET /public/large HTTP/1.1\r\nHost: a\r\n\r\n"


class Slow(Apart):
    """There from :meth:`start`, which returns when all are, to :meth:`stop`.

    :param begin: what each sends at once.
    :param byte: what it sends each second from then on; empty where it takes a byte instead.
    """

    def __init__(self, port: int, begin: bytes, byte: bytes, count: int) -> None:
        super().__init__(_run, port, begin, byte, count)

    def stop(self) -> int:
        """Leave; returns how many were cut, and came back within a second."""
        return int(self.end())


def _open(port: int, begin: bytes, number: int) -> socket.socket:
    """One of them, from one of many addresses."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.bind((f"127.0.1.{number % 100 + 1}", 0))
    client.settimeout(10)
    client.connect(("127.0.0.1", port))
    client.sendall(begin)
    client.setblocking(False)
    return client


def _run(end: Any, port: int, begin: bytes, byte: bytes, count: int) -> None:
    clients = [_open(port, begin, number) for number in range(count)]
    end.send("open")
    began, steps, returned = time.monotonic(), 0, 0
    while not select.select([end], [], [], 0)[0]:
        # As many steps as are due, spread evenly over the second.
        while steps < (time.monotonic() - began) * count:
            number, steps = steps % count, steps + 1
            if _ended(clients[number], byte):
                clients[number].close()
                clients[number] = _open(port, begin, number)
                returned += 1
        time.sleep(0.01)
    end.recv()
    end.send(returned)


def _ended(client: socket.socket, byte: bytes) -> bool:
    try:
        if byte:
            client.send(byte)
            return client.recv(4096) is not None  # an answer: the gateway has had enough
        return not client.recv(1)
    except BlockingIOError:
        return False
    except OSError:
        return True
