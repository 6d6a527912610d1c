"""The reference: HTTP/1.1 messages as h11 reads them."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import h11

_WORDS = re.compile(rb"\A([^ \r\n]+) +([^ \r\n]+) +(?=HTTP/)")
"""Between the words of a request line one space or more may stand (RFC 9112 section 3)."""


class Message(NamedTuple):
    """One whole message; ``start`` is the method and target of a request, the status of an answer."""

    start: tuple[bytes, ...]
    fields: list[tuple[bytes, bytes]]
    body: bytes

    def values(self, lower_name: bytes) -> list[bytes]:
        """All values of a header field."""
        return [value for name, value in self.fields if name == lower_name]


class Read(NamedTuple):
    """What a stream of bytes holds."""

    messages: list[Message]
    """The whole ones, up to the first that is broken, or that ends the conversation."""
    broken: bool
    """Whether something follows them that is no message."""
    partial: bytes
    """How much came of the body of the message that is not whole."""


def read_requests(data: bytes) -> Read:
    """The requests in what somebody sent."""
    messages: list[Message] = []
    while data:
        data = _WORDS.sub(rb"\1 \2 ", data.lstrip(b"\r\n"))
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        message, body, broken = _read(connection, data, closed=False)
        if message is None:
            return Read(messages, broken, body)
        messages.append(message)
        data = connection.trailing_data[0]
        if connection.their_state is h11.MUST_CLOSE:
            break
    return Read(messages, False, b"")


def read_answers(data: bytes, methods: list[bytes], closed: bool) -> Read:
    """The final answers in what somebody sent to requests of these methods.

    :param closed: whether the connection ended after ``data``, in order.
    """
    messages: list[Message] = []
    for method in methods:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        connection.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"x"), (b"Content-Length", b"0")]))
        connection.send(h11.EndOfMessage())
        message, body, broken = _read(connection, data, closed)
        if message is None:
            return Read(messages, broken, body)
        messages.append(message)
        data = connection.trailing_data[0]
        if connection.their_state is not h11.DONE:
            break
    return Read(messages, False, b"")


def _read(connection: h11.Connection, data: bytes, closed: bool) -> tuple[Message | None, bytes, bool]:
    """The first message, what came of a body that is not whole, and whether it is broken."""
    head: Any = None
    body = b""
    data = data.lstrip(b"\r\n")  # empty lines before a message are skipped (RFC 9112 section 2.2)
    try:
        if data:
            connection.receive_data(data)
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                if not closed:
                    return None, body, False
                closed = False
                connection.receive_data(b"")
            elif isinstance(event, h11.Request | h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return Message(_start(head), [(name, bytes(value)) for name, value in head.headers], body), b"", False
            elif event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return None, body, False
    except h11.RemoteProtocolError:
        return None, body, True


def _start(head: Any) -> tuple[bytes, ...]:
    if isinstance(head, h11.Request):
        return bytes(head.method), bytes(head.target)
    return (b"%d" % head.status_code,)
