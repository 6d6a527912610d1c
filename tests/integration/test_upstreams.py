"""The gateway as a real process in front of upstreams with TLS, of several instances, and that are slow."""

from __future__ import annotations

import atexit
import json
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import jwt
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority
from tests.integration.client import Client
from tests.integration.origin import Origin, close, talk
from tests.integration.processes import SECRET, free_port, start_gateway, wait_for

HEAD = """
access_log = {{ path = "" }}
redis = {{ url = "memory:" }}
jwt = {{ secret = "{secret}" }}
[server]
listen = ["tcp:{port}:interface=127.0.0.1"]
admin = ""
workers = 0
trusted_proxies = ["127.0.0.1/32"]
"""

UPSTREAM = """
[[upstreams]]
name = "{name}"
instances = [{instances}]
{options}
[[routes]]
prefix = "/{name}"
upstream = "{name}"
auth = "optional"
rate_limit = false
"""


class Platform(NamedTuple):
    """A gateway, and what is behind it."""

    port: int
    first: Origin
    second: Origin
    silent: Origin
    verified: Origin
    streams: Origin
    probed: Origin


def listed(instances: Sequence[Any]) -> str:
    """Instances as a configuration has them."""
    return ", ".join(
        json.dumps(each)
        if isinstance(each, str)
        else "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in each.items()) + " }"
        for each in instances
    )


def answer(body: bytes) -> bytes:
    """A whole answer."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def deaf_port() -> int:
    """A port whose listener has no room for another connection: who connects gets no answer at all."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    port = int(listener.getsockname()[1])
    waiting = [listener]
    try:
        while True:
            waiting.append(socket.create_connection(("127.0.0.1", port), 0.3))
    except TimeoutError:
        for each in waiting:
            atexit.register(each.close)
    return port


