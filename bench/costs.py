"""What was measured of a gateway's costs, kept in capacity.json, and the tables of docs/capacity.md made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from bench import plan

FIGURES = Path(__file__).with_name("capacity.json")
DOCUMENT = Path(__file__).parents[1] / "docs/capacity.md"
BEGIN = "<!-- {name}: from bench/capacity.json, by python -m bench.capacity -->\n"
END = "\n<!-- until here -->"
HELD, SOCKETS, KEYS = 9_000, 5_000, 20_000
"""How many connections, WebSockets and keys of each kind are measured; 20,000 open files, which many containers have,
are enough for 9,500 connections."""
KIB = 1024

ROWS: Final = {
    "public_us": ("a request of a public route", "us CPU", 1.0),
    "whole_us": ("a request with the whole job", "us CPU", 1.0),
    "public_quiet_us": ("the first, when no other is under way", "us CPU", 1.0),
    "whole_quiet_us": ("the second, when no other is under way", "us CPU", 1.0),
    "spread_us": ("the second, with two Redis servers", "us CPU", 1.0),
    "tls_us": ("a request of a public route over TLS", "us CPU", 1.0),
    "h2_us": ("the same over HTTP/2", "us CPU", 1.0),
    "connection_us": ("a new connection", "us CPU", 1.0),
    "handshake_ecdsa_us": ("a TLS handshake, ECDSA P-256", "us CPU", 1.0),
    "handshake_rsa_us": ("a TLS handshake, RSA 2048", "us CPU", 1.0),
    "redis_us": ("Redis, a request with the whole job", "us CPU", 1.0),
    "redis_one_us": ("Redis, the same when each has a round trip of its own, 50 at a time", "us CPU", 1.0),
    "redis_quiet_us": ("Redis, the same, one at a time", "us CPU", 1.0),
    "redis_trips": ("round trips to Redis, a request", "", 1.0),
    "redis_bytes": ("bytes to and from Redis, a request with a round trip of its own", "bytes", 1.0),
    "counter_bytes": ("Redis, a client that is counted", "bytes", 1.0),
    "revocation_bytes": ("Redis, a revoked token", "bytes", 1.0),
    "ban_bytes": ("Redis, a ban", "bytes", 1.0),
    "known_revocation_bytes": ("each worker, a revoked token", "bytes", 1.0),
    "known_ban_bytes": ("each worker, a ban", "bytes", 1.0),
    "supervisor_bytes": ("the supervisor", "MiB", KIB**2),
    "worker_bytes": ("a worker", "MiB", KIB**2),
    "worker_own_bytes": ("a worker, without what it shares with others", "MiB", KIB**2),
    "connection_bytes": (f"an idle keep-alive connection, of {HELD:,}", "KiB", KIB),
    "connection_kernel_bytes": ("the kernel, for it", "KiB", KIB),
    "connections_busy": (f"{HELD:,} of them, of a core", "%", 0.01),
    "websocket_bytes": (f"an idle bridged WebSocket, of {SOCKETS:,}", "KiB", KIB),
    "websocket_kernel_bytes": ("the kernel, for it", "KiB", KIB),
    "websockets_busy": (f"{SOCKETS:,} of them, of a core", "%", 0.01),
    "log_bytes": ("a line of the access log, whole job", "bytes", 1.0),
    "answer_bytes": ("the head of an answer, whole job", "bytes", 1.0),
}
"""Each figure: what costs that, in which unit, and how much of the figure's own one unit is."""


GOALS: Final = (
    (f"{HELD:,} idle keep-alive connections: below 6 KiB each", "connection_bytes", KIB, 6),
    (f"{SOCKETS:,} idle bridged WebSockets: below 24 KiB each", "websocket_bytes", KIB, 24),
    ("round trips to Redis a request, 32 at a time: below 0.1", "redis_trips", 1, 0.1),
)
"""What the project has set itself, the figure that shows it, its unit, and what it must be below."""


def costs(figures: dict[str, float]) -> list[str]:
    """The lines of the table of what was measured."""
    lines = ["| | costs |", "|---|--:|"]
    for name, (what, unit, size) in ROWS.items():
        value = figures[name] / size
        text = f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"
        lines.append(f"| {what} | {text}{unit and ' '}{unit} |")
    return lines


def goals(figures: dict[str, float]) -> list[str]:
    """The lines of the table of how far the goals are."""
    lines = ["| goal | measured | |", "|---|--:|---|"]
    for text, name, size, most in GOALS:
        value = figures[name] / size
        lines.append(f"| {text} | {value:.2g} | {'met' if value < most else 'not met'} |")
    return lines


def updated(document: str, kept: dict[str, Any]) -> str:
    """docs/capacity.md with what stands between the marks replaced.

    :raises ValueError: when a mark is missing.
    """
    figures = kept["figures"]
    tables = {"costs": costs(figures), "goals": goals(figures), "plan": plan.table(figures)}
    tables["costs"] += ["", "; ".join(kept["facts"]) + "."]
    for name, lines in tables.items():
        before, begin, rest = document.partition(BEGIN.format(name=name))
        _, end, after = rest.partition(END)
        if not begin or not end:
            raise ValueError(f"there is no {BEGIN.format(name=name).strip()} ... {END.strip()}")
        document = before + begin + "\n".join(lines) + end + after
    return document


def update() -> None:
    """Bring docs/capacity.md up to date."""
    DOCUMENT.write_text(updated(DOCUMENT.read_text(), json.loads(FIGURES.read_text())))
