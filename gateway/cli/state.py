"""``smartgate state``: bans, revocations and API keys are saved to a file, and written back from one."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from errno import EINVAL
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import gatherResults

from gateway.cli.saved import KINDS, Record, counted, dump, load, merged, parsed
from gateway.cli.shared import Told, UsageError, with_records
from gateway.config import Settings
from gateway.interfaces import IRecords

STREAM: Final = "-"
"""The file that stands for standard output, or input."""
PAGE: Final = 100
"""Records that are on their way to Redis at a time: each is to be written within a second."""


def export(chosen: argparse.Namespace, settings: Settings) -> str:
    """Write all records down, readable by their owner alone, and in one step: no reader sees half of them.

    :raises UsageError: when Redis cannot be reached, or the file not be written.
    """

    async def look(_: IRecords, told: Told) -> list[Record]:
        return list(_heeded(told).values())

    records = with_records(settings, tuple(KINDS), look)
    document = dump(records, time.time())
    if chosen.file == STREAM:
        return document
    try:
        _write(Path(chosen.file), document + "\n")
    except OSError as error:
        raise UsageError(f"{chosen.file}: {error.strerror or error}") from None
    return f"Saved to {chosen.file}: {counted(records)}"


def restore(chosen: argparse.Namespace, settings: Settings) -> str:
    """Write back what has not ended, and is not there or ends sooner.

    :raises UsageError: when the file is not right, which changes nothing, or when Redis cannot be reached.
    """
    try:
        saved = load(_read(chosen.file))
    except OSError as error:
        raise UsageError(f"{chosen.file}: {error.strerror or error}") from None
    except ValueError as error:  # UnicodeDecodeError is one, too
        raise UsageError(f"{chosen.file}: {error}") from None
    now = time.time()
    living = [record for record in saved if record.end > now]

    async def write(records: IRecords, told: Told) -> list[Record]:
        there = _heeded(told)
        missing = [new for record in living if (new := merged(there.get(record.key), record)) is not None]
        for first in range(0, 0 if chosen.check else len(missing), PAGE):
            page = missing[first : first + PAGE]
            writing = [records.extend(key, value, _left(until)) for key, value, until in page]
            await gatherResults(writing, consumeErrors=True).addErrback(_first)
        return missing

    written = with_records(settings, tuple(KINDS), write)
    return (
        f"{'Would be written' if chosen.check else 'Written'}: {counted(written)}; "
        f"there already: {len(living) - len(written)}; ended meanwhile: {len(saved) - len(living)}"
    )


def _heeded(told: Told) -> dict[str, Record]:
    """The records that gateways heed: what others wrote below the same prefixes may be anything."""
    found = {}
    for key, (value, end) in told.items():
        item = {"key": key, "value": value, "until": end}
        with contextlib.suppress(ValueError):
            found[key] = parsed(item)
    return found


def _first(failure: Any) -> None:
    """What the first of several failed with."""
    raise failure.value.subFailure.value


def _left(until: float | None) -> float | None:
    return None if until is None else max(0.0, until - time.time())


def _read(file: str) -> str:
    return sys.stdin.read() if file == STREAM else Path(file).read_text("utf-8")


def _write(path: Path, text: str) -> None:
    """Replace ``path``, or what it is a link to, in one step, by a file that is on the disk.

    :raises OSError: when it cannot; a device or a pipe is left as it is.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise OSError(EINVAL, "is no regular file; without FILE it goes to standard output")
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # with mode 0600
    try:
        with open(handle, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(handle)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def plant(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add these commands to the parser."""
    group = commands.add_parser("state", help="save bans, revocations and API keys to a file, and write them back")
    actions = group.add_subparsers(required=True, metavar="ACTION")
    exporting = actions.add_parser("export", parents=[common], help="save them; counters are not saved")
    exporting.set_defaults(command=export)
    importing = actions.add_parser(
        "import", parents=[common], help="write back what is missing; nothing that is there is shortened or removed"
    )
    importing.set_defaults(command=restore)
    importing.add_argument(
        "--check", action="store_true", help="read the file, say what would be written, and write nothing"
    )
    exporting.add_argument("file", nargs="?", default=STREAM, metavar="FILE", help="else standard output")
    importing.add_argument("file", metavar="FILE", help="- is standard input")
