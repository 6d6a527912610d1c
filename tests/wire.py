"""A client of the server channel, all in memory: bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import IResource

from gateway.http.request import Request
from gateway.http.site import Limits, Site


class Transport(StringTransport):
    """A TCP transport as far as the channel uses one."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        """There is nothing to delay."""


class Client:
    """One connection to a site that has ``leaf`` at every path, or what ``locate`` finds.

    ``over`` has the requests that are over, as the access log and the metrics get them.
    """

    def __init__(self, leaf: IResource, locate: Callable[[bytes], IResource] | None = None) -> None:
        self.clock = Clock()
        self.over: list[Request] = []
        self.site = Site(self.clock, locate or (lambda path: leaf), self.over.append, Limits())
        self.transport = Transport(peerAddress=IPv4Address("TCP", "192.0.2.7", 50000))
        self.channel = self.site.buildProtocol(None)
        self.channel.makeConnection(self.transport)

    def send(self, data: bytes) -> bytes:
        """What is answered at once."""
        self.channel.dataReceived(data)
        return self.answered()

    def ask(self, *lines: str, method: str = "GET", path: str = "/", body: bytes = b"") -> bytes:
        """The answer to a request with these header lines, as far as it comes at once."""
        head = [f"{method} {path} HTTP/1.1", "Host: gateway.example", *lines]
        return self.send("\r\n".join((*head, "", "")).encode("latin-1") + body)

    def answered(self) -> bytes:
        """What was answered since somebody looked."""
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def leave(self) -> None:
        """Close the connection from the client's side."""
        self.channel.connectionLost(Failure(ConnectionDone()))


def status(answer: bytes) -> int:
    """The status of an answer."""
    return int(answer.split(b" ", 2)[1])


def fields(answer: bytes, start: str = "") -> list[tuple[str, str]]:
    """Its header fields whose names begin with ``start``: names in lower case, in their order."""
    lines = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    pairs = ((name.lower(), value) for name, _, value in (line.partition(": ") for line in lines))
    return [(name, value) for name, value in pairs if name.startswith(start)]


def body(answer: bytes) -> bytes:
    """Its body, as it was framed."""
    return answer.partition(b"\r\n\r\n")[2]
