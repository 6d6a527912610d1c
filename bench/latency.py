"""What a gateway that has time left adds to an answer: ``python -m bench.latency``, at half of each peer's own peak.

Requests leave at fixed times, whether or not the ones before were answered, and each is timed from when it was due: a
peer that stalls is charged for all that waited meanwhile. What the origin alone takes at the same rate is taken off.
"""

from __future__ import annotations

import argparse
import os
import select
import socket
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import peers, redis
from bench.load import CONNECTIONS, offer
from bench.origin import BODY
from bench.peers import LOAD_CORE, PEER_CORE, PEERS, Bed, Peer, Running
from bench.process import free_port
from bench.run import facts, request_fields

RESULTS = Path(__file__).with_name("LATENCY.md")
GOAL = 1.5
"""At most so many times what Envoy adds."""
PAIRS = (("whole job", "gateway", "envoy-job"), ("public route", "gateway-public", "envoy-bare"))
_END = BODY.encode()[-8:]
"""What an answer ends with."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one peer; times in seconds."""

    rate: float
    """Requests a second that were offered."""
    took: tuple[float, float]
    """Until an answer was there: the median, and the 99th percentile."""
    bare: tuple[float, float]
    """The same of the origin alone."""


def steady(port: int, request: bytes, rate: float, seconds: float) -> list[float]:
    """Ask so many times a second over 32 connections; how long each answer took since it was due, sorted.

    :raises RuntimeError: when a connection is closed.
    """
    with ExitStack() as stack:
        sockets: dict[int, socket.socket] = {}
        for _ in range(CONNECTIONS):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sockets[connection.fileno()] = connection
        idle, waiting, begun = list(sockets), deque[float](), dict[int, float]()
        took: list[float] = []
        count, start = int(rate * seconds), time.monotonic()
        due = 0  # how many were due already
        while len(took) < count:
            now = time.monotonic()
            while due < count and start + due / rate <= now:
                waiting.append(start + due / rate)
                due += 1
            while waiting and idle:
                number = idle.pop()
                begun[number] = waiting.popleft()
                sockets[number].send(request)
            left = start + due / rate - time.monotonic() if due < count else 1.0
            # Unlike epoll's, the timeout of select is no whole number of milliseconds.
            for number in select.select(tuple(begun), (), (), max(left, 0))[0]:
                data = sockets[number].recv(65536)
                if not data:
                    raise RuntimeError("a connection was closed")
                if data.endswith(_END):
                    took.append(time.monotonic() - begun.pop(number))
                    idle.append(number)
    took.sort()
    return took


def _quantiles(values: Sequence[float]) -> tuple[float, float]:
    return values[len(values) // 2], values[int(len(values) * 0.99)]


def added(samples: Sequence[Sample]) -> tuple[float, float]:
    """What a peer adds to the median and to the 99th percentile: its median round less the origin's, seconds."""
    p50, p99 = (
        median(each.took[which] for each in samples) - median(each.bare[which] for each in samples) for which in (0, 1)
    )
    return p50, p99


def measure(peer: Peer, running: Running, origin: int, settings: argparse.Namespace) -> Sample:
    """One round: the peak, then half of it, at the peer and at the origin."""
    fields = request_fields(peer)
    url = f"http://127.0.0.1:{running.port}{peer.path}"
    peak = offer(url, fields, settings.seconds, LOAD_CORE)
    rate = peak.requests / peak.duration / 2
    request = _request(peer.path, fields)
    own = steady(running.port, request, rate, settings.seconds)
    bare = steady(origin, request, rate, settings.seconds)
    return Sample(rate, _quantiles(own), _quantiles(bare))


def _request(path: str, fields: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n".encode()


def document(found: Mapping[str, list[Sample]], about: Sequence[str]) -> str:
    """The whole of LATENCY.md."""
    lines = ["# Latency at half of the peak", "", "Written by `python -m bench.latency`; how: [docs/benchmarks.md]"]
    lines[-1] += "(../docs/benchmarks.md#half-of-the-peak)."
    lines += ["", *(f"- {fact}" for fact in about), ""]
    lines += [
        "| | requests/s offered | adds, p50 ms | adds, p99 ms | p99 to Envoy | goal | |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    for label, name, other in PAIRS:
        ratio = added(found[name])[1] / added(found[other])[1]
        verdict = "met" if ratio <= GOAL else "not met"
        lines.append(f"| smartgate, {label} | {_cells(found[name])} | {ratio:.2f} | at most {GOAL:g}x | {verdict} |")
        lines.append(f"| Envoy, {label} | {_cells(found[other])} | | | |")
    return "\n".join([*lines, ""])


def _cells(samples: Sequence[Sample]) -> str:
    p50, p99 = added(samples)
    return f"{median(sample.rate for sample in samples):,.0f} | {p50 * 1e3:.2f} | {p99 * 1e3:.2f}"


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and write LATENCY.md when asked to."""
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--seconds", type=int, default=1, help="of each of the three loads of a round (default 1)")
    parser.add_argument("--write", action="store_true", help="write LATENCY.md")
    settings = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="smartgate-bench-") as name, ExitStack() as stack:
        directory, origin_port, redis_port = Path(name), free_port(), free_port()
        (directory / "origin").mkdir()
        origin, origin_name = peers.origin(directory, origin_port, BODY)
        stack.callback(origin.stop)
        store, store_name = redis.start(directory, redis_port, LOAD_CORE)
        stack.callback(store.stop)
        bed = Bed(directory, origin_port, redis_port, (origin, store))
        wanted = [peer for peer in PEERS if any(peer.name in pair for pair in PAIRS)]
        running = {peer.name: peer.start(bed) for peer in wanted}
        for started in running.values():
            stack.callback(started.process.stop)
        os.sched_setaffinity(0, {LOAD_CORE})
        os.nice(10)  # what is asked on this core answers at once, whatever the load is at
        found: dict[str, list[Sample]] = {peer.name: [] for peer in wanted}
        for _ in range(settings.rounds):
            for peer in wanted:
                sample = measure(peer, running[peer.name], origin_port, settings)
                found[peer.name].append(sample)
                ours, bare = sample.took[1] * 1e3, sample.bare[1] * 1e3
                print(
                    f"{peer.name:15}{sample.rate:8,.0f}/s  p99 {ours:6.2f} ms, of the origin {bare:.2f}",
                    file=sys.stderr,
                )
        about = facts(argparse.Namespace(seconds=0, rounds=0, warm_up=0), "", "")[:2]
        about += [
            f"the peer on core {PEER_CORE} alone; the load ({CONNECTIONS} connections), the origin ({origin_name}) and "
            f"Redis ({store_name}) on core {LOAD_CORE}",
            f"{settings.rounds} interleaved rounds: the peak by wrk, half of it, and as much of the origin alone, for "
            f"{settings.seconds:g} s each; what a peer adds is its median round less that of the origin",
        ]
        text = document(found, about)
    print(text)
    if settings.write:
        RESULTS.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
