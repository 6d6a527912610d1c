"""Connections to a Redis that the test plays."""

from __future__ import annotations

from typing import Any

import hiredis
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure


class Endpoint:
    """Never connects by itself: the test hands connections over."""

    def connect(self, factory: Any) -> Deferred[Any]:
        return Deferred()


class Line(StringTransport):
    """A connection to a Redis that the test plays."""

    link: Any = None

    def said(self) -> list[list[bytes]]:
        """The commands that came since it was asked last."""
        reader = hiredis.Reader()
        reader.feed(self.value())
        self.clear()
        commands = []
        while (command := reader.gets()) is not False:
            commands.append(command)
        return commands

    def reply(self, text: bytes) -> None:
        """Answer a command."""
        self.link.dataReceived(text)

    def numbers(self, *numbers: int) -> None:
        """Answer with a flat list of integers."""
        self.reply(b"*%d\r\n" % len(numbers) + b"".join(b":%d\r\n" % number for number in numbers))

    def lose(self) -> None:
        """The connection ends."""
        self.link.connectionLost(Failure(ConnectionDone()))

    def abortConnection(self) -> None:
        super().abortConnection()
        if self.link.connected:
            self.lose()
