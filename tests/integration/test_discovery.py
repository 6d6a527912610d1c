"""The gateway as a real process whose upstreams are found by a real DNS server, while its answers change."""

from __future__ import annotations

import atexit
import json
import ssl
import threading
from collections import Counter
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority
from tests.integration.client import Answer, Client
from tests.integration.name_server import NameServer
from tests.integration.origin import Origin
from tests.integration.processes import Process, free_port, start_gateway, wait_for

HEAD = """
access_log = {{ path = "" }}
redis = {{ url = "memory:" }}
dns = {{ servers = ["127.0.0.1:{dns}"] }}
[server]
listen = ["tcp:{port}:interface=127.0.0.1"]
admin = ""
workers = 0
"""

UPSTREAM = """
[[upstreams]]
name = "{name}"
discover = "{discover}"
{options}
[[routes]]
prefix = "/{name}"
upstream = "{name}"
auth = "none"
rate_limit = false
"""

HOSTS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")


class Platform(NamedTuple):
    """A gateway, who it asks, and what is behind it: an origin on each of HOSTS, all on one port."""

    gateway: Process
    names: NameServer
    origins: dict[str, Origin]
    secure: Origin


def records(*addresses: str) -> list[list[Any]]:
    """What a name has for a second."""
    return [["A", 1, address] for address in addresses]


def several() -> dict[str, Origin]:
    """An origin on each of HOSTS, that says which one it is."""
    port = free_port()
    origins = {host: Origin(address=(host, port)) for host in HOSTS}
    for host, origin in origins.items():
        origin.answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(host), host.encode())
    return origins


