"""Names whose addresses change, and a name server that goes or lies, while clients go on asking."""

from __future__ import annotations

import socket
import struct
import threading
import time
from typing import Any

from tests.faults.instance import Instance
from tests.faults.load import Load
from tests.faults.platform import FaultCase
from tests.integration.name_server import NameServer
from tests.integration.processes import free_port, wait_for

HOSTS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")


class NamesCase(FaultCase):
    """An instance on each of HOSTS, all on one port, and a name server that says which of them are the service."""

    discover = "dns://service.test:{port}"

    def setUp(self) -> None:
        self.names = NameServer(free_port())
        self.addCleanup(self.names.stop)
        self.port_behind = free_port()
        self.instances = {host: Instance(host, self.port_behind, host) for host in HOSTS}
        for instance in self.instances.values():
            self.addCleanup(instance.stop)
        self.zone()
        discover = self.discover.format(port=self.port_behind)
        upstream = f'discover = "{discover}"\nconnect_timeout = "500ms"\nslow_start = "100ms"\n'
        self.gateway(
            upstream=upstream + 'ejection = { time = "500ms", max_time = "1s" }',
            servers=(f"127.0.0.1:{self.names.port}",),
        )
        wait_for(lambda: self.ready()[0] == 200, "addresses")

    def zone(self) -> None:
        """What the name server says at first."""
        self.at(*HOSTS[:2])

    def at(self, *hosts: str) -> None:
        """From now on the service has these addresses, for a second."""
        self.names.has(service_test=[["A", 1, host] for host in hosts])

    def settles(self, load: Load, *hosts: str) -> None:
        """Wait until these answer, and nobody else."""
        expected = {host.encode() for host in hosts}

        def settled() -> bool:
            return {outcome.body for outcome in load.outcomes(time.monotonic() - 0.3)} == expected

        wait_for(settled, f"answers of {hosts}")


class NamesTests(NamesCase):
    """The addresses of a host."""

    def test_addresses_change(self) -> None:
        """Requests follow the name: whoever leaves it may end at once, and no request has failed."""
        with Load(self.port, "/public/x") as load:
            self.settles(load, *HOSTS[:2])
            self.at(*HOSTS[1:])
            self.settles(load, *HOSTS[1:])
            self.instances[HOSTS[0]].kill()
            self.at(HOSTS[2])
            self.settles(load, HOSTS[2])
        self.assertEqual(set(load.statuses()), {200})

    def test_no_name_server(self) -> None:
        """What is known stays."""
        with Load(self.port, "/public/x") as load:
            self.settles(load, *HOSTS[:2])
            self.names.stop()
            gone = time.monotonic()
            wait_for(lambda: len(load.outcomes(gone + 2)) > 100, "requests without it")
            self.names.start()
            self.at(HOSTS[2])
            self.settles(load, HOSTS[2])
        self.assertEqual(set(load.statuses()), {200})

    def test_lies(self) -> None:
        """Whatever a name server sends instead of an answer, what is known stays, until it is right again."""
        with Load(self.port, "/public/x") as load:
            self.settles(load, *HOSTS[:2])
            self.names.stop()
            liar = Liar(self.names.port)
            self.addCleanup(liar.stop)
            wait_for(lambda: liar.told >= len(LIES), "all lies are told", 60)
            self.settles(load, *HOSTS[:2])
            liar.stop()
            self.names.start()
            self.at(HOSTS[2])
            wait_for(lambda: "joined: 127.0.0.4" in self.process.said(), "it is right again", 45)
            self.settles(load, HOSTS[2])
        self.assertEqual(set(load.statuses()), {200})
        self.assertEqual(self.process.said().count("could not be resolved"), 1)
        self.assertNotIn("127.0.0.9", self.process.said())
        self.assertNotIn("Traceback", self.process.said())


class PrioritiesTests(NamesCase):
    """A service (SRV) whose best target has one that stands in for it."""

    discover = "srv://_http._tcp.service.test"

    def zone(self) -> None:
        """The first is the best, the second stands in."""
        self.names.has(a_test=[["A", 1, HOSTS[0]]], b_test=[["A", 1, HOSTS[1]]])
        service: list[list[Any]] = [
            ["SRV", 1, priority, 1, self.port_behind, name] for priority, name in ((1, "a.test"), (2, "b.test"))
        ]
        self.names.zone["_http._tcp.service.test"] = service
        self.names.tell()

    def test_the_best_is_killed(self) -> None:
        """The other one serves, as long as it is away and no longer; nobody notices."""
        best, other = HOSTS[:2]
        with Load(self.port, "/public/x") as load:
            self.settles(load, best)
            self.instances[best].kill()
            self.settles(load, other)
            self.instances[best].start()
            self.settles(load, best)
        self.assertEqual(set(load.statuses()), {200})


def _header(query: bytes, flags: int = 0x8180, answers: int = 0) -> bytes:
    """The beginning of an answer to a query, whose question it has."""
    return query[:2] + struct.pack("!5H", flags, 1, answers, 0, 0) + query[12:]


LIES = (
    _header,  # no answer
    lambda query: _header(query, 0x8182),  # SERVFAIL
    lambda query: _header(query, 0x8185),  # REFUSED
    lambda query: _header(query, 0x8183),  # NXDOMAIN
    lambda query: _header(query, 0x8380),  # truncated, and nobody is there over TCP
    lambda query: _header(query, answers=65535),  # answers that do not come
    lambda query: query,  # the question
)
"""What ends a question without an answer."""

NOISE = (
    lambda query: b"",
    lambda query: b"\x00",
    lambda query: query[:2] + b"\xff" * 700,
    lambda query: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    # A name that points to itself, and one that points beyond the end.
    lambda query: _header(query, answers=1)[:12] + b"\xc0\x0c" + b"\x00\x01\x00\x01",
    lambda query: _header(query, answers=1)[:12] + b"\xff\xff" + b"\x00\x01\x00\x01",
    # The right question of another number: an address that somebody wants to slip in.
    lambda query: (
        bytes((query[0] ^ 1, query[1]))
        + _header(query, answers=1)[2:]
        + b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x09"
    ),
)
"""What comes before that: nothing of it is an answer."""


class Liar:
    """Answers each question with all NOISE, and then with the next of LIES."""

    def __init__(self, port: int) -> None:
        self.told = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", port))
        self._thread = threading.Thread(target=self._lie, daemon=True)
        self._thread.start()

    def _lie(self) -> None:
        while True:
            query, asker = self._socket.recvfrom(4096)
            if not query:
                return
            for make in (*NOISE, LIES[self.told % len(LIES)]):
                self._socket.sendto(make(query), asker)
            self.told += 1

    def stop(self) -> None:
        """Say no more; once more is harmless."""
        if self._thread.is_alive():
            self._socket.sendto(b"", self._socket.getsockname())
            self._thread.join()
            self._socket.close()
