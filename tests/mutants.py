"""Mutation testing: small changes of the code, each of which a test should find.

``python -m tests.mutants guards core/paths`` tries packages or modules of the gateway. Each module is held against the
test module that mirrors it and no other. cosmic-ray makes the changes and keeps what was found, below ``.cache/``: a
run that was interrupted goes on where it stopped, until the module or its tests change.

A process that has imported all but the gateway and its tests forks once for each change, so that a change costs what
its tests cost, not the start of Python and Twisted.
"""

from __future__ import annotations

import ast
import gc
import hashlib
import importlib
import importlib.abc
import importlib.util
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import IO, NamedTuple

from cosmic_ray.commands.init import init
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkResult

ROOT = Path(__file__).resolve().parents[1]
SESSIONS = ROOT / ".cache" / "mutants"
GOAL = 0.1
"""The share of a package's changes that may survive."""
PATIENCE = 3
"""How many times as much of the processor as without a change the tests may take, and seconds on top: a change that
makes them go on for ever is found."""
HANGS = 300.0
"""Seconds by the clock after which they are taken to wait for ever."""
MEMORY = 2 * 1024**3
"""Bytes of address space the tests may take: a change that makes them collect without end is found."""
SAME = ("core/ReplaceComparisonOperator_Is_Eq", "core/ReplaceComparisonOperator_IsNot_NotEq")
"""``is None`` as ``== None`` is no change: what is compared so here has no equality of its own."""
OWN = ("gateway", "tests", "__main__", "twisted.internet.reactor")
"""Modules that each fork imports anew; a reactor is for one process."""


class Count(NamedTuple):
    """How many changes were tried, and how many no test found."""

    tried: int = 0
    survived: int = 0

    def __str__(self) -> str:
        return f"{self.tried} mutants, {self.survived} survived ({self.survived / max(1, self.tried):.1%})"


class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module in a text instead of in its file."""

    def __init__(self, name: str, path: Path, source: str) -> None:
        self._name = name
        self._path = path
        self._source = source

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Only of the one module."""
        return importlib.util.spec_from_loader(name, self, origin=str(self._path)) if name == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        """Run the text."""
        exec(compile(self._source, self._path, "exec"), module.__dict__)


