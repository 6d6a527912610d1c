"""Connections and WebSockets that are open and silent, and what a process has grown by."""

from __future__ import annotations

import base64
import os
import resource
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from bench.process import Process

REST = 5.0
"""Seconds for which idle connections are watched."""


class Idle(NamedTuple):
    """What so many of them cost, each."""

    memory: float
    """Bytes of the gateway's own."""
    kernel: float
    """Bytes of the kernel's for one end of one connection, two being on this machine for each."""
    busy: float
    """Share of a core that all of them together take."""


def room_for(files: int) -> None:
    """Let this process, and those it starts, open so many files.

    :raises RuntimeError: when it may not.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, max(files, most)))
    except (ValueError, PermissionError):
        raise RuntimeError(f"{files} open files are needed, {most} are allowed (ulimit -Hn)") from None


def hold(process: Process, port: int, count: int, path: str, fields: Mapping[str, str], ends: int) -> Idle:
    """Open ``count`` connections that send one request and then nothing, and measure them.

    :param ends: how many ends of connections each of them has on this machine.
    :raises RuntimeError: when one is not answered with 200 or 101.
    """
    lines = [f"GET {path} HTTP/1.1", "Host: api.example.com", *(f"{name}: {value}" for name, value in fields.items())]
    request = "\r\n".join([*lines, "", ""]).encode()
    with ExitStack() as stack:

        def opened(number: int) -> None:
            for _ in range(number):
                stack.enter_context(_opened(port, request))

        opened(count // 20)  # what is made once, or in steps, is there then
        before, slab = process.resident(), _slab()
        opened(count)
        time.sleep(1)
        memory, kernel = process.resident() - before, _slab() - slab
        used = process.cpu()
        time.sleep(REST)
        return Idle(memory / count, kernel / count / ends, (process.cpu() - used) / REST)


def upgrade_fields() -> dict[str, str]:
    """What asks for a WebSocket."""
    key = base64.b64encode(os.urandom(16)).decode()
    fields = {"Connection": "Upgrade", "Upgrade": "websocket"}
    return {**fields, "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key}


def growth(process: Process, count: int, make: Callable[[], None], done: Callable[[], bool]) -> float:
    """Bytes that a process has grown by for each of ``count`` things, which ``make`` makes, until ``done``."""
    before = process.resident()
    make()
    deadline = time.monotonic() + 30
    while not done():
        if time.monotonic() > deadline:
            raise RuntimeError("the gateway does not know all of them after 30 s")
        time.sleep(0.1)
    return (process.resident() - before) / count


def _opened(port: int, request: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 10)
    connection.sendall(request)
    said = connection.recv(65536)
    if not said.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 101 ")):
        raise RuntimeError(f"answers {said[:100]!r}")
    return connection


def _slab() -> int:
    """Bytes of the kernel's own objects, sockets among them (proc(5), /proc/meminfo)."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(fields["Slab"].split()[0]) * 1024
