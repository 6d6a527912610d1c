"""A real Valkey or Redis of a test's own: without persistence, on a free port of the loopback, ended by its pid."""

from __future__ import annotations

import socket
import subprocess
import tempfile
from types import TracebackType

from tests.integration.processes import free_port, server_binary, wait_for


class Valkey:
    """Runs until :meth:`stop`, or as long as the ``with`` block.

    :param port: where to listen; 0 is any that is free.
    :raises RuntimeError: when it ended instead of answering.
    :raises TimeoutError: when it does not answer in time.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port or free_port()
        self._directory = tempfile.TemporaryDirectory()
        self._child = subprocess.Popen(
            [
                *(server_binary(), "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--save", "", "--appendonly", "no", "--dir", self._directory.name),
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