class Subject:
    """A module of the gateway, and the tests that have to find what is wrong with it."""

    def __init__(self, path: Path) -> None:
        self.path = path.relative_to(ROOT)
        self.name = ".".join(self.path.with_suffix("").parts)
        self.source = path.read_text()
        self._tests = f"tests.{path.parent.name}.test_{path.stem}"
        mirror = (ROOT / self._tests.replace(".", "/")).with_suffix(".py").read_bytes()
        self._digest = hashlib.sha256(self.source.encode() + mirror + Path(__file__).read_bytes()).hexdigest()[:16]
        self._limit = 600.0

    def tried(self) -> Iterator[tuple[MutationSpec, WorkResult]]:
        """Every change that counts, in the order of lines, and what became of it.

        :raises RuntimeError: when the tests do not pass without any change.
        """
        SESSIONS.mkdir(parents=True, exist_ok=True)
        session = SESSIONS / f"{self.name}.{self._digest}.sqlite"
        for older in SESSIONS.glob(f"{self.name}.*.sqlite"):
            if older != session:
                older.unlink()
        with use_db(str(session)) as database:
            self._prepare(database)
            if pending := database.pending_work_items:
                self._settle()
                for item in pending:
                    database.set_result(item.job_id, self._try(item.mutations[0]))
            done = [(item.mutations[0], result) for item, result in database.completed_work_items]
        counted = [each for each in done if each[1].worker_outcome == WorkerOutcome.NORMAL]
        yield from sorted(counted, key=lambda each: (each[0].start_pos, each[0].operator_name))

    def _prepare(self, database: WorkDB) -> None:
        """Write down what to try, unless an earlier run did, and leave out what is no change at all."""
        if not database.num_work_items:
            init([self.path], database, {})
        spans = [*_never_evaluated(self.source)]
        nothing = [
            item.job_id
            for item in database.pending_work_items
            for mutation in item.mutations
            if mutation.operator_name in SAME or any(start <= mutation.start_pos < end for start, end in spans)
        ]
        database.set_multiple_results(nothing, WorkResult(WorkerOutcome.SKIPPED))

    def _settle(self) -> None:
        """Run the tests without any change, learn how long they take, and import what they import of others."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with tempfile.TemporaryFile("w+") as names:
            if not self._fork(self.source, True, names):
                raise RuntimeError(f"{self._tests} fails without any change")
            names.seek(0)
            imported = names.read().split()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._limit = PATIENCE * (1 + after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        for name in imported:
            if not name.startswith(OWN):
                with suppress(ImportError):
                    importlib.import_module(name)
        gc.freeze()

    def _try(self, mutation: MutationSpec) -> WorkResult:
        changed = mutate_code(self.source, get_operator(mutation.operator_name)(), mutation.occurrence)
        before, after = self.source.splitlines(), changed.splitlines()
        lines = [f"{old.strip()} -> {new.strip()}" for old, new in zip(before, after, strict=False) if old != new]
        # What hypothesis generates takes long, and most changes are found without it.
        survived = all(self._fork(changed, generated) for generated in (False, True))
        outcome = TestOutcome.SURVIVED if survived else TestOutcome.KILLED
        return WorkResult(WorkerOutcome.NORMAL, test_outcome=outcome, diff=lines[0] if lines else "")

    def _fork(self, source: str, generated: bool, names: IO[str] | None = None) -> bool:
        """Whether the tests pass with this text as the module.

        :param generated: whether examples are generated.
        :param names: gets the names of all modules they imported.
        """
        child = os.fork()
        if not child:
            status = 1
            try:
                status = self._test(source, generated)
                if names is not None:
                    print(*sys.modules, file=names, flush=True)
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    def _test(self, source: str, generated: bool) -> int:
        """Run trial here, and return its exit status."""
        os.setsid()  # nobody's ^C but the parent's
        signal.setitimer(signal.ITIMER_REAL, HANGS)
        signal.setitimer(signal.ITIMER_PROF, self._limit)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        silence = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(silence, descriptor)
        sys.dont_write_bytecode = True
        sys.meta_path.insert(0, Changed(self.name, ROOT / self.path, source))
        from hypothesis import Phase, settings
        from twisted.scripts import trial

        phases = (Phase.explicit, Phase.generate) if generated else (Phase.explicit,)
        settings.register_profile("mutants", settings.default, phases=phases)  # none that looks for a simpler example
        settings.load_profile("mutants")
        sys.argv = ["trial", "--exitfirst", "--temp-directory", str(SESSIONS / "_trial_temp"), self._tests]
        try:
            trial.run()
        except SystemExit as end:
            return int(end.code or 0)
        return 1


def _never_evaluated(source: str) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """From where to where a module has annotations, and conditions that only a type checker finds true."""
    for node in ast.walk(ast.parse(source)):
        nodes: list[ast.expr | None] = []
        if isinstance(node, ast.AnnAssign | ast.arg):
            nodes = [node.annotation]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            nodes = [node.returns]
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            nodes = [node.test]
            yield (node.lineno, node.col_offset), (node.lineno, node.col_offset + 1)  # "if not" is put there
        for each in nodes:
            if each is not None and each.end_lineno is not None and each.end_col_offset is not None:
                yield (each.lineno, each.col_offset), (each.end_lineno, each.end_col_offset)


def try_module(path: Path) -> Count:
    """Try all changes of a module, and print those that survive."""
    tried = [*Subject(path).tried()]
    survivors = [(mutation, result) for mutation, result in tried if result.test_outcome == TestOutcome.SURVIVED]
    for mutation, result in survivors:
        print(f"    {path.name}:{mutation.start_pos[0]}: {result.diff}")
    count = Count(len(tried), len(survivors))
    print(f"{path.relative_to(ROOT)}: {count}", flush=True)
    return count


def main(names: list[str]) -> int:
    """Try what is named; 1 when more of the changes survive in one of it than may."""
    totals = {}
    for name in names:
        where = ROOT / "gateway" / name
        paths = [path for path in where.glob("*.py") if path.name != "__init__.py"] or [where.with_suffix(".py")]
        counts = [try_module(path) for path in sorted(paths, key=lambda path: path.stat().st_size)]
        totals[name] = Count(*map(sum, zip(*counts, strict=True)))
    for name, total in totals.items():
        print(f"{name}: {total}; at most {GOAL:.0%} may")
    return int(any(total.survived > GOAL * total.tried for total in totals.values()))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:] or ["guards"]))
    except KeyboardInterrupt:
        sys.exit("Interrupted; the next run goes on from here")
