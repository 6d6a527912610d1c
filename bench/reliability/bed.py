"""All that takes part, as real processes: Valkey or Redis, instances, services, and a gateway with two workers."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import jwt

from bench.install import tool
from bench.origin import BODY
from bench.peers import SECRET, fill
from bench.reliability.load import Load
from tests.integration.processes import ROOT, Process, free_port, wait_for
from tests.integration.valkey import Valkey

HERE = Path(__file__).parent
LARGE = 8 * 1024 * 1024
"""Bytes of the large file."""


class Instance:
    """An nginx of one process that answers for the service."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.port = free_port()
        self._ill = directory / "ill"
        (directory / "large").write_bytes(bytes(LARGE))
        config = fill(HERE / "origin.conf", directory, PORT=str(self.port), BODY=BODY)
        self._command = [tool("nginx"), "-p", str(directory), "-c", str(config)]
        self.start()

    def start(self) -> None:
        """Start it, again after it was killed."""
        self.process = Process(self._command, self.port)
        self.process.wait()

    def kill(self) -> None:
        """kill -9."""
        self.process.child.kill()
        self.process.child.wait()

    def stop(self) -> None:
        """End it, however it is."""
        if self.process.child.poll() is None:
            self.process.child.send_signal(signal.SIGCONT)
        self.process.stop()

    def ail(self, ill: bool) -> None:
        """Answer 503 to everything, or well again."""
        if ill:
            self._ill.touch()
        else:
            self._ill.unlink()


class Use(NamedTuple):
    """What all processes of a gateway take together."""

    processes: int
    files: int
    kib: int
    """Memory, shared pages by their share (PSS)."""


class Bed:
    """Starts all of it, and ends it with the ``with`` block.

    :param directory: for what it writes.
    :param drain: of the gateway.
    :param instances: of the service.
    :param first_byte: how long an instance is waited for.
    :param python: the interpreter that the gateway runs on; None for this one.
    """

    def __init__(
        self,
        directory: Path,
        drain: str = "10s",
        instances: int = 1,
        first_byte: str = "60s",
        python: str | None = None,
    ) -> None:
        self.directory = directory
        self._stack = ExitStack()
        with ExitStack() as stack:
            self.redis = Valkey()
            stack.callback(lambda: self.redis.stop())  # noqa: PLW0108 - whichever it is by then
            self.instances = [Instance(directory / f"instance-{number}") for number in range(instances)]
            for instance in self.instances:
                stack.callback(instance.stop)
            sockets = self._service(stack, "tests.platform.echo")
            events = self._service(stack, "tests.faults.events")
            self.port, self.admin = free_port(), free_port()
            listed = ", ".join(f'"http://127.0.0.1:{instance.port}"' for instance in self.instances)
            values = {"INSTANCES": listed, "SOCKETS": str(sockets), "EVENTS": str(events)}
            self.config = fill(HERE / "gateway.toml", directory, **values)
            self._environ = {
                "PORT": str(self.port),
                "ADMIN_PORT": str(self.admin),
                "DRAIN": drain,
                "FIRST_BYTE": first_byte,
                "REDIS_URL": f"redis://127.0.0.1:{self.redis.port}/0",
                "JWT_SECRET": SECRET,
                "ACCESS_LOG": str(directory / "access.log"),
                **({"PYTHONPATH": ""} if python else {}),  # it runs what is installed there, and nothing else
            }
            twistd = str(Path(python or sys.executable).with_name("twistd"))
            command = [twistd, "-n", "--pidfile=", "smartgate", "--config", str(self.config)]
            self.gateway = Process(command, self.port, self._environ)
            stack.callback(self.gateway.stop)
            self.gateway.wait()
            wait_for(self.ready, "the gateway is ready", 60)
            self._stack = stack.pop_all()

    def _service(self, stack: ExitStack, module: str) -> int:
        port = free_port()
        process = Process([sys.executable, "-m", module, str(port)], port)
        stack.callback(process.stop)
        process.wait()
        return port

    def __enter__(self) -> Bed:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # -- what is asked of the gateway -----------------------------------------------------------------------------

    def head(self, method: str, path: str, *lines: str, subject: str = "user-42", role: str = "bench") -> bytes:
        """A request's head, with a token."""
        now = int(time.time())
        claims = {"sub": subject, "role": role, "jti": f"of-{subject}", "iat": now, "exp": now + 86400}
        token = f"Authorization: Bearer {jwt.encode(claims, SECRET, 'HS256')}"
        return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: api.example.com", token, *lines, "", "")).encode()

    def load(self, rate: float, mixed: bool = True, connections: int = 64) -> Load:
        """The whole job.

        :param mixed: every tenth request on a connection of its own, and every fifth a POST; else GET alone.
        """
        get = self.head("GET", "/api/users/42")
        requests = [get]
        if mixed:
            post = self.head("POST", "/api/users/42", "Content-Length: 100") + bytes(100)
            requests = [get, post, get, get, self.head("GET", "/api/users/42", "Connection: close")] * 2
            requests[9] = get
        return Load(self.port, requests, BODY.encode(), rate, connections)

    def peak(self, mixed: bool = True, seconds: float = 5.0) -> float:
        """Requests a second that are answered at most, when the same load asks as soon as it is answered.

        :raises RuntimeError: when some were not answered well.
        """
        answers = self.load(inf, mixed).during(seconds)
        if answers.failed:
            raise RuntimeError(f"the load without a limit: {answers.causes}")
        return len(answers.all) / seconds

    def wrk(self, seconds: float, path: str = "/api/users/42") -> tuple[int, int]:
        """How many requests wrk had answered in so many seconds, and how many not well."""
        token = self.head("GET", path).split(b"\r\n")[2].decode()
        command = ["wrk", "-t1", "-c64", f"-d{seconds:g}s", "--timeout", "10s", "-s", str(HERE.with_name("load.lua"))]
        done = subprocess.run(
            [*command, "-H", token, f"http://127.0.0.1:{self.port}{path}"], capture_output=True, text=True
        )
        found = re.search(r"^RESULT (\d+) \d+ \d+ \d+ (\d+) (\d+)$", done.stdout, re.MULTILINE)
        if found is None:
            raise RuntimeError(f"wrk: {done.stderr or done.stdout}")
        return int(found[1]), int(found[2]) + int(found[3])

    # -- what is done to it ---------------------------------------------------------------------------------------

    def reload(self) -> None:
        """Ask for a reload."""
        self.gateway.child.send_signal(signal.SIGHUP)

    def settled(self, generation: int = 0) -> bool:
        """Whether all workers serve and are of one generation, of this one or a later one."""
        found = {(worker["generation"], worker["state"]) for worker in self.workers()}
        return len(found) == 1 and all(number >= generation and state == "serving" for number, state in found)

    @property
    def generation(self) -> int:
        """The one that was started last."""
        return max((worker["generation"] for worker in self.workers()), default=0)

    def took_over(self) -> list[float]:
        """When each generation began to serve, in seconds since 1970."""
        return [
            datetime.fromisoformat(line["time"]).timestamp()
            for line in map(json.loads, filter(lambda line: line.startswith("{"), self.gateway.said().splitlines()))
            if "workers serve, generation" in line["message"]
        ]

    def ports_of(self, pid: int) -> set[int]:
        """The client's ports of the connections that a process has taken."""
        inodes = set()
        for name in os.listdir(f"/proc/{pid}/fd"):
            link = os.readlink(f"/proc/{pid}/fd/{name}")
            if link.startswith("socket:["):
                inodes.add(link[8:-1])
        found = set()
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            local, remote = (int(fields[index].rpartition(":")[2], 16) for index in (1, 2))
            if local == self.port and fields[9] in inodes:
                found.add(remote)
        return found

    # -- what it says of itself -----------------------------------------------------------------------------------

    def ask(self, path: str) -> tuple[int, str]:
        """What operators get; status 0 when nothing."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def ready(self) -> bool:
        """Whether it is."""
        if self.gateway.child.poll() is not None:
            raise RuntimeError(f"the gateway has ended:\n{self.gateway.said()}")
        return self.ask("/ready")[0] == 200

    def workers(self) -> list[dict[str, Any]]:
        """The workers as the supervisor tells them."""
        status, text = self.ask("/workers")
        return list(json.loads(text)) if status == 200 else []

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels, of those that have this in their line where a label is given."""
        lines = self.ask("/metrics")[1].splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def pids(self) -> list[int]:
        """The supervisor and its children, a check among them."""
        pid = self.gateway.child.pid
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def use(self) -> Use:
        """What the supervisor and the workers take now."""
        pids = [self.gateway.child.pid, *(worker["pid"] for worker in self.workers())]
        return Use(len(pids), sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids), sum(map(pss, pids)))


