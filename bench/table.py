"""The table of a run, as Markdown: every row, the ratios to Envoy, what was missing, how far the goals are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from bench.load import Load
from bench.peers import BARE, LOAD_CORE, PEER_CORE, WHOLE, Peer

MATCH = {WHOLE: "envoy-job", BARE: "envoy-bare"}
"""The row of Envoy that a row is held against, by job."""
GOALS = (
    ("whole job : Envoy doing jwt_authn + local_ratelimit + JSON access log", "gateway", "envoy-job", 1.0),
    ("whole job : the specification's Express stack", "gateway", "express", 8.0),
    ("public route : Envoy bare", "gateway-public", "envoy-bare", 0.9),
    ("public route : Caddy bare", "gateway-public", "caddy", 1.4),
    ("one of 10,000 routes : one of 10", "gateway-routes", "gateway-ten", 0.95),
)
ROUND_TRIPS_GOAL = 0.1
ELSEWHERE = 0.05
"""Share of a core taken by others that makes a figure doubtful."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one peer."""

    load: Load
    cpu: float
    """Processor time of the peer, seconds."""
    redis_reads: int
    """How often Redis read from a socket: what was sent together counts once."""
    round_trips: int
    """What the gateway itself counts; 0 for the others."""
    peer_core: float
    """Share of the round in which the core of the peer was busy, whoever used it; 0-1."""
    load_core: float
    others: float
    """Share of either core, the larger, that nothing of the measurement took: other processes or the hypervisor."""

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.load.requests / self.load.duration


@dataclass(slots=True)
class Row:
    """All rounds of one peer."""

    peer: Peer
    version: str = ""
    missing: str = ""
    """Why it was not measured, or why its figures must not be used; "" when all is well."""
    samples: list[Sample] = field(default_factory=list)

    def median(self, of: Callable[[Sample], float]) -> float:
        """The median over the rounds."""
        return median(map(of, self.samples))


Rows = Mapping[str, Row]


def ratios(rows: Rows, name: str, to: str) -> list[float]:
    """Requests/s of one row by those of another, round by round; empty when one of them was not measured."""
    ours, theirs = rows.get(name), rows.get(to)
    if ours is None or theirs is None or ours.missing or theirs.missing:
        return []
    return [mine.rate / other.rate for mine, other in zip(ours.samples, theirs.samples, strict=False)]


def _ratio(values: Sequence[float]) -> str:
    if not values:
        return "-"
    return f"{median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def table(rows: Rows) -> list[str]:
    """The lines of the table."""
    lines = [
        "| | requests/s | to Envoy (lowest-highest round) | p50 ms | p99 ms | CPU us/request | Redis reads/request "
        f"| core {PEER_CORE} busy | core {LOAD_CORE} busy |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows.values():
        if row.missing:
            lines.append(f"| {row.peer.label} | not measured: {row.missing} |" + " |" * 7)
            continue
        redis = row.median(lambda sample: sample.redis_reads / sample.load.requests)
        cells = (
            row.peer.label,
            f"{row.median(lambda sample: sample.rate):,.0f}",
            _ratio(ratios(rows, row.peer.name, MATCH[row.peer.job])),
            f"{row.median(lambda sample: sample.load.p50) * 1e3:.2f}",
            f"{row.median(lambda sample: sample.load.p99) * 1e3:.2f}",
            f"{row.median(lambda sample: sample.cpu / sample.load.requests) * 1e6:.1f}",
            f"{redis:.3f}" if redis > 0.0005 else "0",
            f"{row.median(lambda sample: sample.peer_core):.0%}",
            f"{row.median(lambda sample: sample.load_core):.0%}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def doubts(rows: Rows) -> list[str]:
    """What speaks against the figures: failed requests, a busy machine, load that was the bottleneck."""
    said = []
    for row in rows.values():
        if row.missing:
            continue
        refused = sum(sample.load.refused for sample in row.samples)
        broken = sum(sample.load.broken for sample in row.samples)
        if refused or broken:
            said.append(f"{row.peer.label}: {refused} answers were not 2xx, {broken} connections failed.")
        if (others := row.median(lambda sample: sample.others)) > ELSEWHERE:
            said.append(f"{row.peer.label}: others took {others:.0%} of a core.")
        if row.median(lambda sample: sample.peer_core) < 0.9:
            said.append(f"{row.peer.label}: core {PEER_CORE} had time left, so the load was the limit, not the peer.")
    return said or ["None: every answer was 2xx, no other process took a core, the peers were the limit."]


def goals(rows: Rows) -> list[str]:
    """The goals that this table can judge."""
    lines = ["| goal | at least | measured (lowest-highest round) | |", "|---|--:|--:|---|"]
    for text, name, to, goal in GOALS:
        values = ratios(rows, name, to)
        verdict = ("met" if median(values) >= goal else "not met") if values else "not measured"
        lines.append(f"| {text} | {goal:g}x | {_ratio(values)} | {verdict} |")
    row = rows.get("gateway")
    if row is not None and not row.missing:
        trips = row.median(lambda sample: sample.round_trips / sample.load.requests)
        verdict = "met" if trips <= ROUND_TRIPS_GOAL else "not met"
        lines.append(f"| Redis round trips a request | at most {ROUND_TRIPS_GOAL} | {trips:.3f} | {verdict} |")
    return lines


def notes(rows: Rows) -> list[str]:
    """What each row did, and in which version."""
    return [f"- {row.peer.label} ({row.version or 'not measured'}): {row.peer.note}" for row in rows.values()]


def document(rows: Rows, facts: Sequence[str]) -> str:
    """The whole of RESULTS.md."""
    lines = ["# What was measured", "", "Written by `make bench`; how: [docs/benchmarks.md](../docs/benchmarks.md)."]
    lines += ["", *(f"- {fact}" for fact in facts)]
    lines += ["", *table(rows), "", "## The goals", "", *goals(rows)]
    lines += ["", "## What each row does", "", *notes(rows)]
    lines += ["", "## Doubts", "", *(f"- {text}" for text in doubts(rows)), ""]
    return "\n".join(lines)
