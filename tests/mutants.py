"""Mutation testing: small changes of the code, each of which a test should find.

Each module is changed in a copy of the tree, and held against the test module that mirrors it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
GOAL = 0.1
"""The share of changes that may survive."""
TIMEOUT = 20.0
"""Seconds that the tests of one module may take with a change in it; one that makes them hang is found."""
SESSION = "mutants.sqlite"
SETTINGS = """[cosmic-ray]
module-path = {module}
timeout = {timeout}
excluded-modules = []
test-command = {command}

[cosmic-ray.distributor]
name = "local"

[cosmic-ray.filters.operators-filter]
exclude-operators = ["core/ReplaceBinaryOperator_BitOr_.*"]
"""
"""``|`` mostly stands in annotations, which nothing evaluates."""


class Mutant(NamedTuple):
    """One change, and whether a test found it."""

    line: int
    change: str
    found: bool


def mutants(module: Path, tree: Path) -> Iterator[Mutant]:
    """Every change of ``module``, a path below ``tree``, tried.

    :raises subprocess.CalledProcessError: when the tests do not pass without any.
    """
    tests = f"tests.{module.parent.name}.test_{module.stem}"
    command = [sys.executable, "-m", "twisted.trial", "--temp-directory", "_trial_temp_mutants", "-x", tests]
    subprocess.run(command, cwd=tree, check=True, capture_output=True)
    values = {"module": str(module), "timeout": TIMEOUT, "command": " ".join(command)}
    (tree / "mutants.toml").write_text(SETTINGS.format(**{name: json.dumps(value) for name, value in values.items()}))
    (tree / SESSION).unlink(missing_ok=True)
    for step in (
        ("cosmic-ray", "init", "mutants.toml", SESSION),
        ("cr-filter-operators", SESSION, "mutants.toml"),
        ("cosmic-ray", "exec", "mutants.toml", SESSION),
    ):
        subprocess.run([str(BIN / step[0]), *step[1:]], cwd=tree, check=True, capture_output=True)
    dump = subprocess.run([str(BIN / "cosmic-ray"), "dump", SESSION], cwd=tree, check=True, capture_output=True)
    for line in dump.stdout.splitlines():
        work, result = json.loads(line)
        if result["worker_outcome"] == "normal":
            mutant = _mutant(work["mutations"][0], result)
            if not mutant.change.startswith("if TYPE_CHECKING"):  # it is never true where tests run
                yield mutant


def _mutant(mutation: dict[str, Any], result: dict[str, Any]) -> Mutant:
    diff = [line for line in result["diff"].splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    change = " -> ".join(line[1:].strip() for line in diff)
    return Mutant(mutation["start_pos"][0], change, result["test_outcome"] != "survived")


def main(packages: list[str]) -> int:
    """Try all modules of the packages; 1 when more of the changes survive than may."""
    tried: list[Mutant] = []
    with tempfile.TemporaryDirectory() as copy:
        tree = Path(copy)
        archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x"], cwd=tree, input=archive, check=True)
        for package in packages:
            for module in sorted((tree / "gateway" / package).glob("*.py")):
                if module.name == "__init__.py":
                    continue
                some = list(mutants(module.relative_to(tree), tree))
                survived = [mutant for mutant in some if not mutant.found]
                print(f"{module.relative_to(tree)}: {len(some)} changes, {len(survived)} survived", flush=True)
                for mutant in survived:
                    print(f"    {mutant.line}: {mutant.change}")
                tried += some
    survivors = sum(not mutant.found for mutant in tried)
    print(f"{survivors} of {len(tried)} survived ({survivors / len(tried):.1%}; at most {GOAL:.0%} may)")
    return 1 if survivors > GOAL * len(tried) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["guards"]))
