"""Tests of gateway.telemetry.access_log, on real files."""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from select import PIPE_BUF
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import Logger, LoggingFile
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.errors import NotFound
from gateway.core.tokens import Claims
from gateway.http.request import Request
from gateway.telemetry.access_log import BATCH_LINES, BATCH_SECONDS, AccessLog
from tests.wire import Client

ENDED = 1_700_000_000.25


def finished(**known: Any) -> Request:
    """A request that is over, as simple as they come, but for what is ``known`` of it."""
    request = Request(None, b"GET", b"/", b"HTTP/1.1", [], {}, frozenset())
    for name, value in ({"id": "id-1", "remote": "192.0.2.1", "status": 200, "received": ENDED} | known).items():
        setattr(request, name, value)
    return request


class AccessLogCase(SynchronousTestCase):
    """A log in a file of its own."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.path = Path(self.mktemp())
        self.log = AccessLog(str(self.path), self.clock)

    def entries(self) -> list[dict[str, Any]]:
        """What the file has: one JSON object a line, nothing else."""
        *lines, rest = self.path.read_bytes().split(b"\n")
        self.assertEqual(rest, b"")
        return [json.loads(line) for line in lines]

    def entry(self, **known: Any) -> dict[str, Any]:
        """The line of one request."""
        self.log.record(finished(**known), ENDED)
        self.log.flush()
        return self.entries()[-1]


class LineTests(AccessLogCase):
    """What a line tells."""

    def test_every_member(self) -> None:
        """A proxied request of a user: who, what, when, how much, how long, through whom."""
        request = finished(
            method=b"POST",
            path=b"/api/users/17",
            route_name="/api/users",
            status=201,
            sent=512,
            received=ENDED - 0.1234,
            upstream="http://127.0.0.1:3002",
            upstream_time=0.0456,
            claims=Claims("ann", "user", "id-9", 0.0, 1e10),
            role="user",
        )
        self.log.record(request, ENDED)
        self.log.flush()
        self.assertEqual(
            self.entries(),
            [
                {
                    "time": "2023-11-14T22:13:20.250Z",
                    "requestId": "id-1",
                    "client": "192.0.2.1",
                    "method": "POST",
                    "path": "/api/users/17",
                    "route": "/api/users",
                    "status": 201,
                    "bytes": 512,
                    "durationMs": 123.4,
                    "upstream": "http://127.0.0.1:3002",
                    "upstreamMs": 45.6,
                    "user": "ann",
                    "role": "user",
                    "decidedBy": "",
                    "complete": True,
                }
            ],
        )

    def test_a_refused_guest(self) -> None:
        """No user, no role, no instance; but who refused."""
        entry = self.entry(status=429, decided_by="admit")
        self.assertEqual([entry[name] for name in ("user", "role", "upstream", "upstreamMs")], [None, None, "", None])
        self.assertEqual((entry["status"], entry["decidedBy"]), (429, "admit"))

    def test_incomplete_answers(self) -> None:
        """A client that left, and an answer that was cut, are told from whole answers."""
        self.assertFalse(self.entry(gone=True)["complete"])
        self.assertFalse(self.entry(incomplete=True)["complete"])

    def test_more_members(self) -> None:
        """A leaf can add its own, as the WebSocket bridge does."""
        entry = self.entry(log_more=',"event":"close","received":7,"closeCode":null')
        self.assertEqual((entry["event"], entry["received"], entry["closeCode"]), ("close", 7, None))

    def test_time(self) -> None:
        """Milliseconds are cut, not rounded up into a second that has not come; the second moves on."""
        for ended in (ENDED, 1_700_000_000.9999, 1_700_000_001.0):
            self.log.record(finished(), ended)
        self.log.flush()
        self.assertEqual([entry["time"][17:] for entry in self.entries()], ["20.250Z", "20.999Z", "21.000Z"])


class HostileTests(AccessLogCase):
    """Whatever a client sends, a line stays a line."""

    @given(st.text(), st.binary())
    def test_any_text(self, text: str, data: bytes) -> None:
        """Every text comes back from the line as it was, and bytes as their Latin-1."""
        entry = self.entry(
            id=text,
            remote=text,
            route_name=text,
            upstream=text,
            role=text,
            claims=Claims(text, text, "", 0.0, 1.0),
            method=data,
            path=data,
        )
        for name in ("requestId", "client", "route", "upstream", "user"):
            self.assertEqual(entry[name], text, name)
        self.assertEqual(entry["role"], text or None)
        self.assertEqual((entry["method"], entry["path"]), (data.decode("latin-1"),) * 2)

    def test_forged_lines(self) -> None:
        """Quotes, line breaks, terminal escapes and half surrogates are all escaped, into plain ASCII."""
        hostile = '","status":200}\r\n{"forged":"\x1b[2J\x85\u2028\ud800'
        before = len(self.path.read_bytes())
        for name in ("id", "remote", "route_name", "upstream"):
            entry = self.entry(**{name: hostile})
            self.assertIn(hostile, entry.values())
            self.assertNotIn("forged", entry)
        written = self.path.read_bytes()[before:]
        self.assertEqual(written.count(b"\n"), 4)
        self.assertTrue(all(byte == 10 or 32 <= byte < 127 for byte in written))


class PrivateTests(AccessLogCase):
    """What must be in no log."""

    def logged_path(self, target: str) -> str:
        """The path in the line of a request with this target."""
        client = Client(None, self.nowhere)  # type: ignore[arg-type]
        client.ask("Authorization: Bearer hidden", "Cookie: a=hidden", path=target)
        self.log.record(client.over[0], ENDED)
        self.log.flush()
        self.assertNotIn("hidden", self.path.read_text())
        path: str = self.entries()[-1]["path"]
        return path

    def nowhere(self, path: bytes) -> Any:
        raise NotFound

    def test_query(self) -> None:
        """Neither the query nor the fields are written, only the path that was matched."""
        self.assertEqual(self.logged_path("/a/../b?token=hidden"), "/b")
        self.assertEqual(self.logged_path("http://a.example/c?token=hidden"), "/c")

    def test_refused_targets(self) -> None:
        """Of a target that cannot be understood neither query, nor fragment, nor password."""
        self.assertEqual(self.logged_path("/%zz?token=hidden"), "/%zz")
        self.assertEqual(self.logged_path("/a#token=hidden"), "/a")
        self.assertEqual(self.logged_path("http://ann:hidden@a.example/b?c"), "http://a.example/b")
        self.assertEqual(self.logged_path("/a@b/%zz"), "/a@b/%zz")


class BatchTests(AccessLogCase):
    """When lines are written."""

    def test_after_a_while(self) -> None:
        """Lines wait for others, but not for long; nothing waits where nothing is to be written."""
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.log.record(finished(), ENDED)
        self.clock.advance(BATCH_SECONDS / 2)
        self.log.record(finished(), ENDED)
        self.assertEqual(self.entries(), [])
        self.clock.advance(BATCH_SECONDS / 2)
        self.assertEqual(len(self.entries()), 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_when_there_are_many(self) -> None:
        """A full batch does not wait for the clock, and leaves no call behind."""
        for _ in range(BATCH_LINES):
            self.assertEqual(self.entries(), [])
            self.log.record(finished(), ENDED)
        self.assertEqual((len(self.entries()), self.clock.getDelayedCalls()), (BATCH_LINES, []))

    def test_when_it_is_closed(self) -> None:
        """What has gathered is written at shutdown."""
        self.log.record(finished(), ENDED)
        self.log.close()
        self.assertEqual((len(self.entries()), self.clock.getDelayedCalls()), (1, []))

    def test_in_order(self) -> None:
        """Lines stand in the order in which requests ended, behind what the file had."""
        for number in range(3):
            AccessLog(str(self.path), self.clock).record(finished(id=f"id-{number}"), ENDED)
            self.clock.advance(1)
        self.assertEqual([entry["requestId"] for entry in self.entries()], ["id-0", "id-1", "id-2"])

    def test_no_log(self) -> None:
        """An empty path is no file, no memory and no clock."""
        log = AccessLog("", self.clock)
        log.record(finished(), ENDED)
        log.reopen()
        log.close()
        self.assertEqual((self.clock.getDelayedCalls(), log.dropped), ([], 0))

    def test_standard_output(self) -> None:
        """``-`` is where containers look."""
        with self.path.open("w") as out:
            self.patch(sys, "__stdout__", out)
            self.patch(sys, "stdout", LoggingFile(Logger()))  # as twistd has it in a worker
            log = AccessLog("-", self.clock)
            log.record(finished(), ENDED)
            log.close()
        self.assertEqual(len(self.entries()), 1)


class FileTests(AccessLogCase):
    """The file goes away, or gets full."""

    def test_standard_output_of_several(self) -> None:
        """Only whole lines are written there at once, few enough that no other worker's line comes between."""
        pieces: list[bytes] = []

        def write(_: int, data: bytes) -> int:
            pieces.append(data)
            return len(data)

        self.patch(os, "write", write)
        with open(self.path, "w") as out:
            self.patch(sys, "stdout", out)
            log = AccessLog("-", self.clock)
            for number in range(40):
                log.record(finished(path=b"/" + b"x" * (PIPE_BUF if number == 20 else 100)), ENDED)
            log.flush()
        self.assertTrue(all(piece.endswith(b"\n") for piece in pieces))
        self.assertEqual([piece.count(b"\n") for piece in pieces if len(piece) > PIPE_BUF], [1])
        self.assertEqual(b"".join(pieces).count(b"\n"), 40)
        self.assertLess(len(pieces), 15)

    def test_rotation(self) -> None:
        """What came before it belongs to the old file, what comes after to the new one; none is lost."""
        self.log.record(finished(id="old"), ENDED)
        old = self.path.rename(f"{self.path}.1")
        self.log.reopen()
        self.log.record(finished(id="new"), ENDED)
        self.log.close()
        self.assertEqual([entry["requestId"] for entry in self.entries()], ["new"])
        self.assertEqual(json.loads(old.read_text())["requestId"], "old")

    def test_reopening_closes_the_old_file(self) -> None:
        """However often it is rotated, one file is open."""
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            self.log.reopen()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_rotation_that_fails(self) -> None:
        """When the new file cannot be opened, the old one goes on being written."""
        old = self.path.rename(f"{self.path}.1")
        self.path.mkdir()
        self.assertRaises(OSError, self.log.reopen)
        self.log.record(finished(), ENDED)
        self.log.close()
        self.assertEqual(old.read_text().count("\n"), 1)

    def test_cannot_be_opened(self) -> None:
        """A log that cannot be written from the start ends the start."""
        self.assertRaises(OSError, AccessLog, str(self.path / "below-a-file"), self.clock)

    def test_not_for_everybody(self) -> None:
        """The file has addresses and names of users in it: others cannot read it."""
        self.assertEqual(self.path.stat().st_mode & 0o007, 0)

    def test_full_device(self) -> None:
        """Lines that cannot be written are counted, and do not gather."""
        log = AccessLog("/dev/full", self.clock)
        for _ in range(BATCH_LINES + 3):
            log.record(finished(), ENDED)
        self.assertEqual(log.dropped, BATCH_LINES)
        self.clock.advance(BATCH_SECONDS)
        self.assertEqual(log.dropped, BATCH_LINES + 3)

    def write_three(self, room: int) -> None:
        """Try to write three lines where the file can grow by only so many bytes, as on a disk that is nearly full."""
        for number in range(3):
            self.log.record(finished(id=f"id-{number}"), ENDED)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.path.stat().st_size + room, hard))
        try:
            self.log.flush()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    def test_disk_that_gets_full(self) -> None:
        """Lines that were written whole are not counted as dropped; the torn one is ended before the next."""
        length = len(json.dumps(self.entry(id="id-0"), separators=(",", ":")).encode())
        self.write_three(length * 3 // 2)
        self.assertEqual(self.log.dropped, 2)
        self.write_three(0)
        self.assertEqual(self.log.dropped, 5)
        self.log.record(finished(id="after"), ENDED)
        self.log.flush()
        lines = self.path.read_text().splitlines()
        self.assertEqual(len(lines), 4)
        self.assertRaises(ValueError, json.loads, lines[2])
        self.assertEqual([json.loads(lines[index])["requestId"] for index in (0, 1, 3)], ["id-0", "id-0", "after"])

    def test_rotation_after_a_torn_line(self) -> None:
        """The new file begins with a line, the same one goes on where it was torn."""
        self.write_three(100)
        self.log.reopen()
        self.log.record(finished(id="same"), ENDED)
        self.log.flush()
        torn, line = self.path.read_text().splitlines()
        self.assertEqual((len(torn), json.loads(line)["requestId"]), (100, "same"))
        self.write_three(100)
        self.path.rename(f"{self.path}.1")
        self.log.reopen()
        self.log.record(finished(id="new"), ENDED)
        self.log.flush()
        self.assertEqual([entry["requestId"] for entry in self.entries()], ["new"])