def pss(pid: int) -> int:
    """KiB of a process, shared pages by their share."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


def timed(condition: Callable[[], bool], what: str, seconds: float = 30.0, pause: float = 0.1) -> float:
    """Seconds until ``condition`` holds, which is looked at after each ``pause``.

    :raises TimeoutError: when it does not in time.
    """
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise TimeoutError(what)
        time.sleep(pause)
    return time.monotonic() - began


def installed(directory: Path, versions: tuple[str, str]) -> Iterator[Path]:
    """A venv at one place with a version of the gateway, then, by a rename, with the next one: ``packaging/venv.sh``.

    :raises RuntimeError: when it cannot be made.
    """
    wheels = ROOT / f"build/wheels-3.{sys.version_info.minor}"
    place, source = directory / "venv", directory / "source"
    for version in versions:
        shutil.rmtree(source, ignore_errors=True)
        shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "node_modules", "*.egg-info"))
        module = source / "gateway/__init__.py"
        module.write_text(re.sub('__version__ = ".*"', f'__version__ = "{version}"', module.read_text()))
        own = directory / "wheels"
        shutil.rmtree(own, ignore_errors=True)
        shutil.copytree(wheels, own)
        for wheel in own.glob("smartgate-*"):
            wheel.unlink()
        for command in (
            [str(ROOT / "build/pip/bin/python"), "-m", "pip", "-q", "wheel", "--no-deps", "-w", str(own), str(source)],
            [str(ROOT / "packaging/venv.sh"), str(own), str(place)],
        ):
            environ = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": ""}
            done = subprocess.run(command, capture_output=True, text=True, env=environ)
            if done.returncode:
                raise RuntimeError(done.stderr)
        yield place / "bin/python3"
