"""What follows from what was measured for a rate of requests: cores, machines, Redis servers, memory, bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

Figures = Mapping[str, float]
"""By their names in :data:`bench.costs.ROWS`."""

RATES: Final = (10_000, 100_000, 1_000_000)
CORES: Final = {10_000: 4, 100_000: 16, 1_000_000: 64}
"""Of one gateway machine, by rate: fewer, larger machines are easier to run where many cores are needed."""
BUSY: Final = 0.5
"""Share of a core that is planned for at the highest rate: of the gateways' and of Redis'."""
SPARE: Final = 0.1
"""Share of machines that may be away at the highest rate; at least one."""
PER_CONNECTION: Final = 20
"""Requests on a connection of a client, which begins with a TLS handshake."""
THINKING: Final = 10.0
"""Seconds between two requests of a client: there are as many clients, each with a connection and a counter, as
requests in this time."""
SOCKETS: Final = 0.1
"""Open WebSockets for each connection."""
BODY: Final = 2048
"""Bytes of an answer's body; requests have none."""
HEADROOM: Final = 1.5
"""Memory of machines by what is computed: for what comes and goes, such as bodies on their way, and for the system."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rate needs; memory in bytes, traffic in bytes a second."""

    rate: int
    cpu: float
    """Cores that the gateways keep busy, TLS included."""
    workers: int
    machines: int
    connections: int
    machine_memory: float
    redis_cpu: float
    """Cores that Redis keeps busy."""
    redis_servers: int
    """Masters: each has replicas besides, which need as much memory."""
    redis_memory: float
    """Of all masters together."""
    log: float
    to_clients: float
    to_redis: float

    @property
    def redis_share(self) -> float:
        """Of all processor time, Redis'."""
        return self.redis_cpu / (self.redis_cpu + self.cpu)


def plan(figures: Figures, rate: int) -> Plan:
    """What is needed where every request does the whole job."""
    cpu = rate * 1e-6 * (figures["whole_us"] + figures["handshake_ecdsa_us"] / PER_CONNECTION)
    cores = CORES[rate]
    machines = ceil(cpu / BUSY / cores)
    machines += max(1, ceil(machines * SPARE))
    # One question a request on one server; on several, the token's and the client's are two, on two of them.
    one = rate * 1e-6 * figures["redis_one_us"]
    servers = ceil(one / BUSY)
    redis_cpu = one if servers == 1 else 2 * one
    servers = 1 if servers == 1 else ceil(redis_cpu / BUSY)
    connections = round(rate * THINKING)
    open_memory = connections * (figures["connection_bytes"] + SOCKETS * figures["websocket_bytes"])
    workers = machines * cores
    memory = HEADROOM * (open_memory + workers * figures["worker_bytes"]) / machines
    return Plan(
        rate=rate,
        cpu=cpu,
        workers=workers,
        machines=machines,
        connections=connections,
        machine_memory=memory,
        redis_cpu=redis_cpu,
        redis_servers=servers,
        redis_memory=connections * figures["counter_bytes"],
        log=rate * figures["log_bytes"],
        to_clients=rate * (figures["answer_bytes"] + BODY),
        to_redis=rate * figures["redis_bytes"] * (1 if servers == 1 else 2),
    )


def table(figures: Figures, rates: Sequence[int] = RATES) -> list[str]:
    """The lines of a table with a column for each rate."""
    plans = [plan(figures, rate) for rate in rates]
    rows = {
        "cores kept busy, TLS included": [f"{each.cpu:,.1f}" for each in plans],
        f"gateway machines, {BUSY:.0%} busy, spares included": [
            f"{each.machines} of {CORES[each.rate]} cores" for each in plans
        ],
        "workers": [f"{each.workers:,}" for each in plans],
        "open connections, and WebSockets": [
            f"{each.connections:,}, {round(each.connections * SOCKETS):,}" for each in plans
        ],
        "memory of a gateway machine": [f"{each.machine_memory / 2**30:.1f} GiB" for each in plans],
        "cores that Redis keeps busy": [f"{each.redis_cpu:,.1f}" for each in plans],
        "Redis' share of all processor time": [f"{each.redis_share:.0%}" for each in plans],
        "Redis servers (masters)": [f"{each.redis_servers}" for each in plans],
        "memory of each for counters": [f"{each.redis_memory / each.redis_servers / 2**20:,.0f} MiB" for each in plans],
        "connections to each": [f"{2 * each.workers:,}" for each in plans],
        "traffic with Redis, both ways": [f"{each.to_redis * 8 / 1e6:,.0f} Mbit/s" for each in plans],
        "access log": [f"{each.log / 1e6:,.1f} MB/s, {each.log * 86400 / 1e12:,.1f} TB a day" for each in plans],
        f"answers of {BODY} bytes, to clients": [f"{each.to_clients * 8 / 1e9:,.1f} Gbit/s" for each in plans],
    }
    lines = ["| | " + " | ".join(f"{rate:,}/s" for rate in rates) + " |", "|---|" + "--:|" * len(rates)]
    return lines + [f"| {name} | {' | '.join(values)} |" for name, values in rows.items()]