def encrypted(directory: Path) -> Origin:
    """An origin with a certificate for secure.test of the authority in ``authority.pem``."""
    authority = Authority("ours")
    (directory / "authority.pem").write_bytes(authority.pem)
    (directory / "certificate.pem").write_bytes(authority.certificate("secure.test"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "certificate.pem")
    return Origin(context)


@cache
def platform() -> Platform:
    """Started once for all tests, and ended with them."""
    place = TemporaryDirectory()
    atexit.register(place.cleanup)
    origins, secure = several(), encrypted(Path(place.name))
    port, to = free_port(), origins[HOSTS[0]].port
    names = NameServer(free_port())
    atexit.register(names.stop)
    trust = f'ca_file = "{place.name}/authority.pem"'
    config = HEAD.format(port=port, dns=names.port)
    for name, discover, options in (
        ("host", f"dns://host.test:{to}", ""),
        ("away", f"dns://away.test:{to}", ""),
        ("many", f"dns://many.test:{to}", ""),
        ("sticky", f"dns://sticky.test:{to}", 'balance = "hash"\nhash_on = "cookie:sid"'),
        ("secure", f"dns+https://secure.test:{secure.port}", trust),
        ("misnamed", f"dns+https://misnamed.test:{secure.port}", trust),
        ("service", "srv://_http._tcp.service.test", ""),
        ("later", f"dns://later.test:{to}", ""),
    ):
        config += UPSTREAM.format(name=name, discover=discover, options=options)
    gateway = start_gateway(config, port)
    atexit.register(gateway.stop)
    return Platform(gateway, names, origins, secure)


class DiscoveryCase(SynchronousTestCase):
    """Requests to a gateway, and who answers."""

    def setUp(self) -> None:
        self.platform = platform()
        self.names = self.platform.names

    def ask(self, path: str, *lines: str) -> Answer:
        """The answer to a request."""
        with Client(self.platform.gateway.port) as client:
            client.send("\r\n".join((f"GET {path} HTTP/1.1", "Host: a", *lines, "", "")).encode())
            return client.answer()

    def who(self, path: str, times: int = 1, *lines: str) -> Counter[str]:
        """How many of some requests each instance answered."""
        return Counter(self.ask(path, *lines).body.decode() for _ in range(times))

    def settles(self, path: str, *hosts: str) -> None:
        """Soon these hosts answer, each as often as the others, and nobody else."""
        expected = Counter({host: 2 for host in hosts})
        wait_for(lambda: self.who(path, 2 * len(hosts)) == expected, f"{path} is at {hosts}")


class HostTests(DiscoveryCase):
    """The addresses of a name."""

    def test_instances_come_and_go(self) -> None:
        """Requests follow the name, and one under way is not cut when its instance leaves."""
        first, second, third = HOSTS
        self.names.has(host_test=records(first))
        self.settles("/host", first)
        self.names.has(host_test=records(first, second))
        self.settles("/host", first, second)
        leaving, go_on = self.platform.origins[second], threading.Event()
        leaving.plan((b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n12", go_on, b"34"))
        with Client(self.platform.gateway.port) as client:
            head = b""
            while b"Content-Length: 4" not in head:  # the other one answers in its turn
                client.send(b"GET /host/slow HTTP/1.1\r\nHost: a\r\n\r\n")
                head = client.until(b"\r\n\r\n")
                client.exactly(2 if b"Content-Length: 4" in head else len(first))
            self.names.has(host_test=records(first, third))
            self.settles("/host", first, third)
            go_on.set()
            self.assertEqual(client.exactly(2), b"34")
        asked = len(leaving.received)
        self.settles("/host", first, third)
        self.assertEqual(len(leaving.received), asked)

    def test_host_is_the_name(self) -> None:
        """An instance finds in Host what it was found by."""
        first = HOSTS[0]
        self.names.has(host_test=records(first))
        self.settles("/host", first)
        origin = self.platform.origins[first]
        self.assertIn(f"\r\nHost: host.test:{origin.port}\r\n".encode(), origin.received[-1])

    def test_more_than_a_datagram_holds(self) -> None:
        """They are asked for over TCP."""
        self.names.has(many_test=records(*(f"127.0.1.{number}" for number in range(1, 100))))
        wait_for(lambda: "many: 99 of 99 instances" in self.platform.gateway.said(), "they are found")

    def test_sticky(self) -> None:
        """Who has the cookie comes to the same instance again, and others to all of them."""
        self.names.has(sticky_test=records(*HOSTS))
        cookies = [f"Cookie: sid=s{number}" for number in range(20)]

        def homes(times: int) -> list[Counter[str]]:
            """Who answers each of them."""
            return [self.who("/sticky", times, cookie) for cookie in cookies]

        wait_for(lambda: set().union(*homes(1)) == set(HOSTS), "all have some")
        self.assertTrue(all(len(home) == 1 for home in homes(3)))

    def test_tls(self) -> None:
        """A certificate is held against the name that was looked up."""
        self.names.has(secure_test=records("127.0.0.1"), misnamed_test=records("127.0.0.1"))
        wait_for(lambda: self.ask("/secure").body == b"ok", "it is resolved")
        wait_for(lambda: self.ask("/misnamed").status == 502, "it is resolved, and refused")


class ServiceTests(DiscoveryCase):
    """The targets of a service."""

    def test_weights_and_priorities(self) -> None:
        """Targets of the best priority get what their weights say; when they are gone, the next ones do."""
        first, second, third = HOSTS
        port = self.platform.origins[first].port
        self.names.has(a_test=records(first), b_test=records(second), c_test=records(third))
        targets = [["SRV", 1, 1, 3, port, "a.test"], ["SRV", 1, 1, 1, port, "b.test"], ["SRV", 1, 2, 1, port, "c.test"]]
        self.names.zone["_http._tcp.service.test"] = targets
        self.names.tell()
        wait_for(lambda: self.who("/service", 8) == {first: 6, second: 2}, "the best ones answer")
        self.names.has(a_test=[], b_test=[])
        self.settles("/service", third)


class FailureTests(DiscoveryCase):
    """Answers that cannot be had."""

    def test_name_server_away(self) -> None:
        """What is known is used, and what has changed is found when it is back."""
        first, second, _ = HOSTS
        self.names.has(away_test=records(first))
        self.settles("/away", first)
        self.names.stop()
        try:
            wait_for(lambda: "away.test could not be resolved" in self.platform.gateway.said(), "it is missed")
            self.assertEqual(self.who("/away", 5), {first: 5})
        finally:
            self.names.zone["away.test"] = records(second)
            self.names.start()
        self.settles("/away", second)
        self.assertEqual(self.platform.gateway.said().count("away.test could not be resolved"), 1)

    def test_never_resolved(self) -> None:
        """Requests are to come again, and the gateway is not ready, until there is an answer."""
        refused = self.ask("/later")
        self.assertEqual((refused.status, refused.values("Retry-After")), (503, ["1"]))
        self.assertEqual(json.loads(refused.body)["code"], "SERVICE_UNAVAILABLE")
        ready = self.ask("/ready")
        self.assertEqual((ready.status, json.loads(ready.body)["checks"]["dns"]), (503, "failing"))
        self.names.zone["_http._tcp.service.test"] = [["SRV", 1, 1, 3, self.platform.secure.port, "host.test"]]
        for name in ("host", "away", "many", "sticky", "secure", "misnamed", "later"):
            self.names.zone[f"{name}.test"] = records(HOSTS[0])
        self.names.tell()
        wait_for(lambda: self.ask("/ready").status == 200, "all are resolved", 40)
        self.settles("/later", HOSTS[0])
