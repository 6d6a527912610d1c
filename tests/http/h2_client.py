"""A client of HTTP/2, which the h2 library speaks, on a connection in memory."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from twisted.internet.task import Clock

from gateway.http.h2 import H2Channel
from gateway.http.site import Site
from tests.http.wire import SecureWire


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """A frame, right or wrong."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


LAST_REQUESTS = frame(7, 0, 0, b"\x7f\xff\xff\xff\0\0\0\0")
Fields = list[tuple[bytes, bytes]]


class Answered:
    """What came on one stream."""

    def __init__(self) -> None:
        self.fields: dict[bytes, bytes] = {}
        self.interim: list[dict[bytes, bytes]] = []
        self.body = b""
        self.ended = False
        self.reset: int | None = None
        """The code of the RST_STREAM, if there was one."""

    @property
    def status(self) -> int:
        """Its status; 0 before its head came."""
        return int(self.fields.get(b":status", b"0"))

    @property
    def code(self) -> str:
        """What the standard error format names the error."""
        return str(json.loads(self.body)["code"])


class H2Wire(SecureWire):
    """A connection with TLS, on which ALPN has chosen HTTP/2."""

    negotiatedProtocol = b"h2"

    @property
    def wrappedProtocol(self) -> Any:
        """The protocol that has the connection."""
        return self._protocol

    @wrappedProtocol.setter
    def wrappedProtocol(self, protocol: Any) -> None:
        self._protocol = protocol


class Client:
    """One connection; ``takes`` is whether its windows are opened again for what was read.

    :param settings: SETTINGS of the client's.
    """

    def __init__(self, site: Site, clock: Clock, takes: bool = True, **settings: int) -> None:
        protocol: Any = site.buildProtocol(None)
        self.wire = H2Wire(clock, protocol)
        protocol.handshakeCompleted()
        self.h2 = H2Connection(
            H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding=False)
        )
        self.answers: dict[int, Answered] = {}
        self.ended: ConnectionTerminated | None = None
        self.takes = takes
        self.last_requests = False
        """Whether the gateway asked for no more requests; the library would hear nothing after that."""
        self._next = 1
        self._read = 0
        self.h2.initiate_connection()
        if settings:
            self.h2.update_settings({getattr(self.h2.local_settings, name): value for name, value in settings.items()})
        self.flush()

    @property
    def channel(self) -> H2Channel:
        """The gateway's side."""
        channel = self.wire.wrappedProtocol
        assert isinstance(channel, H2Channel)
        return channel

    def flush(self) -> None:
        """Send what the library has to send, and read what is answered at once."""
        self.raw(self.h2.data_to_send())

    def raw(self, *data: bytes) -> None:
        """Send these bytes, and read what is answered at once."""
        self.wire.send(*data)
        self.read()

    def read(self) -> None:
        """Let a turn of the reactor pass, and read what has come."""
        self.wire.send()
        while self._read < len(self.wire.received) and self.ended is None:
            data, self._read = self.wire.received[self._read :], len(self.wire.received)
            self.last_requests = self.last_requests or LAST_REQUESTS in data
            for event in self.h2.receive_data(data.replace(LAST_REQUESTS, b"")):
                self._happened(event)
            more = self.h2.data_to_send()
            if more:
                self.wire.send(more)

    def _happened(self, event: Any) -> None:
        answer = self.answers.setdefault(getattr(event, "stream_id", None) or 0, Answered())
        if isinstance(event, ResponseReceived):
            answer.fields = dict(event.headers)
        elif isinstance(event, InformationalResponseReceived):
            answer.interim.append(dict(event.headers))
        elif isinstance(event, DataReceived):
            answer.body += event.data
            if self.takes and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            answer.ended = True
        elif isinstance(event, StreamReset) and event.remote_reset:
            answer.reset = int(event.error_code)
        elif isinstance(event, ConnectionTerminated):
            self.ended = event

    def begin(self, *fields: tuple[bytes, bytes], method: str = "GET", path: str = "/", **pseudo: str) -> int:
        """Open a stream and leave it open."""
        return self._head(fields, method, path, pseudo, end=False)

    def whole(self, path: str, method: str = "GET") -> int:
        """Make a request without a body; the number of its stream."""
        return self._head((), method, path, {}, end=True)

    def ask(
        self, *fields: tuple[bytes, bytes], method: str = "GET", path: str = "/", body: bytes = b"", **pseudo: str
    ) -> Answered:
        """One whole request, and what is answered at once."""
        number = self._head(fields, method, path, pseudo, end=not body)
        if body:
            self.send(number, body, end=True)
        return self.answer(number)

    def _head(
        self, fields: Iterable[tuple[bytes, bytes]], method: str, path: str, pseudo: dict[str, str], end: bool
    ) -> int:
        first = {"method": method, "scheme": "https", "authority": "example.com", "path": path, **pseudo}
        head = [(f":{name}".encode(), value.encode()) for name, value in first.items() if value]
        return self.headers([*head, *fields], end)

    def headers(self, head: Fields, end: bool = True) -> int:
        """Open a stream with exactly these fields."""
        number, self._next = self._next, self._next + 2
        self.answers[number] = Answered()
        self.h2.send_headers(number, head, end)
        self.flush()
        return number

    def send(self, number: int, data: bytes, end: bool = False) -> None:
        """A piece of a stream's body; as much of it as the gateway allows."""
        while data:
            room = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size)
            if not room:
                return
            piece, data = data[:room], data[room:]
            self.h2.send_data(number, piece, end and not data)
            self.flush()

    def reset(self, number: int) -> None:
        """Leave a stream."""
        self.h2.reset_stream(number, 8)
        self.flush()

    def open_window(self, size: int, number: int = 0) -> None:
        """Take ``size`` bytes more."""
        self.h2.increment_flow_control_window(size, number or None)
        self.flush()

    def answer(self, number: int) -> Answered:
        """What came on a stream so far."""
        self.read()
        return self.answers[number]

    def wait_until(self, over: Callable[[], bool]) -> None:
        """Let turns of the reactor pass until something holds.

        :raises AssertionError: when it does not soon.
        """
        for _ in range(1000):
            self.read()
            if over():
                return
        raise AssertionError("it did not happen")
