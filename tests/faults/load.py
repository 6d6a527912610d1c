"""A steady load: clients that ask one request after the other, and keep what became of each.

Each request has a number for its query.
"""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple

from tests.integration.client import Client

NO_ANSWER = 0


class Outcome(NamedTuple):
    """What became of one request."""

    sent: float
    """When, in seconds of the monotonic clock."""
    seconds: float
    """Until its answer was complete, or could not be any more."""
    status: int
    """:data:`NO_ANSWER` when the connection ended first, or the answer was cut or did not come in time."""
    body: bytes


class Load:
    """Runs as long as its ``with`` block.

    :param port: where the gateway listens.
    :param lines: header lines of each request.
    :param method: of each request; a body goes with POST and PUT.
    :param clients: connections, each with a thread of its own.
    :param pause: seconds between an answer and the next request on a connection.
    :param patience: seconds until an answer has to be complete.
    :param connect: makes each connection, where it is not to ``port`` of this machine.
    """

    def __init__(
        self,
        port: int,
        path: str,
        *lines: str,
        method: str = "GET",
        clients: int = 4,
        pause: float = 0.005,
        patience: float = 5.0,
        connect: Callable[[], Client] | None = None,
    ) -> None:
        body = b"x" * 64 if method in ("POST", "PUT") else b""
        length = (f"Content-Length: {len(body)}",) if body else ()
        self._start = f"{method} {path}?"
        self._rest = "\r\n".join((" HTTP/1.1", "Host: gateway.example", *lines, *length, "", "")).encode() + body
        self._numbers = itertools.count()
        self._connect = connect or (lambda: Client(port, seconds=patience))
        self._pause = pause
        self._over = threading.Event()
        self._outcomes: list[Outcome] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Load:
        self.began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def outcomes(self, since: float = 0.0, until: float = float("inf")) -> list[Outcome]:
        """What became of the requests that were sent between two moments, in the order in which they were over."""
        return [outcome for outcome in tuple(self._outcomes) if since <= outcome.sent < until]

    def statuses(self, since: float = 0.0, until: float = float("inf")) -> Counter[int]:
        """How many requests that were sent between two moments had each status."""
        return Counter(outcome.status for outcome in self.outcomes(since, until))

    def slowest(self, since: float = 0.0, until: float = float("inf")) -> float:
        """The longest that a request took which was sent between two moments, in seconds."""
        return max(outcome.seconds for outcome in self.outcomes(since, until))

    def _run(self) -> None:
        client: Client | None = None
        while not self._over.is_set():
            sent = time.monotonic()
            status, body = NO_ANSWER, b""
            try:
                client = client or self._connect()
                client.send(f"{self._start}{next(self._numbers)}".encode(), self._rest)
                status, head, body, _ = client.answer()
                if b"connection: close" in head.lower():
                    client.socket.close()
                    client = None
            except (OSError, EOFError, ValueError):
                if client is not None:
                    client.socket.close()
                client = None
            self._outcomes.append(Outcome(sent, time.monotonic() - sent, status, body))
            time.sleep(self._pause)
        if client is not None:
            client.socket.close()


def closed(port: int) -> bool:
    """Whether nobody takes connections on ``port``."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) != 0
