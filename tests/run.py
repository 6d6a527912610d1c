"""Runs every check and test, and ends with their real counts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent


def main() -> int:
    """Exit status 0 when everything passed and something ran."""
    passed = failed = 0
    for check in (["ruff", "check", "."],):
        print("==", *check, flush=True)
        good = subprocess.run([BIN / check[0], *check[1:]]).returncode == 0
        passed, failed = passed + good, failed + (not good)
    print("== trial tests", flush=True)
    trial = subprocess.run(
        [sys.executable, "-W", "error", "-m", "coverage", "run", "-m", "twisted.trial", "tests"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    print(trial.stdout)
    ran = int((re.findall(r"^Ran (\d+) tests", trial.stdout, re.M) or ["0"])[-1])
    bad = sum(map(int, re.findall(r"(?:failures|errors|skips)=(\d+)", trial.stdout)))
    if not ran or (trial.returncode and not bad):
        bad = max(bad, 1)
    passed, failed = passed + max(ran - bad, 0), failed + bad
    subprocess.run([sys.executable, "-m", "coverage", "report", "--skip-covered"])
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
