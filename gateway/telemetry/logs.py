"""The application's log: what twisted.logger is told, as lines for people on a terminal, and of JSON anywhere else."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO, cast

from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    textFileLogObserver,
)

LONGEST: Final = 8192
"""Characters of a message, and of a traceback, that are written."""


class LogFile:
    """A file that several processes append to, line by line; its rotation is for others, who say when to reopen it.

    :raises OSError: when it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)
        self._file = self._open()

    def write(self, text: str) -> None:
        """Append; what a full disk does not take is lost."""
        with contextlib.suppress(OSError):
            os.write(self._file, text.encode(errors="replace"))

    def flush(self) -> None:
        """Nothing is held back."""

    def reopen(self) -> None:
        """Go on in the file that has the name now; with the old one, if there can be none."""
        with contextlib.suppress(OSError):
            file = self._open()
            os.close(self._file)
            self._file = file

    def close(self) -> None:
        """Write no more."""
        os.close(self._file)

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


def observer(out: TextIO) -> ILogObserver:
    """Writes events of level info and above to ``out``."""
    terminal = getattr(out, "isatty", None)  # a LogFile has none
    lines = textFileLogObserver(out) if terminal is not None and terminal() else FileLogObserver(out, json_line)
    return FilteringLogObserver(lines, [LogLevelFilterPredicate(defaultLogLevel=LogLevel.info)])


def destination(twistd: Mapping[str, Any]) -> TextIO | None:
    """Where twistd was told to log: standard output or a file; None when it was told to log in a way of its own, or in
    one that it refuses.

    :param twistd: twistd's own options.
    """
    if twistd.get("syslog") or twistd.get("logger"):
        return None
    name = twistd.get("logfile")
    if twistd.get("nodaemon") and name in (None, "", "-"):
        return sys.stdout
    if name == "-":
        return None  # a daemon has no standard output
    return cast(TextIO, LogFile(name or "twistd.log"))  # it has write and flush


def json_line(event: LogEvent) -> str:
    """One event as a line of JSON: time, level, where it comes from, message, and the traceback of a failure."""
    when = datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds")
    level = event.get("log_level", LogLevel.info)
    line = {
        "time": when.replace("+00:00", "Z"),
        "level": level.name,
        "logger": event.get("log_namespace", ""),
        "message": formatEvent(event)[:LONGEST],
    }
    failure = event.get("log_failure")
    if failure is not None:
        line["traceback"] = failure.getTraceback()[-LONGEST:]
    return json.dumps(line) + "\n"
