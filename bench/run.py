"""`make bench`: measure the gateway and its peers side by side in one run, and write the table."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import jwt

from bench import install, peers, readme, redis, table
from bench.load import CONNECTIONS, offer, probe, round_trips
from bench.origin import BODY
from bench.peers import LOAD_CORE, PEER_CORE, PEERS, WHOLE, Bed, Peer, Running
from bench.process import core_time, free_port
from bench.readme import RESULTS
from bench.table import Row, Sample


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("--only", default="", help="rows whose names begin so, comma-separated: gateway,envoy")
    parser.add_argument("--rounds", type=int, default=15, help="of which the median is shown (default 15)")
    parser.add_argument("--seconds", type=int, default=2, help="each round lasts, per row (default 2)")
    parser.add_argument("--warm-up", type=int, default=1, help="seconds before each round, per row (default 1)")
    parser.add_argument("--write", action="store_true", help="write RESULTS.md though --only was given")
    return parser.parse_args(arguments)


def chosen(only: str) -> list[Peer]:
    """The rows whose names begin with one of the words of ``only``; all when it is empty."""
    words = tuple(word.strip() for word in only.split(",") if word.strip())
    return [peer for peer in PEERS if not words or peer.name.startswith(words)]


def request_fields(peer: Peer) -> dict[str, str]:
    """What a client sends: a page's origin and a token where the whole job is done."""
    if peer.job != WHOLE:
        return {}
    now = int(time.time())
    claims = {"sub": "user-42", "role": "bench", "jti": "a7c1f0f4e2", "iat": now, "exp": now + 86400}
    return {
        "Authorization": f"Bearer {jwt.encode(claims, peers.SECRET, 'HS256')}",
        "Origin": "https://app.example.com",
    }


def measure(peer: Peer, running: Running, bed: Bed, warm_up: float, seconds: float) -> Sample:
    """One round of one peer, warmed up first.

    :raises RuntimeError: when it does not answer as it should.
    """
    fields, url = request_fields(peer), f"http://127.0.0.1:{running.port}{peer.path}"
    if wrong := probe(running.port, peer.path, fields, BODY.encode()):
        raise RuntimeError(wrong)
    if warm_up:
        offer(url, fields, warm_up, LOAD_CORE)
    before = _now(running, bed)
    load = offer(url, fields, seconds, LOAD_CORE)
    after = _now(running, bed)
    if not load.requests:
        raise RuntimeError("answered nothing")
    took, used, company, busy_peer, busy_load, reads, trips = (
        late - early for early, late in zip(before, after, strict=True)
    )
    return Sample(
        load=load,
        cpu=used,
        redis_reads=int(reads) - 1,
        round_trips=int(trips),
        peer_core=min(1.0, busy_peer / took),
        load_core=min(1.0, busy_load / took),
        others=max(0.0, (busy_peer - used) / took, (busy_load - company) / took),
    )


def _now(running: Running, bed: Bed) -> tuple[float, ...]:
    """Clocks and counters that a round is the difference of: seconds, and Redis reads and round trips."""
    wrk = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (
        time.monotonic(),
        running.process.cpu(),
        wrk.ru_utime + wrk.ru_stime + sum(process.cpu() for process in bed.company),
        core_time(PEER_CORE),
        core_time(LOAD_CORE),
        redis.reads(bed.redis),
        round_trips(running.admin) if running.admin else 0,
    )


def rows_of(wanted: Sequence[Peer], bed: Bed, settings: argparse.Namespace) -> dict[str, Row]:
    """Start every peer, measure them in turn, round after round, and stop them."""
    rows = {peer.name: Row(peer) for peer in wanted}
    with ExitStack() as stack:
        started: dict[str, Running] = {}
        for name, row in rows.items():
            try:
                started[name] = row.peer.start(bed)
            except (install.Missing, RuntimeError) as error:
                row.missing = str(error)
                continue
            row.version = started[name].version
            stack.callback(started[name].process.stop)
        for turn in range(settings.rounds):
            for name, running in started.items():
                row = rows[name]
                if row.missing:
                    continue
                try:
                    row.samples.append(measure(row.peer, running, bed, settings.warm_up, settings.seconds))
                except RuntimeError as error:
                    row.missing = f"{error} ({running.process.last_words()})"
                    continue
                rate = row.samples[-1].rate
                print(f"round {turn + 1}/{settings.rounds}  {name:15}{rate:10,.0f}/s", file=sys.stderr)
    return rows


def facts(settings: argparse.Namespace, origin: str, store: str) -> list[str]:
    """On what, when and how it was measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    model = next(models, platform.machine())
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip() or "unknown"
    return [
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC, commit {commit}",
        f"{os.cpu_count()} CPUs ({model}), Linux {platform.release()}",
        f"the peer on core {PEER_CORE} alone; wrk (1 thread, {CONNECTIONS} connections), the origin ({origin}) and "
        f"Redis ({store}) on core {LOAD_CORE}; keep-alive on both sides, {len(BODY)} bytes of JSON",
        f"median of {settings.rounds} interleaved rounds of {settings.seconds:g} s, each after {settings.warm_up:g} s "
        "of warm-up",
    ]


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and write RESULTS.md and its part of the README, unless only some rows were asked for."""
    settings = options(arguments)
    wanted = chosen(settings.only)
    if not wanted:
        print(f"no such rows; there are: {', '.join(peer.name for peer in PEERS)}", file=sys.stderr)
        return 2
    try:
        install.tool("wrk")
    except install.Missing as error:
        print(f"{error}: nothing can be measured without it", file=sys.stderr)
        return 2
    if not {PEER_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        print(f"cores {PEER_CORE} and {LOAD_CORE} are both needed", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="smartgate-bench-") as name, ExitStack() as stack:
        directory = Path(name)
        (directory / "origin").mkdir()
        origin_port, redis_port = free_port(), free_port()
        origin, origin_name = peers.origin(directory, origin_port, BODY)
        stack.callback(origin.stop)
        store, store_name = redis.start(directory, redis_port, LOAD_CORE)
        stack.callback(store.stop)
        bed = Bed(directory, origin_port, redis_port, (origin, store))
        rows = rows_of(wanted, bed, settings)
        text = table.document(rows, facts(settings, origin_name, store_name))
    print(text)
    if settings.write or not settings.only:
        RESULTS.write_text(text)
        readme.update()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
