"""A gateway with a Valkey and a service of its own, as operators see it: its files, commands, metrics and logs."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.client import Answer, Client
from tests.integration.origin import Origin
from tests.integration.processes import ROOT, SECRET, Process, free_port, wait_for
from tests.integration.valkey import Valkey

CLIENT = "127.0.0.2"
"""Where clients come from, unless a test says otherwise: this machine itself would never be banned."""
CONFIG = """
[server]
listen = {listen}
admin = "tcp:{admin}:interface=127.0.0.1"
workers = {workers}
{server}
[redis]
url = "redis://127.0.0.1:{valkey}/0"
[jwt]
secret = "${{JWT_SECRET}}"
leeway = "{leeway}"
[api_keys]
enabled = true
[rate_limit]
default = 10
roles = {{ user = 60, batch = "unlimited" }}
[bans]
allow = ["10.0.0.0/8"]
[access_log]
path = "{log}"
[[upstreams]]
name = "core"
instances = {instances}
{upstream}
[[routes]]
prefix = "/api"
upstream = "core"
[[routes]]
prefix = "/open"
upstream = "core"
auth = "none"
rate_limit = false
"""


class OperationsCase(SynchronousTestCase):
    """Each test has a Valkey, and gateways where it starts them.

    :cvar workers: how many; without one the gateway serves by itself, and cannot reload.
    :cvar server: more lines of the table ``[server]``.
    :cvar upstream: more lines of the upstream's table.
    :cvar leeway: of tokens.
    """

    workers = 0
    server = ""
    upstream = ""
    leeway = "60s"

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.file, self.log = self.directory / "smartgate.toml", self.directory / "access.log"
        self.valkey = Valkey()
        self.addCleanup(self.valkey.stop)
        self.origin = Origin()
        self.addCleanup(self.origin.close)
        self.port, self.admin = free_port(), free_port()
        self.listen = [f"tcp:{self.port}:interface=127.0.0.1"]
        self.secret = SECRET
        self.instances = [f"http://127.0.0.1:{self.origin.port}"]

    def configure(self) -> None:
        """Write the file that gateways and commands read."""
        self.file.write_text(
            CONFIG.format(
                listen=json.dumps(self.listen),
                admin=self.admin,
                workers=self.workers,
                server=self.server,
                valkey=self.valkey.port,
                log=self.log,
                leeway=self.leeway,
                instances=json.dumps(self.instances),
                upstream=self.upstream,
            )
        )

    def gateway(self) -> Process:
        """A gateway with the configuration, ready."""
        self.configure()
        self.process = Process(self.twistd(), self.port, {"JWT_SECRET": self.secret})
        self.addCleanup(self.process.stop)
        self.process.wait()
        wait_for(lambda: self.ready()[0] == 200, "it is ready")
        return self.process

    def twistd(self) -> list[str]:
        """The command of a gateway with the file as it is."""
        twistd = str(Path(sys.executable).parent / "twistd")
        return [twistd, "-n", "--pidfile=", "smartgate", "--config", str(self.file)]

    # -- what clients see ---------------------------------------------------------------------------------------

    def bearer(self, subject: str, **claims: Any) -> str:
        """The header line of a token."""
        now = int(time.time())
        payload = {"sub": subject, "role": "user", "jti": subject, "iat": now - 60, "exp": now + 600, **claims}
        return "Authorization: Bearer " + jwt.encode(payload, self.secret)

    def ask(self, *lines: str, path: str = "/api", source: str = CLIENT, tls: bool = False) -> Answer | None:
        """What a client gets; None when its connection is cut."""
        try:
            with Client(self.port, source) as client:
                if tls:
                    client.socket = trusting().wrap_socket(client.socket)
                client.send("\r\n".join((f"GET {path} HTTP/1.1", "Host: a", *lines, "", "")).encode())
                return client.answer()
        except (EOFError, ConnectionError):
            return None

    def status(self, *lines: str, **more: Any) -> int:
        """Its status; 0 when the connection is cut."""
        answer = self.ask(*lines, **more)
        return 0 if answer is None else answer.status

    def code(self, *lines: str, **more: Any) -> tuple[int, str]:
        """The status and the code of a refusal."""
        answer = self.ask(*lines, **more)
        assert answer is not None
        return answer.status, json.loads(answer.body)["code"]

    def until(self, status: int, *lines: str, **more: Any) -> None:
        """Wait until a client gets this status."""
        wait_for(lambda: self.status(*lines, **more) == status, f"{status} for {lines} {more}", 5)

    # -- what operators see -------------------------------------------------------------------------------------

    def ready(self) -> tuple[int, dict[str, Any]]:
        """What the gateway says to ``/ready``."""
        answer = self.ask(path="/ready")
        assert answer is not None
        return answer.status, json.loads(answer.body)

    def metric(self, name: str) -> float:
        """A metric, with its labels as Prometheus writes them; 0 where it is not there yet."""
        with Client(self.admin) as client:
            client.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            lines = client.answer().body.decode().splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")), 0.0)

    def says(self, text: str) -> None:
        """Wait until the application's log has ``text``."""
        wait_for(lambda: text in self.process.said(), f"the log says {text!r}", 5)

    def lines(self) -> Iterator[dict[str, Any]]:
        """The access log."""
        yield from map(json.loads, filter(None, self.log.read_text().splitlines()))

    def logged(self, condition: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until the access log has such a line."""
        wait_for(lambda: any(map(condition, self.lines())), "a line of the access log", 5)

    def smartgate(self, *arguments: str, environ: dict[str, str] | None = None) -> tuple[int, str]:
        """The status of a command, and what it wrote."""
        command = [str(Path(sys.executable).parent / "smartgate"), *arguments, "--config", str(self.file)]
        environment = {"PATH": "/usr/bin:/bin", "JWT_SECRET": self.secret, **(environ or {})}
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, env=environment)
        return done.returncode, (done.stdout + done.stderr).strip()

    def does(self, *arguments: str) -> str:
        """What a command says that succeeds."""
        status, said = self.smartgate(*arguments)
        self.assertEqual(status, 0, said)
        return said


def trusting() -> ssl.SSLContext:
    """A client's that takes any certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def found(pattern: str, text: str) -> str:
    """What the first group of a pattern matches.

    :raises AssertionError: when it matches nothing.
    """
    match = re.search(pattern, text)
    assert match is not None, text
    return match[1]