@cache
def platform() -> Platform:
    """Started once for all tests, and ended with them."""
    place = TemporaryDirectory()
    atexit.register(place.cleanup)
    directory = Path(place.name)
    ours, theirs = Authority("ours"), Authority("theirs")
    (directory / "ours.pem").write_bytes(ours.pem)

    def secure(pem: bytes) -> Origin:
        """An origin with this certificate."""
        file = directory / "certificate.pem"
        file.write_bytes(pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return Origin(context)

    first, second, silent, verified = Origin(), Origin(), Origin(), secure(ours.certificate("localhost"))
    probed = secure(ours.certificate("localhost"))
    first.answer, second.answer, silent.answer = answer(b"first"), answer(b"second"), b""
    both = [f"http://127.0.0.1:{origin.port}" for origin in (first, second)]
    trust = f'ca_file = "{directory / "ours.pem"}"'
    port = free_port()
    config = HEAD.format(port=port, secret=SECRET)
    for name, instances, options in (
        ("verified", [f"https://localhost:{verified.port}"], trust),
        ("misnamed", [f"https://127.0.0.1:{verified.port}"], trust),
        ("unknown", [f"https://localhost:{secure(theirs.certificate('localhost')).port}"], trust),
        ("probed", [f"https://localhost:{probed.port}"], f'{trust}\nhealth = {{ path = "/well", interval = "200ms" }}'),
        ("platform", [f"https://localhost:{verified.port}"], ""),
        ("mute", [f"https://127.0.0.1:{silent.port}"], 'connect_timeout = "300ms"'),
        ("turns", both, 'balance = "round-robin"'),
        ("least", both, 'balance = "least-requests"'),
        ("two", both, 'balance = "power-of-two"'),
        ("by-header", both, 'balance = "hash"\nhash_on = "header:X-Session"'),
        ("by-cookie", both, 'balance = "hash"\nhash_on = "cookie:sid"'),
        ("by-client", both, 'balance = "hash"\nhash_on = "client"'),
        ("by-user", both, 'balance = "hash"\nhash_on = "user"'),
        ("weighted", [{"url": both[0], "weight": 3}, both[1]], 'balance = "round-robin"'),
        ("half", [both[0], f"http://127.0.0.1:{free_port()}"], 'balance = "round-robin"'),
        ("silent", [f"http://127.0.0.1:{silent.port}"], 'first_byte_timeout = "300ms"'),
        ("deaf", [f"http://127.0.0.1:{deaf_port()}"], 'connect_timeout = "300ms"'),
    ):
        config += UPSTREAM.format(name=name, instances=listed(instances), options=options)
    streams = Origin()
    patient = 'first_byte_timeout = "1h"\nidle_timeout = "1h"'
    config += UPSTREAM.format(name="streams", instances=f'"http://127.0.0.1:{streams.port}"', options=patient)
    config += 'first_byte_timeout = "300ms"\nidle_timeout = "500ms"\n'  # of the route
    atexit.register(start_gateway(config, port).stop)
    return Platform(port, first, second, silent, verified, streams, probed)


class UpstreamCase(SynchronousTestCase):
    """Requests to a gateway, and what comes back."""

    def setUp(self) -> None:
        self.platform = platform()

    def ask(self, path: str, method: str = "GET", *lines: str) -> bytes:
        """The answer to a request."""
        return talk(self.platform.port, "\r\n".join((f"{method} {path} HTTP/1.1", "Host: a", *lines, "", "")).encode())

    def body(self, path: str, *lines: str) -> bytes:
        """The body of a good answer."""
        head, _, body = self.ask(path, "GET", *lines).partition(b"\r\n\r\n")
        self.assertIn(b" 200 ", head[:20])
        return body

    def refused(self, path: str) -> tuple[int, str]:
        """Status and code of an answer of the gateway's own, in the standard format."""
        head, _, body = self.ask(path).partition(b"\r\n\r\n")
        error = json.loads(body)
        self.assertEqual(set(error), {"code", "message", "requestId"})
        self.assertIn(f"\r\nX-Request-ID: {error['requestId']}\r\n".encode(), head + b"\r\n")
        return int(head.split(b" ", 2)[1]), error["code"]


class TLSTests(UpstreamCase):
    """https upstreams."""

    def test_verified(self) -> None:
        """A certificate of an authority that is trusted, for the name of the instance."""
        self.assertEqual(self.body("/verified/x"), b"ok")
        request = self.platform.verified.received[-1]
        self.assertTrue(request.startswith(b"GET /verified/x HTTP/1.1\r\n"))

    def test_not_verified(self) -> None:
        """Another name, another authority, and the platform's authorities alone: nothing is sent."""
        before = len(self.platform.verified.received)
        for path in ("/misnamed", "/unknown", "/platform"):
            self.assertEqual(self.refused(path), (502, "UPSTREAM_UNAVAILABLE"), path)
        self.assertEqual(len(self.platform.verified.received), before)

    def test_probed(self) -> None:
        """Probes come by TLS, as requests do, each on a connection of its own."""
        probed = self.platform.probed
        wait_for(lambda: len(probed.received) >= 3, "probes")
        received = probed.received[:3]
        expected = b"GET /well HTTP/1.1\r\nHost: localhost:%d\r\n" % probed.port
        self.assertTrue(all(request.startswith(expected) for request in received), received)
        self.assertGreaterEqual(probed.connections, 3)

    def test_cut(self) -> None:
        """An answer that a connection ends without ending TLS may have been cut by anybody: so is the client's."""
        self.platform.verified.plan((b"HTTP/1.1 200 OK\r\n\r\nhalf", close))
        with Client(self.platform.port) as client:
            client.send(b"GET /verified HTTP/1.1\r\nHost: a\r\n\r\n")
            with self.assertRaises(ConnectionResetError):
                client.until(b"\r\n0\r\n\r\n")


class BalanceTests(UpstreamCase):
    """Upstreams of several instances."""

    def test_round_robin(self) -> None:
        """Each in its turn."""
        got = [self.body("/turns") for _ in range(4)]
        self.assertIn(got, ([b"first", b"second"] * 2, [b"second", b"first"] * 2))

    def test_weights(self) -> None:
        """Three times as many, and mixed."""
        got = b"".join(self.body("/weighted") for _ in range(8)).replace(b"first", b"a").replace(b"second", b"b")
        self.assertIn(got, b"aabaaabaaabaaabaaa")

    def test_hash(self) -> None:
        """Requests with the same header, cookie, client or user have one home; others have theirs."""
        for path, line in (
            ("/by-header", "X-Session: {}"),
            ("/by-cookie", "Cookie: a=b; sid={}"),
            ("/by-client", "X-Forwarded-For: 192.0.2.{}"),
            ("/by-user", "Authorization: Bearer {}"),
        ):
            keys = [str(number) for number in range(20)]
            if "Bearer" in line:
                keys = [jwt.encode({"sub": key, "exp": int(time.time()) + 600}, SECRET) for key in keys]
            homes = [self.body(path, line.format(key)) for key in keys]
            self.assertEqual(set(homes), {b"first", b"second"}, path)
            for _ in range(2):
                self.assertEqual([self.body(path, line.format(key)) for key in keys], homes, path)

    def test_power_of_two(self) -> None:
        """Of two that are drawn from two, the one that is busy gets no more."""
        self.free_one_only("/two")

    def test_least_requests(self) -> None:
        """An instance that is busy gets no more while another one is free."""
        self.free_one_only("/least")

    def free_one_only(self, path: str) -> None:
        """While one instance has a request, the other one gets all there are."""
        first, second = self.platform.first, self.platform.second
        first.received.clear()
        second.received.clear()
        first.answer = second.answer = b""
        with socket.create_connection(("127.0.0.1", self.platform.port), 5) as client:
            try:
                client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                wait_for(lambda: bool(first.received or second.received), "one has the request")
            finally:
                first.answer, second.answer = answer(b"first"), answer(b"second")
            free = b"second" if first.received else b"first"
            self.assertEqual([self.body(path) for _ in range(4)], [free] * 4)

    def test_one_is_dead(self) -> None:
        """An instance that takes no connections costs nobody an answer, whatever the method."""
        self.assertEqual([self.body("/half") for _ in range(4)], [b"first"] * 4)
        for _ in range(2):
            self.assertIn(b" 200 ", self.ask("/half", "POST")[:20])


class SlowTests(UpstreamCase):
    """Upstreams that take too long."""

    def test_first_byte(self) -> None:
        """An instance that does not answer: 504, and it is told that nobody waits any longer."""
        self.platform.silent.closed.clear()
        self.assertEqual(self.refused("/silent"), (504, "UPSTREAM_TIMEOUT"))
        self.assertTrue(self.platform.silent.closed.wait(5))

    def test_of_a_route(self) -> None:
        """What a route says goes before what its upstream does."""
        self.platform.streams.plan((threading.Event(),))
        self.assertEqual(self.refused("/streams"), (504, "UPSTREAM_TIMEOUT"))

    def test_streams(self) -> None:
        """One that goes on has no end, one that falls silent is cut."""
        pause = lambda connection: time.sleep(0.1)  # noqa: E731
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.platform.streams.plan((head, *(b"1\r\n.\r\n", pause) * 15, threading.Event()))
        with Client(self.platform.port) as client:
            client.send(b"GET /streams HTTP/1.1\r\nHost: a\r\n\r\n")
            began = time.monotonic()
            client.until(b"\r\n\r\n" + b"1\r\n.\r\n" * 15)
            self.assertGreater(time.monotonic() - began, 1)
            ended = time.monotonic()
            self.assertRaises((EOFError, ConnectionError), client.exactly, 1)
            self.assertLess(0.3, time.monotonic() - ended)
            self.assertLess(time.monotonic() - ended, 3)

    def test_connect(self) -> None:
        """An instance that does not take the connection: 504."""
        self.assertEqual(self.refused("/deaf"), (504, "UPSTREAM_TIMEOUT"))

    def test_handshake(self) -> None:
        """An instance that takes it and does not speak TLS: 504."""
        self.assertEqual(self.refused("/mute"), (504, "UPSTREAM_TIMEOUT"))
