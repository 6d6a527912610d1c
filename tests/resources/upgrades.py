"""A WebSocket route in memory: a client's connection, the channel and the leaf, and an instance that the test plays."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.health import Health
from gateway.core.tokens import Claims
from gateway.http.request import Request
from gateway.http.site import Limits, Site
from gateway.http.upstream import UpstreamConnection
from gateway.resources.bridges import Bridges
from gateway.resources.proxy import ProxySettings
from gateway.resources.websocket import WebSocketResource
from gateway.upstreams.cluster import Cluster
from gateway.upstreams.health import ClusterHealth
from tests.resources.wires import Wire

CLIENT_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = {
    "Host": "api.example.com",
    "Connection": "keep-alive, Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": CLIENT_KEY,
}


def accepts(key: str) -> str:
    """The Sec-WebSocket-Accept of a key (RFC 6455 section 4.2.2)."""
    guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    return base64.b64encode(hashlib.sha1((key + guid).encode()).digest()).decode()


class FakeInstance:
    """An instance whose connections are wires."""

    def __init__(self, name: str = "10.0.0.1:3003") -> None:
        self.name = name
        self.port = 3003
        self.authority = b"mcp.internal:3003"
        self.active = 0
        self.weight, self.priority = 1.0, 0
        self.health = Health()
        self.idle: list[UpstreamConnection] = []
        self.attempts: list[Deferred[UpstreamConnection]] = []
        self.cancelled: list[Deferred[UpstreamConnection]] = []

    def take(self) -> UpstreamConnection | None:
        return self.idle.pop() if self.idle else None

    def connect(self, timeout: float) -> Deferred[UpstreamConnection]:
        attempt: Deferred[UpstreamConnection] = Deferred(self.cancelled.append)
        self.attempts.append(attempt)
        return attempt

    def give_back(self, connection: UpstreamConnection) -> None:
        self.idle.append(connection)

    def idle_lost(self, connection: UpstreamConnection) -> None:
        pass

    def take_back(self) -> None:
        """It never left."""

    def close(self) -> None:
        """No connections are idle."""

    def connection(self) -> tuple[UpstreamConnection, Wire]:
        """A connection that has just been made."""
        connection, wire = UpstreamConnection(self), Wire()
        wire.protocol = connection
        connection.makeConnection(wire)
        return connection, wire

    def connected(self) -> Wire:
        """The attempt under way succeeds."""
        connection, wire = self.connection()
        self.attempts.pop().callback(connection)
        return wire


class UpgradeCase(SynchronousTestCase):
    """One leaf, reached without guards; ``claims`` is what they would have found."""

    origins: tuple[str, ...] = ("https://app.example.com",)
    preserve_host = False
    stripped_prefix = b""
    claims: Claims | None = None
    others: tuple[FakeInstance, ...] = ()

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.instance = FakeInstance()
        self.failures: list[str] = []
        self.opened: list[tuple[int, str]] = []
        self.recorded: list[Request] = []
        self.bridges = Bridges(self.clock, 1000, 0)
        instances: list[Any] = [self.instance, *self.others]
        self.cluster = Cluster("mcp-server", instances, "round-robin", ClusterHealth("mcp-server", self.clock))
        self.leaf = WebSocketResource(
            self.clock,
            self.cluster,
            ProxySettings(self.stripped_prefix, self.preserve_host, 3, 60, 300, {"X-Frame-Options": "DENY"}),
            lambda upstream, reason: self.failures.append(reason),
            origins=self.origins,
            bridges=self.bridges,
            leeway=60,
            opened=lambda request: self.opened.append((request.status, request.log_more)),
        )
        self.site = Site(self.clock, self.locate, self.recorded.append, Limits())
        self.client = Wire()
        self.client.protocol = self.site.buildProtocol(None)
        self.client.protocol.makeConnection(self.client)

    def locate(self, path: bytes) -> Any:
        """Whatever the path."""
        return self

    def render(self, request: Any) -> int:
        """The site's way to the leaf, past where the guards would be."""
        request.claims = self.claims
        request.answer_fields.append(b"RateLimit-Limit: 60\r\n")
        return self.leaf.render(request)

    def send(
        self,
        *lines: str,
        path: str = "/api/ws/echo?x=1",
        without: str = "",
        rest: bytes = b"",
        **changes: str,
    ) -> None:
        """The client's handshake, less and more some fields, and what follows it at once."""
        named = {name.replace("_", "-"): value for name, value in changes.items()}
        fields = {**HANDSHAKE, **named}
        fields.pop(without, None)
        named_lines = (f"{name}: {value}" for name, value in fields.items())
        head = "\r\n".join((f"GET {path} HTTP/1.1", *named_lines, *lines))
        self.client.receive(head.encode("latin-1") + b"\r\n\r\n" + rest)

    def asked(self, *lines: str, **more: Any) -> Wire:
        """A handshake that gets as far as the instance; returns the connection to it."""
        self.send(*lines, **more)
        return self.instance.connected()

    def switch(self, upstream: Wire, *lines: str, rest: bytes = b"", accept: str = "") -> bytes:
        """The instance answers 101; returns what it was asked."""
        request = upstream.taken()
        accept = accept or accepts(field(request, "Sec-WebSocket-Key"))
        head = ("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade")
        answer = "\r\n".join((*head, f"Sec-WebSocket-Accept: {accept}", *lines))
        upstream.receive(answer.encode("latin-1") + b"\r\n\r\n" + rest)
        return request

    def open(self, *lines: str, rest: bytes = b"", **more: Any) -> Wire:
        """An open socket; returns the connection to the instance. The client's 101 is left to be taken."""
        upstream = self.asked(*lines, **more)
        self.switch(upstream, rest=rest)
        return upstream

    def status(self) -> int:
        """The status that the client was answered."""
        answer = self.client.value()
        assert answer.startswith(b"HTTP/1.1 "), answer
        return int(answer[9:12])


def field(head: bytes, name: str) -> str:
    """The value of a field in a head; ``""`` where there is none."""
    for line in head.decode("latin-1").partition("\r\n\r\n")[0].split("\r\n")[1:]:
        found, _, value = line.partition(": ")
        if found.lower() == name.lower():
            return value
    return ""
