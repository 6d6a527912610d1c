"""Revocations reach every gateway, and what revoked clients have open ends there within a second."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.integration.pair import PairCase
from tests.integration.processes import wait_for

ALLOWED = 1.0
"""Seconds from the record until everything has ended, on both gateways."""


class RevocationTests(PairCase):
    """Two gateways, told by one record."""

    def revoked(self, key: str, value: str, *lines: str) -> None:
        """A record, written by whatever program, ends what a client has open, and its requests are refused."""
        opened, others = self.open(*lines), self.open(self.token("bystander"))
        since = time.monotonic()
        self.redis(("SET", key, value, "PX", "60000"))
        opened.ended_within(self, ALLOWED, since)
        others.still_open(self)
        self.assertEqual(self.statuses(*lines), [401, 401])

    def test_a_token(self) -> None:
        """By its id."""
        self.revoked("blacklist:id-1", "1", self.token("ann", "id-1"))
        self.assertEqual(self.statuses(self.token("ann", "id-2")), [200, 200])

    def test_a_user(self) -> None:
        """All that was issued before now, and nothing that is issued later."""
        self.revoked("revoked:user:bob", str(time.time()), self.token("bob", "id-3"))
        self.assertEqual(self.statuses(self.token("bob", "id-4", issued_ago=-1)), [200, 200])

    def test_missed(self) -> None:
        """What was written while the gateways' connections were cut is caught up when they are back."""
        line = self.token("cy")
        opened = self.open(line)
        since = time.monotonic()
        self.redis(("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"), ("SET", "revoked:user:cy", str(time.time())))
        opened.ended_within(self, 3.0, since)
        self.answer_within(401, line)

    def test_by_command(self) -> None:
        """``smartgate revoke`` by token and by user."""
        line = self.token("dora", "id-5")
        opened = self.open(line)
        self.assertIn("the token id-5", self.smartgate("revoke", "--token", line.rpartition(" ")[2]))
        opened.ended_within(self, 5.0, time.monotonic())
        self.assertEqual(self.statuses(line), [401, 401])
        line = self.token("dora", "id-6")
        self.assertEqual(self.statuses(line), [200, 200])
        self.smartgate("revoke", "--user", "dora", "--for", "1h")
        self.answer_within(401, line)

    def test_by_key(self) -> None:
        """``smartgate revoke`` of an issuer's key, which none of these tokens names, harms nobody."""
        self.assertIn("tokens of the key k1", self.smartgate("revoke", "--key", "k1", "--for", "1h"))
        self.assertEqual(self.statuses(self.token("fay")), [200, 200])

    def test_what_the_gateways_may(self) -> None:
        """Valkey has refused nothing to the user that the documents tell to make, whatever the command."""
        self.smartgate("ban", "203.0.113.7", "--for", "1h")
        self.assertIn("203.0.113.7", self.smartgate("bans"))
        saved = str(Path(self.mktemp()).absolute())
        self.smartgate("state", "export", saved)
        self.smartgate("unban", "203.0.113.7")
        self.smartgate("state", "import", saved)
        self.assertIn("203.0.113.7", self.smartgate("bans"))
        self.smartgate("unban", "203.0.113.7")
        log = self.pair.valkey.ask("ACL", "LOG")
        self.assertEqual(log, [])
        for gateway in self.pair.gateways:
            self.assertNotIn("Redis does not", gateway.said())

    def test_logged(self) -> None:
        """What was cut is not logged as complete, and the log says why it ended."""
        opened = self.open(self.token("eve", "id-7"))
        self.redis(("SET", "blacklist:id-7", "1"))
        opened.ended_within(self, ALLOWED, time.monotonic())

        def logged() -> bool:
            lines = [json.loads(line) for log in self.pair.logs for line in log.read_text().splitlines()]
            cut = [line for line in lines if line["user"] == "eve" and line["decidedBy"] == "revocation"]
            ends = sorted((line["status"], line["complete"]) for line in cut)
            return ends == [(101, True), (101, True), (200, False), (200, False)]

        wait_for(logged, "four lines in the logs", 5)
