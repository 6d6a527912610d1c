"""A real Valkey or Redis of a test's own: without persistence, on a free port of the loopback, ended by its pid."""

from __future__ import annotations

import re
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import hiredis
from hiredis import pack_command

from tests.integration.processes import ROOT, free_port, server_binary, wait_for


class Valkey:
    """Runs until :meth:`stop`, or as long as the ``with`` block.

    :param port: where to listen; 0 is any that is free.
    :param options: more of the command line.
    :param sentinel: the configuration of a Sentinel, which it is then.
    :raises RuntimeError: when it ended instead of answering.
    :raises TimeoutError: when it does not answer in time.
    """

    def __init__(self, port: int = 0, *options: str, sentinel: str = "") -> None:
        self.port = port or free_port()
        self._directory = tempfile.TemporaryDirectory()
        arguments = [server_binary()]
        if sentinel:
            file = Path(self._directory.name) / "sentinel.conf"  # which it writes to
            file.write_text(sentinel)
            arguments += [str(file), "--sentinel"]
        else:
            arguments += ["--save", "", "--appendonly", "no"]
        self._child = subprocess.Popen(
            [
                *(*arguments, "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--dir", self._directory.name, *options),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(self._answers, "a PONG")
        except BaseException:
            self.stop()
            raise

    def _answers(self) -> bool:
        if self._child.poll() is not None:
            raise RuntimeError(f"the server ended with status {self._child.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.5) as client:
                client.sendall(b"PING\r\n")
                return client.recv(7) == b"+PONG\r\n"
        except OSError:
            return False

    def ask(self, *command: str) -> object:
        """The server's reply to one command."""
        with socket.create_connection(("127.0.0.1", self.port), 2) as client:
            client.sendall(pack_command(cast(Any, command)))
            reader = hiredis.Reader(encoding="utf-8")
            while (reply := reader.gets()) is False:
                reader.feed(client.recv(65536))
            return reply

    def add_user(self) -> None:
        """Add the user that docs/redis.md has for the gateways: ``smartgate``, whose password is ``password``."""
        said = re.search(r"^(ACL SETUSER smartgate .*?)^```", (ROOT / "docs/redis.md").read_text(), re.M | re.S)
        assert said is not None
        reply = self.ask(*said[1].split())
        if reply != "OK":
            raise RuntimeError(f"the user of docs/redis.md was refused: {reply}")

    def signal(self, number: int) -> None:
        """Send it a signal: SIGSTOP makes it hang."""
        self._child.send_signal(number)

    def stop(self) -> None:
        """End it at once, whatever it does; once more is harmless."""
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait()
        self._directory.cleanup()

    def __enter__(self) -> Valkey:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
