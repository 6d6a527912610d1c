"""What lasts longer than a request: ``python -m bench.streams`` measures WebSocket echoes, downloads and uploads.

The load is this process, one epoll loop on the core that wrk has in ``bench.run``; the origin beside it is
``bench/origin/streams.py``. Both are Python, so a row says how busy each core was: where the peer's had time left, the
ratio of processor time says more than the ratio of rates.
"""

from __future__ import annotations

import argparse
import os
import select
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import peers, redis
from bench.load import CONNECTIONS
from bench.peers import LOAD_CORE, PEER_CORE, PEERS, Bed, Running
from bench.process import Process, core_time, free_port
from bench.run import facts, request_fields

RESULTS = Path(__file__).with_name("STREAMS.md")
MIB = 1024**2
SIZE = 512 * MIB
"""Bytes of one download, and of one upload."""
GROWTH_GOAL = 8 * MIB
_BLOCK = bytes(256 * 1024)
_UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one peer at one kind of exchange."""

    amount: float
    """Round trips, or MiB."""
    seconds: float
    cpu: float
    """Processor time of the peer, seconds."""
    peer_core: float
    """Share of the round in which the core of the peer was busy; 0-1."""
    growth: int
    """Bytes of memory that the peer had more at its highest than before."""

    @property
    def rate(self) -> float:
        """A second."""
        return self.amount / self.seconds


def frame(size: int) -> tuple[bytes, int]:
    """A binary message of ``size`` bytes as a client sends it, its mask all zeros, and the bytes of its echo."""
    head = bytes((0x82, 0x80 | size)) if size < 126 else b"\x82\xfe" + size.to_bytes(2, "big")
    return head + bytes(4 + size), len(head) + size


def _head(start: str, fields: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{start} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n".encode()


def _answered(connection: socket.socket, status: bytes) -> bytes:
    """What follows the head of an answer.

    :raises RuntimeError: when it has another status, or does not come.
    """
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            break
        data += more
    if not data.startswith(b"HTTP/1.1 " + status):
        raise RuntimeError(f"answers {data[:200]!r}")
    return data.partition(b"\r\n\r\n")[2]


def _connected(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def echo(port: int, fields: Mapping[str, str], size: int, seconds: float) -> float:
    """Let 32 WebSockets each send a message of ``size`` bytes whenever the one before is back; the round trips made."""
    message, expected = frame(size)
    start = _head("GET /api/ws/echo", {**_UPGRADE, **fields})
    with ExitStack() as stack:
        poller = stack.enter_context(select.epoll())
        clients: dict[int, tuple[socket.socket, list[int]]] = {}
        for _ in range(CONNECTIONS):
            connection = stack.enter_context(_connected(port))
            connection.sendall(start)
            _answered(connection, b"101")
            poller.register(connection, select.EPOLLIN)
            clients[connection.fileno()] = connection, [expected]
        for connection, _ in clients.values():
            connection.sendall(message)
        trips, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            events = poller.poll(5)
            if not events:
                raise RuntimeError("an echo did not come back in 5 s")
            for number, _ in events:
                connection, left = clients[number]
                got = len(connection.recv(65536))
                if not got:
                    raise RuntimeError("a WebSocket was closed")
                left[0] -= got
                if left[0] <= 0:
                    left[0] = expected
                    trips += 1
                    connection.sendall(message)
        return trips


def download(port: int, fields: Mapping[str, str], size: int) -> float:
    """Get one body of ``size`` bytes; MiB."""
    with _connected(port) as connection:
        connection.sendall(_head(f"GET /large?size={size}", fields))
        left = size - len(_answered(connection, b"200"))
        room = bytearray(len(_BLOCK))
        while left:
            got = connection.recv_into(room)
            if not got:
                raise RuntimeError(f"the download ended {left} bytes too early")
            left -= got
    return size / MIB


def upload(port: int, fields: Mapping[str, str], size: int) -> float:
    """Send one body of ``size`` bytes; MiB."""
    with _connected(port) as connection:
        connection.sendall(_head("PUT /large", {**fields, "Content-Length": str(size)}))
        left = size
        while left:
            left -= connection.send(_BLOCK[:left])
        _answered(connection, b"200")
    return size / MIB


@dataclass(frozen=True, slots=True)
class Kind:
    """One row: what is exchanged, and its goal."""

    name: str
    unit: str
    goal: float
    """At least so many times what Envoy does."""
    run: Callable[[int, Mapping[str, str], float], float]
    bounded: bool = False
    """Whether the peer's memory may not grow."""


KINDS = (
    Kind("WebSocket echo, 64 B", "round trips/s", 0.8, lambda port, fields, seconds: echo(port, fields, 64, seconds)),
    Kind(
        "WebSocket echo, 16 KiB",
        "round trips/s",
        1.0,
        lambda port, fields, seconds: echo(port, fields, 16 * 1024, seconds),
    ),
    Kind("one download", "MiB/s", 0.8, lambda port, fields, _: download(port, fields, SIZE), bounded=True),
    Kind("one upload", "MiB/s", 0.8, lambda port, fields, _: upload(port, fields, SIZE), bounded=True),
)


