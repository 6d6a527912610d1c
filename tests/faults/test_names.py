"""Names whose addresses change, and a name server that goes, while clients go on asking."""

from __future__ import annotations

import time

from tests.faults.instance import Instance
from tests.faults.load import Load
from tests.faults.platform import FaultCase
from tests.integration.name_server import NameServer
from tests.integration.processes import free_port, wait_for

HOSTS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")


class NamesTests(FaultCase):
    """A service that is found by DNS, at addresses that live for a second."""

    def setUp(self) -> None:
        self.names = NameServer(free_port())
        self.addCleanup(self.names.stop)
        port = free_port()
        self.instances = {host: Instance(host, port, host) for host in HOSTS}
        for instance in self.instances.values():
            self.addCleanup(instance.stop)
        self.at(*HOSTS[:2])
        discover = f'discover = "dns://service.test:{port}"\nconnect_timeout = "500ms"'
        self.gateway(upstream=discover, servers=(f"127.0.0.1:{self.names.port}",))
        wait_for(lambda: self.ready()[0] == 200, "addresses")

    def at(self, *hosts: str) -> None:
        """From now on the service has these addresses."""
        self.names.has(service_test=[["A", 1, host] for host in hosts])

    def settles(self, load: Load, *hosts: str) -> None:
        """Wait until these answer, and nobody else."""
        expected = {host.encode() for host in hosts}

        def settled() -> bool:
            return {outcome.body for outcome in load.outcomes(time.monotonic() - 0.3)} == expected

        wait_for(settled, f"answers of {hosts}")

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
