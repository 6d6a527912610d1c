"""``make reliability``: measure the reliability goals, all or some, and write bench/RELIABILITY.md."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.reliability.rows import ROWS, Settings
from bench.reliability.table import Meter, place, write


def main(arguments: Sequence[str]) -> int:
    """Exit status 1 when a goal was not met."""
    parser = argparse.ArgumentParser(prog="python -m bench.reliability", description=__doc__)
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}; all but requests when none is named")
    parser.add_argument("--seconds", type=float, default=30, help="that a load lasts (default 30)")
    parser.add_argument("--requests", type=int, default=10_000_000, help="of the row of that name")
    parser.add_argument("--dry", action="store_true", help="write nothing but what is measured, on standard output")
    settings = parser.parse_args(arguments)
    unknown = set(settings.rows) - set(ROWS)
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}")
    met = True
    for name in settings.rows or [each for each in ROWS if each != "requests"]:
        print(f"{name}: {(ROWS[name].__doc__ or '').strip()}", file=sys.stderr, flush=True)
        meter = Meter()
        with tempfile.TemporaryDirectory(prefix="smartgate-reliability-") as directory:
            results = ROWS[name](Settings(settings.seconds, settings.requests, Path(directory)))
        print(f"{meter.others():.0%} of the CPUs taken by others", file=sys.stderr)
        for result in results:
            print(f"{'met' if result.met else 'NOT MET'}: {result.goal}: {result.measured}", flush=True)
            met = met and result.met
        if not settings.dry:
            write(results, f"{place()}; {meter.others():.0%} of them taken by others")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
