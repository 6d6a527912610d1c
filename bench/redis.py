"""The Redis of a measurement: started on the core of the load, and asked how often somebody wrote to it."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hiredis import Reader, pack_command

from bench.process import Process
from gateway.store.script import ASK
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
    return int(info(port, "stats")["total_reads_processed"])


def traffic(port: int) -> int:
    """Bytes that it has received and sent."""
    stats = info(port, "stats")
    return int(stats["total_net_input_bytes"]) + int(stats["total_net_output_bytes"])


def used_memory(port: int) -> int:
    """Bytes that it has allocated."""
    return int(info(port, "memory")["used_memory"])


def info(port: int, section: str) -> dict[str, str]:
    """What it says of itself."""
    with socket.create_connection(("127.0.0.1", port), 5) as client:
        client.sendall(pack_command(("INFO", section)))
        said = _reply(client, Reader(encoding="utf-8"))
    return dict(line.split(":", 1) for line in said.splitlines() if ":" in line)


def write(port: int, commands: Sequence[tuple[str, ...]]) -> None:
    """Run commands, a thousand at a time."""
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        reader = Reader()
        for start in range(0, len(commands), 1000):
            batch = commands[start : start + 1000]
            client.sendall(b"".join(map(pack_command, batch)))
            for _ in batch:
                _reply(client, reader)


def question(process: Process, port: int, connections: int = 50, rounds: int = 1000) -> float:
    """Processor time of Redis for one question of a gateway that has a round trip of its own, seconds.

    :param connections: that ask at the same time, as many workers do.
    """
    reader = Reader()
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(connections)]
        clients[0].sendall(pack_command(("SCRIPT", "LOAD", ASK)))
        sha = _reply(clients[0], reader)
        asked = [
            pack_command(("EVALSHA", sha, "2", f"blacklist:{number:032}", f"rl:user:user-{number}", "60000"))
            for number in range(connections)
        ]
        used = process.cpu()
        for _ in range(rounds):
            for client, command in zip(clients, asked, strict=True):
                client.sendall(command)
            for client in clients:
                _reply(client, reader)
        return (process.cpu() - used) / (connections * rounds)


def _reply(client: socket.socket, reader: Reader) -> Any:
    while (reply := reader.gets()) is False:
        reader.feed(client.recv(65536))
    return reply
