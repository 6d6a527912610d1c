"""The gateway, installed in a machine as docs/install.md says, under a steady load from inside."""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from tests.certificates import Authority
from tests.faults.instance import Instance
from tests.faults.load import NO_ANSWER, Load
from tests.faults.platform import bearer
from tests.integration.client import Client
from tests.integration.processes import SECRET, wait_for
from tests.integration.workers import OperatorCase
from tests.packages.case import fresh
from tests.packages.debian import run
from tests.packages.test_deb import package
from tests.systemd.machine import Machine

PORT, ADMIN, CORE = 3000, 9901, 3002
UNIT = "smartgate.service"
SOON = 90.0
"""Seconds in which everything has to happen, on a machine that does much else, too."""
LOG = "var/log/smartgate/access.log"
CONFIG = """
[server]
listen = [{listen}, "tls:/etc/smartgate/certificates:443"]
admin = "tcp:{admin}:interface=127.0.0.1"
workers = {workers}
drain = "{drain}"
max_lag = "60s"
[jwt]
secret_file = "${{CREDENTIALS_DIRECTORY}}/jwt-secret"
[rate_limit]
roles = {{ admin = "unlimited", user = 5 }}
[access_log]
path = "{log}"
[[upstreams]]
name = "core"
instances = ["http://127.0.0.1:3002"]
[[upstreams]]
name = "events"
instances = ["http://127.0.0.1:{ws}"]
[[routes]]
prefix = "/api"
upstream = "core"
[[routes]]
prefix = "/raw"
upstream = "events"
websocket = true
"""
AUTHORITY = Authority("authority")


@cache
def machine() -> Machine:
    """A booted machine that has the package; one for all tests."""
    booted = Machine(fresh().place)
    atexit.register(booted.stop)
    give(booted, package())
    etc = booted.place / "etc/smartgate"
    (etc / "jwt-secret").write_text(SECRET)
    (etc / "jwt-secret").chmod(0o600)
    (etc / "certificates").mkdir()
    (etc / "certificates/gateway.pem").write_bytes(AUTHORITY.certificate("gateway.example"))
    booted.run("chgrp", "-R", "smartgate", "/etc/smartgate/certificates")
    return booted


def give(to: Machine, package: Path) -> str:
    """Install a package's file, as an upgrade where there is one; what dpkg says."""
    run("cp", package, to.place / "root/smartgate.deb")
    return to.run("dpkg", "--force-confold", "--install", "/root/smartgate.deb")


class ServiceCase(OperatorCase):
    """The service runs anew when a test begins, with :data:`CONFIG` and an instance behind it."""

    admin = ADMIN

    def setUp(self) -> None:
        """Start all of it."""
        self.machine = machine()
        self.values: dict[str, Any] = {"listen": f'"tcp:{PORT}"', "workers": 2, "drain": "10s", "log": f"/{LOG}"}
        self.enterContext(self.machine.network())
        core = Instance("core", CORE)
        self.addCleanup(core.stop)
        self.user = bearer("ann")
        self.log = self.machine.place / LOG
        for path in self.log.parent.glob("access.log*"):
            path.unlink()
        self.write()
        self.begin()

    def begin(self) -> None:
        """Start the service, which other tests may have left running."""
        began = time.time()
        try:
            self.machine.run("systemctl", "restart", UNIT)
        except RuntimeError as error:
            raise RuntimeError(self.machine.journal(UNIT, began)) from error
        self.main = int(self.machine.show(UNIT, "MainPID"))

    def text(self, **values: Any) -> str:
        """A configuration of these values, and of those of the test."""
        return CONFIG.format(**{"admin": ADMIN, "ws": 3003, **self.values, **values})

    def write(self, text: str = "", name: str = "smartgate") -> None:
        """Write a configuration: the test's own where none is given."""
        (self.machine.place / f"etc/smartgate/{name}.toml").write_text(text or self.text())

    def request(self, path: str = "/api/x", *lines: str, port: int = PORT) -> int:
        """The status that a request gets."""
        with Client(port, seconds=SOON) as client:
            head = (f"GET {path} HTTP/1.1", "Host: gateway.example", "Connection: close", *(lines or (self.user,)))
            client.send("\r\n".join((*head, "", "")).encode())
            return client.answer().status

    def status(self) -> str:
        """What ``systemctl status`` says, of a service that does not run, too."""
        return self.machine.run("sh", "-c", f"systemctl status --no-pager --full {UNIT} || true")

    def soon(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something."""
        wait_for(condition, what, SOON)

    def serves(self, number: int) -> None:
        """Wait until this generation serves alone."""
        self.soon(lambda: self.generation(number), f"generation {number} serves alone")

    @contextmanager
    def load(self, lost: Callable[[], float] = lambda: 0, patience: float = 30.0) -> Iterator[None]:
        """A load on kept connections and one on new ones: every request gets its answer, and a line in the access log.

        :param lost: how many lines there need not be.
        :param patience: seconds in which answers have to come.
        """
        with (
            Load(PORT, "/api/x", self.user, patience=patience) as kept,
            Load(PORT, "/api/x", self.user, "Connection: close", clients=2, patience=patience) as new,
        ):
            time.sleep(0.3)
            yield
            time.sleep(0.3)
        outcomes = [*kept.outcomes(), *new.outcomes()]
        wrong = [each for each in outcomes if (each.status, each.body) != (200, b"core")]
        self.assertEqual(wrong, [])
        self.assertGreater(len(outcomes), 30)
        self.soon(lambda: self.logged() + lost() == len(outcomes), f"{len(outcomes)} lines in the access log")

    def logged(self) -> int:
        """How many whole lines the access logs have."""
        lines = self.machine.run("sh", "-c", f"cat /{LOG}*").splitlines()
        return sum(line.startswith('{"time":') and line.endswith("}") for line in lines)


def unanswered(*loads: Load) -> int:
    """How many requests got no answer."""
    return sum(load.statuses()[NO_ANSWER] for load in loads)
