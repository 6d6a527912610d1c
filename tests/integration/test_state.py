"""Saved, lost, and written back, with a real Valkey and a real gateway."""

from __future__ import annotations

import json
import os
import signal

from tests.integration.operations import OperationsCase
from tests.integration.valkey import Valkey


class StateTests(OperationsCase):
    """``smartgate state``."""

    def setUp(self) -> None:
        super().setUp()
        self.gateway()
        self.saved = self.directory / "state.json"

    def decide(self) -> str:
        """Ban, revoke, and make a key; the key's header line."""
        self.does("ban", "127.0.0.3", "--for", "1h")
        self.does("ban", "127.0.0.128/25")
        self.does("revoke", "--jti", "thief")
        self.does("revoke", "--user", "bob")
        return "X-API-Key: " + self.does("apikey", "create", "--name", "nightly", "--role", "batch")

    def answers(self, key: str) -> list[int]:
        """What becomes of a banned client, one in a banned network, a revoked token, a revoked user, and a key."""
        return [
            self.status(path="/open", source="127.0.0.3"),
            self.status(path="/open", source="127.0.0.200"),
            self.status(self.bearer("ann", jti="thief")),
            self.status(self.bearer("bob")),
            self.status(key),
        ]

    def lasting(self) -> dict[str, int]:
        """All keys, and the milliseconds they have left."""
        keys = self.valkey.ask("KEYS", "*")
        assert isinstance(keys, list)
        return {key: int(str(self.valkey.ask("PTTL", key))) for key in keys if not key.startswith(("rl:", "strikes:"))}

    def wait(self, key: str, *statuses: int) -> None:
        for status, (lines, more) in zip(
            statuses,
            (
                ((), {"path": "/open", "source": "127.0.0.3"}),
                ((), {"path": "/open", "source": "127.0.0.200"}),
                ((self.bearer("ann", jti="thief"),), {}),
                ((self.bearer("bob"),), {}),
                ((key,), {}),
            ),
            strict=True,
        ):
            self.until(status, *lines, **more)

    def test_flushed(self) -> None:
        """What Redis lost the gateway does not enforce; once it is written back it does, with the ends it had."""
        key = self.decide()
        self.wait(key, 0, 0, 401, 401, 200)
        before = self.lasting()
        self.assertIn(
            "2 bans, 1 revoked token, 1 revoked user, 1 API key", self.does("state", "export", str(self.saved))
        )
        self.valkey.ask("FLUSHALL")
        self.wait(key, 200, 200, 200, 200, 401)
        self.assertIn("Would be written: 2 bans", self.does("state", "import", str(self.saved), "--check"))
        self.assertEqual(self.lasting(), {})
        self.does("state", "import", str(self.saved))
        self.wait(key, 0, 0, 401, 401, 200)
        after = self.lasting()
        self.assertEqual(after.keys(), before.keys())
        for name, left in before.items():
            self.assertTrue(left == after[name] == -1 or left - 30_000 < after[name] <= left + 1_000, name)
        self.assertIn("Written: nothing; there already: 5", self.does("state", "import", str(self.saved)))
        self.assertNotIn(key.partition("_")[2], self.saved.read_text())

    def test_to_another_server(self) -> None:
        """A state moves to another Redis by way of standard output and input, and what that knows better stays."""
        self.decide()
        document = self.does("state", "export")
        self.assertEqual(len(json.loads(document)["records"]), 5)
        with Valkey() as other:
            other.ask("SET", "ban:127.0.0.3", "longer", "EX", "36000")
            self.saved.write_text(document)
            self.file.write_text(self.file.read_text().replace(f":{self.valkey.port}/0", f":{other.port}/0"))
            self.assertIn("Written: 1 ban, 1 revoked", self.does("state", "import", str(self.saved)))
            self.assertEqual(other.ask("GET", "ban:127.0.0.3"), "longer")

    def test_several_servers(self) -> None:
        """Each record goes where it belongs; without one of the servers half would be saved, and so nothing is."""
        self.valkey.ask("EVAL", "for i=1,200 do redis.call('SET', 'blacklist:'..i, 1, 'EX', 3600) end", "0")
        self.does("state", "export", str(self.saved))
        with Valkey() as one, Valkey() as other:
            urls = [f"redis://127.0.0.1:{each.port}/0" for each in (one, other)]
            self.file.write_text(
                self.file.read_text().replace(f'"redis://127.0.0.1:{self.valkey.port}/0"', json.dumps(urls))
            )
            self.assertIn("Written: 200 revoked", self.does("state", "import", str(self.saved)))
            sizes = [int(str(each.ask("DBSIZE"))) for each in (one, other)]
            self.assertEqual((sum(sizes), min(sizes) > 20), (200, True), sizes)
            self.assertIn("200 revoked tokens", self.does("state", "export", str(self.saved)))
            older = self.saved.read_text()
            other.signal(signal.SIGSTOP)
            status, said = self.smartgate("state", "export", str(self.saved))
            self.assertEqual((status, f"127.0.0.1:{other.port}/0" in said), (1, True), said)
            self.assertEqual(self.saved.read_text(), older)

    def test_bad_file(self) -> None:
        """A file that was cut writes nothing, and says so."""
        self.decide()
        self.does("state", "export", str(self.saved))
        self.valkey.ask("FLUSHALL")
        os.truncate(self.saved, 400)
        status, said = self.smartgate("state", "import", str(self.saved))
        self.assertEqual((status, self.valkey.ask("DBSIZE")), (1, 0), said)
        self.assertIn("is no whole JSON document", said)

    def test_many(self) -> None:
        """More than a gateway keeps are saved and read, none left out."""
        self.valkey.ask("EVAL", "for i=1,101000 do redis.call('SET', 'blacklist:'..i, 1, 'EX', 3600) end", "0")
        self.assertIn("101000 revoked tokens", self.does("state", "export", str(self.saved)))
        self.valkey.ask("FLUSHALL")
        self.assertIn("Would be written: 101000", self.does("state", "import", str(self.saved), "--check"))

    def test_away(self) -> None:
        """Without Redis it says so, and the older file stays."""
        self.does("state", "export", str(self.saved))
        older = self.saved.read_text()
        self.valkey.stop()
        status, said = self.smartgate("state", "export", str(self.saved))
        away = f"redis.url: Redis cannot be reached within 3 s: 127.0.0.1:{self.valkey.port}/0: "
        self.assertEqual((status, said[: len(away)]), (1, away))
        self.assertIn("refused", said)
        self.assertEqual(self.saved.read_text(), older)
