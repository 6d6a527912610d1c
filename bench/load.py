"""Load from wrk, on its own core: one thread, 32 connections, keep-alive, and what it measured."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 32
_SCRIPT = Path(__file__).with_name("load.lua")


@dataclass(frozen=True, slots=True)
class Load:
    """One run of wrk; times in seconds."""

    requests: int
    duration: float
    p50: float
    p99: float
    refused: int
    """Answers that were not 2xx or 3xx."""
    broken: int
    """Connections that failed, broke or timed out."""


def offer(url: str, fields: Mapping[str, str], seconds: float, core: int, connections: int = CONNECTIONS) -> Load:
    """Ask for ``url`` as fast as it answers, for that many seconds.

    :param connections: that ask at a time.
    :raises RuntimeError: when wrk fails.
    """
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", str(_SCRIPT)]
    for name, value in fields.items():
        command += ["-H", f"{name}: {value}"]
    done = subprocess.run(
        [*command, url],
        capture_output=True,
        text=True,
        timeout=seconds + 30,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            requests, duration, p50, p99, refused, broken = map(int, line.split()[1:])
            return Load(requests, duration / 1e6, p50 / 1e6, p99 / 1e6, refused, broken)
    raise RuntimeError(f"wrk: {(done.stderr or done.stdout).strip()[-300:]}")


def round_trips(admin: int) -> int:
    """How many round trips to Redis the gateway with this admin port counts on /metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    match = re.search(r"^smartgate_redis_round_trips_total ([0-9.e+]+)$", text, re.MULTILINE)
    return int(float(match[1])) if match else 0


def probe(port: int, path: str, fields: Mapping[str, str], body: bytes) -> str:
    """What is wrong with one answer, "" when it is 200 with that body: wrk itself would take a 3xx for success."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers=dict(fields))
        answer = connection.getresponse()
        received = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return f"no answer: {error}"
    finally:
        connection.close()
    return "" if answer.status == 200 and received == body else f"answers {answer.status}: {received[:100]!r}"
