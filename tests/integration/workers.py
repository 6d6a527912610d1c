"""A gateway of several workers as real processes, its configuration to be changed, and what it says of itself."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.origin import Origin
from tests.integration.processes import SECRET, Process, free_port, start_gateway, wait_for
from tests.integration.valkey import Valkey

CONFIG = """
[server]
listen = ["tcp:{port}:interface=127.0.0.1"{listen}]
admin = "tcp:{admin}:interface=127.0.0.1"
workers = {workers}
drain = "{drain}"
[redis]
url = "redis://127.0.0.1:{redis}/0"
timeout = "500ms"
[jwt]
secret = "{secret}"
[rate_limit]
default = 1000000
[access_log]
path = "{log}"
[[upstreams]]
name = "core"
instances = ["http://127.0.0.1:{origin}"]
[[routes]]
prefix = "/api"
upstream = "core"
auth = "none"
rate_limit = false
[[routes]]
prefix = "/raw"
upstream = "core"
auth = "none"
rate_limit = false
websocket = true
[[routes]]
prefix = "/counted"
upstream = "core"
auth = "none"
{more}
"""


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class OperatorCase(SynchronousTestCase):
    """Asks a gateway how it is.

    :ivar admin: the port on which it listens to operators.
    """

    admin: int

    def ask(self, path: str) -> tuple[int, str]:
        """What operators get; status 0 when nothing."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except (urllib.error.URLError, OSError):
            return 0, ""

    def workers(self) -> list[dict[str, Any]]:
        """The workers as the supervisor tells them."""
        status, text = self.ask("/workers")
        return list(json.loads(text)) if status == 200 else []

    def metric(self, line: str) -> float:
        """The value of a metric that is written like this."""
        values = [each.rpartition(" ")[2] for each in self.ask("/metrics")[1].splitlines() if each.startswith(line)]
        return sum(map(float, values))

    def generation(self, number: int) -> bool:
        """Whether this generation serves, and no other is left."""
        found = [(worker["generation"], worker["state"]) for worker in self.workers()]
        return bool(found) and set(found) == {(number, "serving")}


class WorkersCase(OperatorCase):
    """A gateway in several processes, with a Valkey and an origin."""

    def setUp(self) -> None:
        self.origin = Origin()
        self.valkey = Valkey()
        self.addCleanup(self.valkey.stop)
        self.port, self.admin = free_port(), free_port()
        self.values: dict[str, Any] = {"workers": 2, "drain": "5s", "listen": "", "log": "", "more": ""}

    def text(self) -> str:
        """The configuration of :attr:`values`."""
        ports = {"port": self.port, "admin": self.admin, "redis": self.valkey.port, "origin": self.origin.port}
        return CONFIG.format(**(ports | {"secret": SECRET} | self.values))

    def start(self, environ: dict[str, str] | None = None, **values: Any) -> Process:
        """A gateway that serves."""
        self.values |= values
        self.gateway = start_gateway(self.text(), self.port, environ)
        self.config = Path(str(self.gateway.child.args[-1]))  # type: ignore[index]
        self.addCleanup(self.config.unlink)
        self.addCleanup(self.end)
        self.wait_ready()
        return self.gateway

    def end(self) -> None:
        """End it whatever it does, and see that it leaves no process behind."""
        left = self.pids()
        self.gateway.stop()
        try:
            wait_for(lambda: not any(map(alive, left)), "workers are gone")
        except TimeoutError:
            for pid in filter(alive, left):
                os.kill(pid, signal.SIGKILL)
            raise

    def pids(self) -> list[int]:
        """The children of the supervisor."""
        pid = self.gateway.child.pid
        try:
            return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except OSError:
            return []

    def wait_ready(self) -> None:
        """Wait until all workers serve."""

        def ready() -> bool:
            if self.gateway.child.poll() is not None:
                raise RuntimeError(f"it has ended:\n{self.gateway.said()}")
            return self.ask("/ready")[0] == 200

        wait_for(ready, "it is ready", 30)

    def reload(self) -> None:
        """Ask for a reload."""
        os.kill(self.gateway.child.pid, signal.SIGHUP)

    def said(self, text: str) -> bool:
        """Whether the log has this."""
        return text in self.gateway.said()
