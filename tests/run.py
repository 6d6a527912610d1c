"""Runs the checks and tests, and ends with their real counts: ``python -m tests.run [static] [unit] ...``."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PYTHON = [sys.executable, "-W", "error", "-m"]
DEADLINE = 1200.0
"""Seconds after which a suite that does not end is ended; more than twice what the slowest takes."""


NO_NODE = "node and npm are not both on PATH: not compared with the Express stack (apt install npm)"
"""The one reason for which a test may be skipped: nothing of the gateway needs node."""


class Counts(NamedTuple):
    """How many passed and failed, and how many were not run for want of node; any other skipped test failed."""

    passed: int = 0
    failed: int = 0
    without_node: int = 0

    def __add__(self, other: object) -> Counts:
        """The sum of both, part by part."""
        if not isinstance(other, Counts):
            return NotImplemented
        return Counts(*map(sum, zip(self, other, strict=True)))


def run(title: str, command: list[str]) -> tuple[int, str]:
    """Run one command, showing what it writes as it comes, and return its exit status and all it wrote.

    It has a session of its own, so whatever it left running ends with it, at ``DEADLINE`` at the latest. It keeps
    bytecode, whatever is said of that outside: hundreds of gateways start, and each would compile itself first.
    """
    print(f"== {title}", flush=True)
    began, pieces = time.monotonic(), []
    child = subprocess.Popen(
        command,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert child.stdout is not None
    signal.signal(signal.SIGALRM, lambda *_: end(child.pid))
    signal.setitimer(signal.ITIMER_REAL, DEADLINE)
    try:
        while piece := os.read(child.stdout.fileno(), 65536):
            pieces.append(piece)
            sys.stdout.buffer.write(piece)
            sys.stdout.flush()
        status = child.wait()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        end(child.pid)
    print(f"-- {title}: {'ok' if status == 0 else f'FAILED ({status})'}, {time.monotonic() - began:.1f} s", flush=True)
    return status, b"".join(pieces).decode(errors="replace")


def end(session: int) -> None:
    """End every process of a session, if there are any."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(session, signal.SIGKILL)


def check(title: str, command: list[str]) -> Counts:
    """One command that passes or fails as a whole."""
    status, _ = run(title, command)
    return Counts(failed=1) if status else Counts(passed=1)


def tests(title: str, command: list[str]) -> Counts:
    """One run of trial, counted by its own summary."""
    return summary(*run(title, command))


def summary(status: int, output: str) -> Counts:
    """What trial's last line says, never better than its exit status.

    :param output: all that trial wrote; no summary, or one of no tests at all, is a failure.
    """
    lines = re.findall(r"^(?:PASSED|FAILED)(?: \((.*)\))?$", output, re.M)
    if not lines:
        return Counts(failed=1)
    counted = {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", lines[-1])}
    passed = counted.pop("successes", 0)
    excused = re.search(rf"^\[SKIPPED\]\n{re.escape(NO_NODE)}\n\n((?:tests\.\S+\n)+)", output, re.M)
    without_node = excused[1].count("\n") if excused else 0
    failed = sum(counted.values()) - without_node
    if not failed and (status or not passed):
        failed = 1
    return Counts(passed, failed, without_node)


def static() -> Counts:
    """The checks that run nothing of the gateway."""
    return (
        check("ruff check", [str(BIN / "ruff"), "check", "."])
        + check("ruff format", [str(BIN / "ruff"), "format", "--check", "."])
        + check("mypy", [str(BIN / "mypy")])
        + check("import-linter", [str(BIN / "lint-imports")])
    )


def unit() -> Counts:
    """Everything on in-memory transports and a Clock, under coverage, with its floor."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if not {"integration", "faults", "packages", "systemd", "topology"} & set(path.parts)
    ]
    trial = ["twisted.trial", "--temp-directory", "_trial_temp_unit", *modules]
    counts = tests("unit tests", [*PYTHON, "coverage", "run", "-m", *trial])
    return counts + check("branch coverage", [*PYTHON, "coverage", "report"])


def integration() -> Counts:
    """Real processes on loopback, a real Valkey or Redis, and the wheel."""
    return tests(
        "integration tests",
        [*PYTHON, "twisted.trial", "--temp-directory", "_trial_temp_integration", "tests.integration"],
    )


def faults() -> Counts:
    """Real processes that are killed, hang and break under a steady load."""
    return tests("fault tests", [*PYTHON, "twisted.trial", "--temp-directory", "_trial_temp_faults", "tests.faults"])


def packages() -> Counts:
    """The Debian package and the container image, where there is what they need; five minutes."""
    return on_debian("packages", "lintian", "buildah")


def systemd() -> Counts:
    """The service, in a Debian 12 that boots, where there is what that needs; four minutes."""
    return on_debian("systemd", "systemd-nspawn", "nsenter")


def on_debian(name: str, *tools: str) -> Counts:
    """A suite that needs root, a tree of Debian 12 and these tools; it says so where they are not."""
    from tests.packages.debian import missing

    if reason := missing(*tools):
        print(f"== {name}: NOT RUN: {reason}", flush=True)
        return Counts()
    tree = check("a tree of Debian 12", [*PYTHON, "tests.packages.debian"])
    return tree + tests(name, [*PYTHON, "twisted.trial", "--temp-directory", f"_trial_temp_{name}", f"tests.{name}"])


def topology() -> Counts:
    """Three gateways, balancers, Redis and Sentinel in network namespaces, where they can be made; three minutes."""
    from tests.topology.net import missing

    if reason := missing():
        print(f"== topology: NOT RUN: {reason}", flush=True)
        return Counts()
    trial = ["twisted.trial", "--temp-directory", "_trial_temp_topology", "tests.topology"]
    return tests("topology", [*PYTHON, *trial])


SUITES = {
    "static": static,
    "unit": unit,
    "integration": integration,
    "faults": faults,
    "packages": packages,
    "systemd": systemd,
    "topology": topology,
}
ALWAYS = ("static", "unit", "integration", "faults")
"""What runs when nothing is named."""


def main(names: list[str]) -> int:
    """Run the suites named, or those of ``ALWAYS``; exit status 0 when something ran and all of it passed."""
    if unknown := set(names) - set(SUITES):
        print(f"{', '.join(sorted(unknown))}: must be some of {', '.join(SUITES)}", file=sys.stderr)
        return 2
    counts = sum((SUITES[name]() for name in names or ALWAYS), Counts())
    if counts.without_node:
        print(f"{counts.without_node} not run: {NO_NODE}")
    print(f"{counts.passed} passed, {counts.failed} failed")
    return 1 if counts.failed or not counts.passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
