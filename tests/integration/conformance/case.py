"""What all tests of the wire share: one gateway with its origins, clients, and the bytes of requests."""

from __future__ import annotations

import atexit
import json
import socket
import time
from functools import cache
from typing import Any, NamedTuple

import jwt
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.client import Answer, Client
from tests.integration.origin import Origin
from tests.integration.processes import SECRET, Process, free_port, start_gateway, wait_for

PROXY = "127.0.0.2"
"""The address that the gateway takes for a proxy it trusts."""

PAGE = "https://app.example.com"
"""The origin of pages that may call."""

CONFIG = """
[server]
listen = ["tcp:{port}:interface=127.0.0.1"]
admin = ""
workers = 0
trusted_proxies = ["127.0.0.2", "10.0.0.0/8"]
{server}
[redis]
url = "memory:"
[jwt]
secret = "{secret}"
[rate_limit]
default = 2
roles = {{ admin = "unlimited", user = 1000 }}
[cors]
origins = ["https://app.example.com"]
[[upstreams]]
name = "origin"
instances = ["http://127.0.0.1:{origin}"]
connect_timeout = "5s"
[[upstreams]]
name = "gone"
instances = ["http://127.0.0.1:1"]
[[upstreams]]
name = "full"
instances = ["http://127.0.0.1:{full}"]
connect_timeout = "300ms"
[[routes]]
prefix = "/open"
upstream = "origin"
auth = "none"
rate_limit = false
[[routes]]
prefix = "/api/auth"
upstream = "origin"
strip_prefix = true
auth = "none"
rate_limit = false
[[routes]]
prefix = "/api/users"
upstream = "origin"
rate_limit = false
[[routes]]
prefix = "/api/admin"
upstream = "origin"
roles = ["admin"]
rate_limit = false
[[routes]]
prefix = "/limited"
upstream = "origin"
auth = "none"
[[routes]]
prefix = "/small"
upstream = "origin"
auth = "none"
rate_limit = false
max_body = "1 KiB"
[[routes]]
prefix = "/hosted"
upstream = "origin"
auth = "none"
rate_limit = false
preserve_host = true
[[routes]]
prefix = "/hasty"
upstream = "origin"
auth = "none"
rate_limit = false
first_byte_timeout = "300ms"
idle_timeout = "300ms"
[[routes]]
prefix = "/gone"
upstream = "gone"
auth = "none"
rate_limit = false
[[routes]]
prefix = "/full"
upstream = "full"
auth = "none"
rate_limit = false
"""


class Place(NamedTuple):
    """A gateway and what stands behind it."""

    origin: Origin
    gateway: Process


@cache
def place(server: str = 'max_body = "200 MiB"') -> Place:
    """A gateway with these lines in ``[server]``; started once, and ended with the tests."""
    origin, port = Origin(), free_port()
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    waiting = [socket.socket() for _ in range(4)]  # they fill its backlog: who comes now waits for an answer in vain
    for client in waiting:
        client.setblocking(False)
        client.connect_ex(full.getsockname())
    for end in (full, *waiting):
        atexit.register(end.close)
    gateway = start_gateway(
        CONFIG.format(port=port, server=server, secret=SECRET, origin=origin.port, full=full.getsockname()[1]),
        port,
    )
    atexit.register(gateway.stop)
    return Place(origin, gateway)


def token(role: str = "user") -> str:
    """An Authorization line that the gateway accepts."""
    return "Authorization: Bearer " + jwt.encode({"sub": "ann", "role": role, "exp": time.time() + 300}, SECRET)


def head(path: str, *lines: str, method: str = "GET", version: str = "HTTP/1.1") -> bytes:
    """The head of a request for ``api.example.com``."""
    return "\r\n".join((f"{method} {path} {version}", "Host: api.example.com", *lines, "", "")).encode("latin-1")


def post(path: str, body: bytes, *lines: str) -> bytes:
    """A request with a body."""
    return head(path, f"Content-Length: {len(body)}", *lines, method="POST") + body


class WireTestCase(SynchronousTestCase):
    """A client, the gateway and its origin, which answers ``ok`` unless a test says something else."""

    def setUp(self) -> None:
        self.origin, self.gateway = place()
        self.origin.reset()

    def client(self, source: str = "127.0.0.1") -> Client:
        """A new connection."""
        client = Client(self.gateway.port, source)
        self.addCleanup(client.close)
        return client

    def ask(self, request: bytes, source: str = "127.0.0.1", bodiless: bool = False) -> Answer:
        """The answer to a request on a connection of its own."""
        with Client(self.gateway.port, source) as client:
            client.send(request)
            return client.answer(bodiless)

    def assertRefused(self, status: int, request: bytes, source: str = "127.0.0.1") -> None:
        """The request gets ``status`` in the standard format, the connection ends in order, nothing is forwarded."""
        with Client(self.gateway.port, source) as client:
            client.send(request)
            answer = client.answer()
            shown = request[:120]
            self.assertEqual(answer.status, status, shown)
            self.assertEqual(answer.values("Connection"), ["close"], shown)
            self.assertEqual(set(json.loads(answer.body)), {"code", "message", "requestId"}, shown)
            self.assertEqual(client.rest(), b"", shown)
        self.assertEqual(self.origin.received, [], shown)

    def assertForwarded(self, expected: str, request: bytes) -> None:
        """The request reaches the origin with ``expected`` as its target."""
        self.origin.received.clear()
        answer = self.ask(request)
        self.assertEqual(answer.status, 200, request[:120])
        self.assertEqual(self.origin.received[0].split(b" ")[1].decode(), expected)

    def forwarded(self, name: str, index: int = 0) -> list[str]:
        """The values of a header field in a request that the origin received."""
        return Answer(0, self.origin.received[index].partition(b"\r\n\r\n")[0], b"", b"").values(name)

    def until_received(self, count: int = 1) -> None:
        """Wait until the origin has so many requests."""
        wait_for(lambda: len(self.origin.received) >= count, f"{count} requests at the origin", 5)

    def logged(self, path: str) -> dict[str, Any]:
        """The access-log line of the one request for ``path``, as soon as it is written."""

        def lines() -> list[str]:
            return [line for line in self.gateway.said().splitlines() if f'"path":"{path}"' in line]

        wait_for(lambda: bool(lines()), f"the line of {path}", 5)
        entry: dict[str, Any] = json.loads(lines()[0])
        return entry
