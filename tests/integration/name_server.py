"""A real DNS server as a process of its own, whose answers a test changes: ``python -m tests.integration.name_server``.

It reads its zone from standard input, a JSON object a line: for each name a list of ``[kind, ttl, data ...]``. Each
line stands in for the one before it, and is answered with an empty one once it holds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.integration.processes import ROOT

Zone = dict[str, list[list[Any]]]


class NameServer:
    """Answers over UDP and TCP on a port of the loopback."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.zone: Zone = {}
        self.start()

    def start(self) -> None:
        """Answer; returns when it does."""
        command = [sys.executable, "-m", "tests.integration.name_server", str(self.port)]
        self._child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.has()

    def has(self, **names: list[list[Any]]) -> None:
        """From now on ``names``, with ``_`` for dots, have these records; those of other names stay."""
        self.zone |= {name.replace("_", "."): records for name, records in names.items()}
        self.tell()

    def tell(self) -> None:
        """Answer from the zone as it is now."""
        child = self._child
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(json.dumps(self.zone) + "\n")
        child.stdin.flush()
        if not child.stdout.readline():
            raise RuntimeError(f"the name server on port {self.port} ended: {child.wait()}")

    def stop(self) -> None:
        """Answer no more."""
        child = self._child
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()


def main(port: int) -> None:
    """Serve until standard input ends."""
    from twisted.internet import reactor as installed
    from twisted.internet.defer import Deferred, fail, succeed
    from twisted.internet.stdio import StandardIO
    from twisted.names import dns
    from twisted.names.error import DNSNameError
    from twisted.names.server import DNSServerFactory
    from twisted.protocols.basic import LineOnlyReceiver

    reactor: Any = installed
    kinds: dict[str, Any] = {"A": dns.Record_A, "AAAA": dns.Record_AAAA, "SRV": dns.Record_SRV}
    zone: Zone = {}

    class Records:
        """What DNSServerFactory asks."""

        def query(self, query: dns.Query, timeout: object = None) -> Deferred[Any]:
            name = query.name.name.decode()
            if name not in zone:
                return fail(DNSNameError(name))
            made = [(ttl, kinds[kind](*data)) for kind, ttl, *data in zone[name]]
            answers = [
                dns.RRHeader(name, record.TYPE, ttl=ttl, payload=record)
                for ttl, record in made
                if query.type == record.TYPE
            ]
            return succeed((answers, [], []))

    class Lines(LineOnlyReceiver):
        """The test's orders."""

        delimiter = b"\n"
        MAX_LENGTH = 2**20

        def lineReceived(self, line: bytes) -> None:
            zone.clear()
            zone.update(json.loads(line))
            self.sendLine(b"")

        def connectionLost(self, reason: object = None) -> None:
            if reactor.running:
                reactor.stop()

    factory = DNSServerFactory(clients=[Records()])
    reactor.listenUDP(port, dns.DNSDatagramProtocol(factory), interface="127.0.0.1")
    reactor.listenTCP(port, factory, interface="127.0.0.1")
    StandardIO(Lines())
    reactor.run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
