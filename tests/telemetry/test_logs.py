"""Tests of gateway.telemetry.logs."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import Logger, LogLevel, LogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from gateway.telemetry.logs import LONGEST, destination, json_line, observer


class Terminal(io.StringIO):
    """Somewhere a person looks."""

    def isatty(self) -> bool:
        return True


class BrokenError(Exception):
    """Cannot even say what it is."""

    def __str__(self) -> str:
        raise ValueError("no words")


def failure(error: Exception) -> Failure:
    """One that was raised, with its traceback."""
    try:
        raise error
    except Exception:
        return Failure()


class LogCase(SynchronousTestCase):
    """A logger whose only observer writes to ``out``."""

    def log_to(self, out: io.StringIO) -> Logger:
        self.out = out
        return Logger("gateway.test", observer=LogPublisher(observer(out)))

    def entries(self) -> list[dict[str, Any]]:
        """The lines: one JSON object each."""
        text = self.out.getvalue()
        self.assertTrue(text.isascii() and text.endswith("\n"))
        return [json.loads(line) for line in text.splitlines()]


class JsonTests(LogCase):
    """Lines for machines."""

    def test_members(self) -> None:
        """When, how bad, where from, and what."""
        self.out = io.StringIO()
        event = {"log_level": LogLevel.warn, "log_namespace": "gateway.test", "log_time": 1_700_000_000.25}
        observer(self.out)({"log_format": "Upstream {name} is away", "name": "core", **event})
        self.assertEqual(
            self.entries(),
            [
                {
                    "time": "2023-11-14T22:13:20.250Z",
                    "level": "warn",
                    "logger": "gateway.test",
                    "message": "Upstream core is away",
                }
            ],
        )

    def test_time_has_milliseconds(self) -> None:
        """Also at a full second, so that lines sort as text."""
        event = {"log_time": 1_700_000_000.0, "log_format": "On the dot"}
        self.assertEqual(json.loads(json_line(event))["time"], "2023-11-14T22:13:20.000Z")

    def test_failure(self) -> None:
        """The traceback is a member of the same line."""
        self.log_to(io.StringIO()).failure("Request {id} failed", failure(ZeroDivisionError("a\nb")), id="id-1")
        (entry,) = self.entries()
        self.assertEqual((entry["level"], entry["message"]), ("critical", "Request id-1 failed"))
        self.assertIn("ZeroDivisionError: a\nb", entry["traceback"])
        self.assertIn("test_logs.py", entry["traceback"])

    def test_failure_without_words(self) -> None:
        """An exception that cannot be printed does not take the line with it."""
        self.log_to(io.StringIO()).failure("Failed", failure(BrokenError()))
        self.assertIn("BrokenError", self.entries()[0]["traceback"])

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        """One event is one line, whatever is in it: line breaks, other separators, half surrogates."""
        self.log_to(io.StringIO()).info("{text}", text=text)
        self.assertEqual([entry["message"] for entry in self.entries()], [text[:LONGEST]])

    def test_broken_format(self) -> None:
        """An event that cannot be formatted says so in a line of its own."""
        self.log_to(io.StringIO()).info("{missing}", other=1)
        self.assertIn("missing", self.entries()[0]["message"])

    def test_long_texts(self) -> None:
        """The beginning of a message is kept, and the end of a traceback, where its cause stands."""
        self.log_to(io.StringIO()).failure("m" * 2 * LONGEST, failure(ValueError("first" + "x" * 2 * LONGEST + "last")))
        (entry,) = self.entries()
        self.assertEqual((entry["message"], len(entry["traceback"])), ("m" * LONGEST, LONGEST))
        self.assertTrue(entry["traceback"].rstrip().endswith("last"))

    def test_unknown_source(self) -> None:
        """An event with nothing but its time is a line too."""
        self.assertEqual(
            json.loads(json_line({"log_time": 0.0, "log_format": "hello"})),
            {"time": "1970-01-01T00:00:00.000Z", "level": "info", "logger": "", "message": "hello"},
        )


class LevelTests(LogCase):
    """What is worth a line."""

    def test_info_and_above(self) -> None:
        """Debugging is not, neither for people nor for machines."""
        for out in (io.StringIO(), Terminal()):
            logger = self.log_to(out)
            for level in LogLevel.iterconstants():
                logger.emit(level, "It is {name}", name=level.name)
            lines = out.getvalue().splitlines()
            self.assertEqual(len(lines), 4)
            for line, name in zip(lines, ("info", "warn", "error", "critical"), strict=True):
                self.assertIn(f"It is {name}", line)


class TextTests(LogCase):
    """Lines for people."""

    def test_on_a_terminal(self) -> None:
        """They are text, with the source and the level."""
        self.log_to(Terminal()).warn("Upstream {name} is away", name="core")
        self.assertTrue(self.out.getvalue().endswith(" [gateway.test#warn] Upstream core is away\n"))

    def test_failure(self) -> None:
        """Its traceback follows, line by line."""
        self.log_to(Terminal()).failure("Failed", failure(ZeroDivisionError("by zero")))
        self.assertIn("[gateway.test#critical] Failed\n", self.out.getvalue())
        self.assertIn("ZeroDivisionError: by zero\n", self.out.getvalue())


class DestinationTests(SynchronousTestCase):
    """Where twistd was told to log."""

    def test_foreground(self) -> None:
        """In the foreground without a file it is standard output."""
        for name in (None, "", "-"):
            self.assertIs(destination({"nodaemon": 1, "logfile": name}), sys.stdout)

    def test_own_ways(self) -> None:
        """twistd's syslog, and a logger somebody named, stay as they are."""
        self.assertIsNone(destination({"nodaemon": 1, "syslog": 1}))
        self.assertIsNone(destination({"nodaemon": 1, "logger": "some.logger", "logfile": "x"}))

    def test_daemon_without_standard_output(self) -> None:
        """A daemon told to log there is left to twistd, which refuses to start it."""
        self.assertIsNone(destination({"nodaemon": 0, "logfile": "-"}))

    def test_file(self) -> None:
        """A file is written, and is no terminal: its lines are JSON."""
        path = Path(self.mktemp())
        for nodaemon in (0, 1):
            out = destination({"nodaemon": nodaemon, "logfile": str(path)})
            assert out is not None
            Logger("gateway.test", observer=LogPublisher(observer(out))).info("h\xe9 {nodaemon}", nodaemon=nodaemon)
            out.close()
        self.assertEqual(
            [json.loads(line)["message"] for line in path.read_text().splitlines()], ["h\xe9 0", "h\xe9 1"]
        )

    def test_daemon(self) -> None:
        """A daemon that was told nothing logs to twistd.log, as twistd does."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.addCleanup(os.chdir, Path.cwd())
        os.chdir(folder)
        out = destination({})
        assert out is not None
        out.close()
        self.assertTrue((folder / "twistd.log").exists())
