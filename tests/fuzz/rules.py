"""What must hold whatever comes."""

from __future__ import annotations

from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from zope.interface import implementer

from gateway.core.errors import BadRequest
from gateway.core.paths import split_target
from tests.http.wire import Gateway, Origin, Wire
from tests.properties.reference import Message, Read, read_answers, read_requests

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_failures: list[LogEvent] = []


@implementer(ILogObserver)
def _failed(event: LogEvent) -> None:
    if event["log_level"] >= LogLevel.error:
        _failures.append(event)


class Conversation:
    """A client of a gateway whose origin answers each whole request."""

    def __init__(self, answer: bytes = OK) -> None:
        self.gateway = Gateway()
        self.origin = Origin(self.gateway.clock)
        self.gateway.proxy(b"/a", self.origin)
        self.client = self.gateway.connect()
        self._answer = answer
        self._answered: dict[Wire, int] = {}

    def send(self, pieces: list[bytes]) -> None:
        """Send the pieces, each in a read of its own, and let the origin answer."""
        for piece in pieces:
            if self.client.ended:
                return
            self.client.send(piece)
            while self._answers():
                pass

    def _answers(self) -> bool:
        progress = False
        for wire in self.origin.wires:
            whole = len(read_requests(wire.received).messages)
            if whole > self._answered.get(wire, 0) and not wire.ended:
                self._answered[wire] = self._answered.get(wire, 0) + 1
                wire.send(self._answer)
                progress = True
        return progress

    @property
    def forwarded(self) -> list[Message]:
        """The whole requests that the origin received."""
        return [message for wire in self.origin.wires for message in read_requests(wire.received).messages]

    def answered(self, sent: bytes) -> Read:
        """What the client got for ``sent``."""
        methods = [message.start[0] for message in read_requests(sent).messages]
        return read_answers(self.client.received, [*methods, *[b"GET"] * 4], self.client.ended == "closed")


def understood(data: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Method, normal target and body of each request below ``/a`` that the reference reads, to the first in doubt."""
    found = []
    for message in read_requests(data).messages:
        method, target = message.start
        try:
            path, query, _ = split_target(target)
        except BadRequest:
            break
        if path == b"/a" or path.startswith(b"/a/"):
            found.append((method, path + b"?" + query if query else path, message.body))
    return found


def check(data: bytes) -> None:
    """Let a client send what comes before the first ``\\xff``, and an instance answer what follows.

    :raises AssertionError: when a rule is broken.
    """
    _failures.clear()
    globalLogPublisher.addObserver(_failed)
    try:
        _converse(*data.split(b"\xff", 1))
    finally:
        globalLogPublisher.removeObserver(_failed)
    assert not _failures, f"logged: {_failures}"


def _converse(sent: bytes, said: bytes = b"") -> None:
    conversation = Conversation(said or OK)
    conversation.send([sent])
    forwarded = [(*message.start, message.body) for message in conversation.forwarded]
    routed = understood(sent)
    assert forwarded == routed[: len(forwarded)], f"{forwarded} is not what was sent: {routed}"
    assert not conversation.answered(sent).broken, f"no HTTP: {conversation.client.received!r}"
    conversation.client.leave()
    conversation.gateway.after(1)
    assert not conversation.origin.active, "an exchange goes on without its client"