def _peak(process: Process) -> int:
    """The most memory that a process had, bytes (proc(5), VmHWM)."""
    for line in Path(f"/proc/{process.child.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def measure(kind: Kind, running: Running, fields: Mapping[str, str], seconds: float) -> Sample:
    """One round.

    :raises RuntimeError: when the peer does not do what it should.
    """
    process = running.process
    before = process.resident()
    Path(f"/proc/{process.child.pid}/clear_refs").write_text("5")  # the peak is what it has now
    began, used, busy = time.monotonic(), process.cpu(), core_time(PEER_CORE)
    amount = kind.run(running.port, fields, seconds)
    took = time.monotonic() - began
    return Sample(
        amount,
        took,
        process.cpu() - used,
        min(1.0, (core_time(PEER_CORE) - busy) / took),
        max(0, _peak(process) - before),
    )


def _quotient(values: Sequence[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def document(found: Mapping[str, Mapping[str, list[Sample]]], about: Sequence[str]) -> str:
    """The whole of STREAMS.md, from the samples of each kind and peer."""
    lines = ["# Long exchanges", "", "Written by `python -m bench.streams`; how: [docs/benchmarks.md]"]
    lines[-1] += "(../docs/benchmarks.md#long-exchanges)."
    lines += ["", *(f"- {fact}" for fact in about), ""]
    lines += [
        "| | smartgate | Envoy | rate to Envoy (lowest-highest round) | CPU to Envoy | smartgate's core busy "
        "| smartgate's memory grew | goal | |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for kind in KINDS:
        ours, theirs = found[kind.name]["smartgate"], found[kind.name]["Envoy"]
        ratios = [mine.rate / other.rate for mine, other in zip(ours, theirs, strict=True)]
        costs = [
            (mine.cpu / mine.amount) / (other.cpu / other.amount) for mine, other in zip(ours, theirs, strict=True)
        ]
        growth = max(sample.growth for sample in ours)
        met = median(ratios) >= kind.goal and (not kind.bounded or growth < GROWTH_GOAL)
        cells = (
            kind.name,
            f"{median(sample.rate for sample in ours):,.0f} {kind.unit}",
            f"{median(sample.rate for sample in theirs):,.0f} {kind.unit}",
            _quotient(ratios),
            _quotient(costs),
            f"{median(sample.peer_core for sample in ours):.0%}",
            f"{growth / MIB:.1f} MiB",
            f"{kind.goal:.1f}x" + (f", < {GROWTH_GOAL // MIB} MiB" if kind.bounded else ""),
            "met" if met else "not met",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and write STREAMS.md when asked to."""
    parser = argparse.ArgumentParser(prog="python -m bench.streams", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=3, help="of echoes, each round and peer (default 3)")
    parser.add_argument("--warm-up", type=float, default=1)
    parser.add_argument("--write", action="store_true", help="write STREAMS.md")
    settings = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="smartgate-bench-") as name, ExitStack() as stack:
        directory, origin_port, redis_port = Path(name), free_port(), free_port()
        command = [sys.executable, "-m", "bench.origin.streams", str(origin_port)]
        root = {"PYTHONPATH": str(Path(__file__).parents[1])}
        origin = Process(command, LOAD_CORE, directory / "origin.out", root)
        stack.callback(origin.stop)
        origin.wait_for(origin_port)
        store, store_name = redis.start(directory, redis_port, LOAD_CORE)
        stack.callback(store.stop)
        bed = Bed(directory, origin_port, redis_port, (origin, store))
        os.environ["STREAMS"] = f"http://127.0.0.1:{origin_port}"
        gateway = next(peer for peer in PEERS if peer.name == "gateway")
        fields = request_fields(gateway)
        running = {"smartgate": gateway.start(bed), "Envoy": peers.envoy_streams(bed)}
        for peer in running.values():
            stack.callback(peer.process.stop)
        os.sched_setaffinity(0, {LOAD_CORE})
        found: dict[str, dict[str, list[Sample]]] = {}
        for kind in KINDS:
            samples = found[kind.name] = {who: [] for who in running}
            for turn in range(settings.rounds + 1):
                for who, peer in running.items():
                    sample = measure(kind, peer, fields, settings.seconds if turn else settings.warm_up)
                    if turn:  # the first one warms up
                        samples[who].append(sample)
                        print(f"{kind.name}  {who:10}{sample.rate:10,.0f} {kind.unit}", file=sys.stderr)
        about = facts(settings, "", "")[:2]
        about += [
            f"the peer on core {PEER_CORE} alone; the load, one epoll loop with {CONNECTIONS} WebSockets or one large "
            f"body of {SIZE // MIB} MiB, its origin and Redis ({store_name}) on core {LOAD_CORE}",
            f"median of {settings.rounds} interleaved rounds after one of warm-up; echoes for {settings.seconds:g} s",
            "smartgate verifies the token and holds each WebSocket to the size and the rate of its messages; Envoy "
            "lets everything through (`bench/peers/envoy-streams.yaml`)",
        ]
        text = document(found, about)
    print(text)
    if settings.write:
        RESULTS.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
