"""``smartgate state``, on records in memory."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from unittest.mock import Mock

from twisted.internet.defer import fail

from gateway.cli import state
from gateway.core.api_keys import ApiKey
from gateway.store.link import NoAnswer
from tests.cli.records import RecordsCase

NOW = 1_000_000_000.0
KEY = "apikey:" + "0f" * 32
VALUE = ApiKey("a1", "nightly", "key:a1", "batch").dump()


class StateTests(RecordsCase):
    """Records are saved and written back; the clock stands still unless a test moves it."""

    group = state

    def setUp(self) -> None:
        super().setUp()
        self.clock.advance(NOW)
        self.patch(state, "time", Mock(time=self.clock.seconds))
        self.file = Path(self.mktemp()).absolute()

    def put_all(self) -> None:
        self.records.put("ban:192.0.2.1", '{"why":"scraper"}', 60)
        self.records.put("blacklist:t1", "1", 120)
        self.records.put("revoked:user:ann", "999999999.5", 3600)
        self.records.put(KEY, VALUE)

    def save(self) -> str:
        return self.succeeds("state", "export", str(self.file))

    def lose(self) -> None:
        for key in self.written():
            self.records.delete(key)

    def restore(self, *more: str) -> str:
        return self.succeeds("state", "import", str(self.file), *more)

    def test_there_and_back(self) -> None:
        """All that was lost is back, with the ends it had."""
        self.put_all()
        self.assertEqual(self.save(), f"Saved to {self.file}: 1 ban, 1 revoked token, 1 revoked user, 1 API key")
        before = dict(self.written())
        self.lose()
        self.clock.advance(10)
        self.assertIn("; there already: 0; ended meanwhile: 0", self.restore())
        self.assertEqual(self.written(), {key: (value, left and left - 10) for key, (value, left) in before.items()})

    def test_again(self) -> None:
        """A second time there is nothing to do."""
        self.put_all()
        self.save()
        self.lose()
        self.restore()
        self.assertEqual(self.restore(), "Written: nothing; there already: 4; ended meanwhile: 0")

    def test_check(self) -> None:
        """A trial says what would be written, and writes nothing."""
        self.put_all()
        self.save()
        self.lose()
        self.records.put("ban:192.0.2.1", "longer", 600)
        self.assertEqual(
            self.restore("--check"),
            "Would be written: 1 revoked token, 1 revoked user, 1 API key; there already: 1; ended meanwhile: 0",
        )
        self.assertEqual(self.written(), {"ban:192.0.2.1": ("longer", 600.0)})

    def test_ended(self) -> None:
        """What has ended since stays so."""
        self.put_all()
        self.save()
        self.lose()
        self.clock.advance(120)
        self.assertEqual(self.restore(), "Written: 1 revoked user, 1 API key; there already: 0; ended meanwhile: 2")

    def test_many(self) -> None:
        """However many there are."""
        for number in range(2 * state.PAGE + 1):
            self.records.put(f"blacklist:{number}", "1", 60)
        self.save()
        self.lose()
        self.assertIn("Written: 201 revoked tokens;", self.restore())

    def test_counters_and_what_is_not_ours(self) -> None:
        """Counters are not saved, nor what no gateway heeds."""
        for key in ("rl:user:ann", "strikes:192.0.2.1", "offences:192.0.2.1", "ban:everybody", "apikey:odd", "ban:"):
            self.records.put(key, "1", 60)
        self.assertEqual(self.save(), f"Saved to {self.file}: nothing")

    def test_private_and_whole(self) -> None:
        """The file is its owner's alone, replaces an older one in one step, and leaves nothing beside it."""
        self.file.write_text("older")
        os.chmod(self.file, 0o644)
        self.save()
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o600)
        self.assertEqual(json.loads(self.file.read_text())["records"], [])
        self.assertFalse([name for name in os.listdir(self.file.parent) if name.startswith(".")])

    def test_not_written(self) -> None:
        """Where the file cannot be written the older one stays, and nothing beside it."""
        self.file.write_text("older")

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        self.patch(os, "fsync", full)
        self.assertEqual(self.fails("state", "export", str(self.file)), f"{self.file}: No space left on device")
        self.assertEqual(self.file.read_text(), "older")
        self.assertFalse([name for name in os.listdir(self.file.parent) if name.startswith(".")])
        self.assertIn("/nowhere/x: No such file", self.fails("state", "export", "/nowhere/x"))

    def test_only_files_are_replaced(self) -> None:
        """A link stays one, and what it leads to is replaced; a pipe, or a device as /dev/stdout, is left alone."""
        link = self.file.with_suffix(".link")
        link.symlink_to(self.file)
        self.succeeds("state", "export", str(link))
        self.assertTrue(link.is_symlink())
        self.assertEqual(json.loads(self.file.read_text())["records"], [])
        pipe = self.file.with_suffix(".pipe")
        os.mkfifo(pipe)
        self.assertIn("is no regular file", self.fails("state", "export", str(pipe)))
        self.assertTrue(pipe.is_fifo())

    def test_streams(self) -> None:
        """Standard output and input serve, too."""
        self.put_all()
        document = self.succeeds("state", "export")
        self.lose()
        self.patch(sys, "stdin", io.StringIO(document))
        self.assertIn("Written: 1 ban", self.succeeds("state", "import", "-"))

    def test_bad_file(self) -> None:
        """A file that is not right is named with what is wrong, and changes nothing."""
        self.put_all()
        self.save()
        self.lose()
        right = self.file.read_text()
        for wrong, why in (
            (right[:-5], "is no whole JSON document"),
            (right.replace("192.0.2.1", "192.0.2.300"), "records[1]: ban:192.0.2.300: '192.0.2.300' does not appear"),
            ("", "is no whole JSON document"),
        ):
            self.file.write_text(wrong)
            self.assertIn(f"{self.file}: {why}", self.fails("state", "import", str(self.file)))
        self.file.write_bytes(b"\xff")
        self.assertIn("can't decode byte", self.fails("state", "import", str(self.file)))
        self.assertIn("/nowhere: No such file", self.fails("state", "import", "/nowhere"))
        self.assertEqual(self.written(), {})

    def test_away_meanwhile(self) -> None:
        """When Redis refuses, or is lost on the way, it is said what it said."""
        self.put_all()
        self.save()
        self.lose()
        self.patch(self.records, "extend", lambda *_: fail(NoAnswer("Redis did not answer: OOM")))
        failure = self.assertRaises(self.failureException, self.restore)
        self.assertIn("NoAnswer: Redis did not answer: OOM", str(failure))

    def test_memory(self) -> None:
        """Where nothing is shared there is nothing to save."""
        self.assertIn("nothing is shared", self.fails("state", "export", url="memory:"))
