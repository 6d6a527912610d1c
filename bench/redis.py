"""The Redis of a measurement: started on the core of the load, and asked how often somebody wrote to it."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path

from bench.process import Process
from tests.integration.processes import server_binary


def start(directory: Path, port: int, core: int) -> tuple[Process, str]:
    """A real Valkey or Redis without persistence, and its version.

    :raises FileNotFoundError: when there is none on PATH or in a package.
    """
    binary = server_binary()
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = Process([*command, "--dir", str(directory)], core, directory / "redis.out")
    process.wait_for(port)
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10).stdout
    match = re.match(r"(\w+) server v=(\S+)", said)
    return process, f"{match[1]} {match[2]}" if match else said.strip()


def reads(port: int) -> int:
    """How many times it has read from a client's socket: the round trips of all clients, batched ones once."""
    with socket.create_connection(("127.0.0.1", port), 5) as client:
        client.sendall(b"INFO stats\r\n")
        text = b""
        while b"total_reads_processed:" not in text or not text.endswith(b"\r\n"):
            data = client.recv(65536)
            if not data:
                break
            text += data
    return int(text.partition(b"total_reads_processed:")[2].split(b"\r\n")[0])
