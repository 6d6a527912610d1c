"""bench/RELIABILITY.md: a line for each goal, the newest measurement of each."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path

from bench.reliability.rows import Result

TABLE = Path(__file__).parents[1] / "RELIABILITY.md"
_HEAD = """\
# The reliability goals, measured

Written by `make reliability`; how: [docs/reliability.md](../docs/reliability.md#measured). A line is replaced when its
row is measured again.

| goal | measured | | when, commit, where |
|---|---|---|---|
"""


def merged(text: str, results: Iterable[Result], where: str) -> str:
    """The table with these results in place of older ones of the same goals.

    :param text: the table so far.
    :param where: when, at which commit and on what these were measured.
    """
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    lines = {line.split(" | ")[0][2:]: line for line in rows}
    lines.pop("goal", None)
    for result in results:
        verdict = "met" if result.met else "**not met**"
        lines[result.goal] = f"| {result.goal} | {result.measured} | {verdict} | {where} |"
    return _HEAD + "".join(f"{line}\n" for line in lines.values())


def place() -> str:
    """When, at which commit and on what it is measured."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip() or "unknown"
    return (
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M}, {commit}, {os.cpu_count()} CPUs, {platform.release()}"
    )


class Meter:
    """Watches who uses the CPUs from now on."""

    def __init__(self) -> None:
        self._began = _used()

    def others(self) -> float:
        """The share of all CPUs that neither idled nor was this program's; what has not ended yet counts as others'."""
        busy, own, total = (now - before for now, before in zip(_used(), self._began, strict=True))
        return max(0.0, busy - own) / total


def _used() -> tuple[float, float, float]:
    """Seconds of the CPUs so far: busy, for this program and its children, and all (proc(5), /proc/stat)."""
    numbers = [int(number) / os.sysconf("SC_CLK_TCK") for number in Path("/proc/stat").read_text().split()[1:9]]
    own = sum(os.times()[:4])
    return sum(numbers) - numbers[3] - numbers[4], own, sum(numbers)


def write(results: Iterable[Result], where: str) -> None:
    """Bring the file up to date."""
    TABLE.write_text(merged(TABLE.read_text() if TABLE.exists() else "", results, where))
