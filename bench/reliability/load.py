"""A load at a fixed rate, in a process of its own. Each request is due at a moment of its own, and its time counts from
then on, however long it had to wait for a connection; what became of each is kept.

Nothing is tried again: a request that is cut has failed, whether or not a browser would have sent it once more.
"""

from __future__ import annotations

import gc
import re
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Sequence
from math import inf
from typing import Any, Final, NamedTuple

from tests.faults.apart import Apart

OK: Final = "ok"
PATIENCE: Final = 10.0
"""Seconds in which a request has to be answered."""
_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *(\d+)\r\n")


class Outcome(NamedTuple):
    """What became of one request; times in seconds of the monotonic clock."""

    due: float
    seconds: float
    result: str
    """:data:`OK`, or what was wrong."""
    port: int
    """The client's port of its connection."""
    sent: float

    @property
    def ended(self) -> float:
        """When it was over."""
        return self.due + self.seconds


class Answers:
    """What became of all requests of a load."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self.all = outcomes

    def between(self, begin: float, end: float = float("inf")) -> Answers:
        """Of those that were due between two moments."""
        return Answers([outcome for outcome in self.all if begin <= outcome.due < end])

    @property
    def failed(self) -> list[Outcome]:
        """Those that were not answered as they should be."""
        return [outcome for outcome in self.all if outcome.result != OK]

    @property
    def causes(self) -> str:
        """Of those that failed: how many for which reason."""
        counted = Counter(outcome.result for outcome in self.failed)
        return ", ".join(f"{count} {result}" for result, count in counted.most_common())

    def quantile(self, part: float) -> float:
        """Seconds in which this part of them was answered; 1.0 is the slowest."""
        times = sorted(outcome.seconds for outcome in self.all)
        return times[min(int(len(times) * part), len(times) - 1)]


class Load(Apart):
    """Offers requests from :meth:`start` to :meth:`stop`.

    :param requests: whole messages, sent in turn.
    :param body: of each right answer, whose status is 200.
    :param rate: requests a second; ``inf`` for as many as are answered.
    :param connections: how many there are at most.
    """

    def __init__(self, port: int, requests: Sequence[bytes], body: bytes, rate: float, connections: int = 64) -> None:
        super().__init__(_run, port, requests, body, rate, connections)

    def stop(self) -> Answers:
        """End, when what is under way is answered."""
        return Answers([Outcome(*each) for each in self.end()])

    def during(self, seconds: float) -> Answers:
        """The answers of so many seconds."""
        self.start()
        time.sleep(seconds)
        return self.stop()


def _run(end: Any, *arguments: Any) -> None:
    gc.disable()  # it makes none, and looking for it would stall every request
    end.send("begun")
    end.send([tuple(each) for each in _Clients(end, *arguments).run()])


class _Connection:
    """One of them: the socket, and the request that is under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.port = int(self.socket.getsockname()[1])
        self.due = self.sent = 0.0
        self.busy = False
        self.data = b""

    def send(self, request: bytes, due: float) -> None:
        """Ask; harmless where the connection is gone, since that is seen when it is read."""
        self.due, self.sent, self.busy, self.data = due, time.monotonic(), True, b""
        try:
            if self.socket.send(request) != len(request):
                raise RuntimeError("a request is too long to be sent at once")
        except (BrokenPipeError, ConnectionResetError):
            pass

    def open(self) -> bool:
        """Whether the other side has not closed it, as any client looks before it asks."""
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False


class _Clients:
    """All of them, in one loop."""

    def __init__(
        self, end: Any, port: int, requests: Sequence[bytes], body: bytes, rate: float, connections: int
    ) -> None:
        self._end = end
        self._port = port
        self._requests = requests
        self._body = body
        self._rate = rate
        self._most = connections
        self._queue = connections if rate == inf else inf  # requests that wait, at most
        self._epoll = select.epoll()
        self._epoll.register(end.fileno(), select.EPOLLIN)
        self._open: dict[int, _Connection] = {}
        self._idle: deque[_Connection] = deque()
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._outcomes: list[Outcome] = []

    def run(self) -> list[Outcome]:
        """Until the other end says that it is enough."""
        began, issued, looked, stopping = time.monotonic(), 0, 0.0, False
        while not stopping or self._waiting or len(self._idle) < len(self._open):
            now = time.monotonic()
            while not stopping and len(self._waiting) < self._queue and began + issued / self._rate <= now:
                self._waiting.append((began + issued / self._rate, self._requests[issued % len(self._requests)]))
                issued += 1
            self._ask()
            left = 0.1 if stopping else max(0.0, began + issued / self._rate - time.monotonic())
            for descriptor, _ in self._epoll.poll(min(left, 0.1)):
                if descriptor == self._end.fileno():
                    self._end.recv()
                    self._epoll.unregister(descriptor)
                    stopping = True
                elif descriptor in self._open:
                    self._read(self._open[descriptor])
            if now - looked > 0.1:
                looked = now
                for connection in tuple(self._open.values()):
                    if connection.busy and now - connection.sent > PATIENCE:
                        self._over(connection, f"no answer in {PATIENCE:g} s")
        return self._outcomes

    def _ask(self) -> None:
        while self._waiting:
            if self._idle:
                connection = self._idle.popleft()
                if not connection.open():
                    self._close(connection)
                    continue
            elif len(self._open) < self._most:
                try:
                    connection = _Connection(self._port)
                except OSError as error:
                    due, _ = self._waiting.popleft()
                    self._outcomes.append(Outcome(due, time.monotonic() - due, f"not connected: {error}", 0, 0.0))
                    continue
                self._open[connection.socket.fileno()] = connection
                self._epoll.register(connection.socket, select.EPOLLIN)
            else:
                return
            due, request = self._waiting.popleft()
            connection.send(request, due)

    def _read(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(262144)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not connection.busy:
            if data:
                self._outcomes.append(Outcome(time.monotonic(), 0.0, "bytes nobody asked for", connection.port, 0.0))
            self._idle.remove(connection)
            self._close(connection)
            return
        connection.data += data
        if not data:
            self._over(connection, "cut in the answer" if connection.data else "cut before the answer")
            return
        head, separator, body = connection.data.partition(b"\r\n\r\n")
        if not separator:
            return
        length = _LENGTH.search(head + b"\r\n")
        if length is None:
            self._over(connection, f"status {head[9:12].decode()} without a length")
        elif len(body) >= int(length[1]):
            right = head.startswith(b"HTTP/1.1 200 ") and body == self._body
            last = b"\r\nconnection: close" in head.lower()
            self._over(connection, OK if right else f"status {head[9:12].decode()}", keep=not last)

    def _over(self, connection: _Connection, result: str, keep: bool = False) -> None:
        connection.busy = False
        took = time.monotonic() - connection.due
        self._outcomes.append(Outcome(connection.due, took, result, connection.port, connection.sent))
        if keep:
            self._idle.append(connection)
        else:
            self._close(connection)

    def _close(self, connection: _Connection) -> None:
        del self._open[connection.socket.fileno()]
        self._epoll.unregister(connection.socket)
        connection.socket.close()
