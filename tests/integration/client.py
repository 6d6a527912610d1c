"""A client of raw bytes: it sends what the test says, and takes answers apart one by one."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import NamedTuple, Self


class Answer(NamedTuple):
    """One answer as it came."""

    status: int
    head: bytes
    """Status line and header fields, with the empty line."""
    body: bytes
    """Without chunk framing."""
    framed: bytes
    """The body as it came."""

    def values(self, name: str) -> list[str]:
        """The values of a header field, in their order; names are compared without case."""
        lines = (line.partition(b":") for line in self.head.split(b"\r\n")[1:])
        return [value.strip().decode("latin-1") for key, _, value in lines if key.lower() == name.lower().encode()]


class Client:
    """One connection to the gateway; everything on it takes ``seconds`` at most.

    :param source: the address it comes from.
    """

    def __init__(self, port: int, source: str = "127.0.0.1", seconds: float = 5.0, host: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection((host, port), seconds, (source, 0))
        self._data = b""

    def send(self, *pieces: bytes) -> None:
        """Send all of it."""
        self.socket.sendall(b"".join(pieces))

    def half_close(self) -> None:
        """Send no more."""
        self.socket.shutdown(socket.SHUT_WR)

    def answer(self, bodiless: bool = False) -> Answer:
        """The next answer, interim ones too.

        :param bodiless: whether the request was one whose answer has no body, such as HEAD.
        :raises EOFError: when the connection ends first.
        """
        head = self.until(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        answer = Answer(status, head, b"", b"")
        if bodiless or status < 200 or status in (204, 304):
            return answer
        if answer.values("Transfer-Encoding") == ["chunked"]:
            body = framed = b""
            while True:
                line = self.until(b"\r\n")
                chunk = self.exactly(int(line, 16) + 2)
                framed += line + chunk
                if line == b"0\r\n":
                    return Answer(status, head, body, framed)
                body += chunk[:-2]
        length = answer.values("Content-Length")
        body = self.exactly(int(length[0])) if length else self.rest()
        return Answer(status, head, body, body)

    def until(self, end: bytes) -> bytes:
        """All that comes up to ``end``, with it.

        :raises EOFError: when the connection ends first.
        """
        while end not in self._data:
            self._more()
        found, _, self._data = self._data.partition(end)
        return found + end

    def exactly(self, size: int) -> bytes:
        """The next ``size`` bytes.

        :raises EOFError: when the connection ends first.
        """
        while len(self._data) < size:
            self._more()
        found, self._data = self._data[:size], self._data[size:]
        return found

    def some(self, size: int) -> bytes:
        """What comes next, at most ``size`` bytes.

        :raises EOFError: when the connection ends first.
        """
        if not self._data:
            self._more()
        return self.exactly(min(size, len(self._data)))

    def rest(self) -> bytes:
        """All that comes until the gateway ends the connection.

        :raises ConnectionResetError: when it is cut.
        """
        while piece := self.socket.recv(65536):
            self._data += piece
        found, self._data = self._data, b""
        return found

    def silent(self, seconds: float = 0.1) -> bool:
        """Whether nothing comes for a while, the end of the connection neither."""
        if self._data:
            return False
        usual = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            self._data = self.socket.recv(1)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(usual)
        return False

    def _more(self) -> None:
        piece = self.socket.recv(65536)
        if not piece:
            raise EOFError(f"the connection ended after {self._data!r}")
        self._data += piece

    def close(self) -> None:
        """Leave."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
