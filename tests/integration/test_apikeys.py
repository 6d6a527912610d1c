"""API keys, from the command that makes them to every gateway that takes them."""

from __future__ import annotations

import json
import time

from tests.integration.origin import talk
from tests.integration.pair import PairCase


class ApiKeyTests(PairCase):
    """Two gateways, and keys that live as long as a test."""

    def create(self, *more: str, name: str = "nightly") -> str:
        """The header line of a new key that both gateways take."""
        key = self.smartgate("apikey", "create", "--name", name, "--role", "batch", *more)
        line = f"X-API-Key: {key}"
        self.answer_within(200, line)
        return line

    def revoke(self, line: str) -> None:
        self.smartgate("apikey", "revoke", line.split("_")[1])

    def test_its_life(self) -> None:
        """Made, listed, used, and revoked with all that it has open; no other way opens it."""
        line = self.create("--ttl", "90d")
        listed = json.loads(self.smartgate("apikey", "list", "--json"))
        self.assertIn(line.split("_")[1], [said["id"] for said in listed])
        opened = self.open(line)
        self.revoke(line)
        opened.ended_within(self, 5.0, time.monotonic())
        self.assertEqual(self.statuses(line), [401, 401])
        self.assertEqual(self.statuses("X-API-Key: sg_0123456789ab_" + "x" * 43), [401, 401])

    def test_what_the_service_sees(self) -> None:
        """Who asks, and never the key; not on a public route either."""
        line = self.create("--sub", "robot")
        self.pair.core.received.clear()
        self.assertEqual(self.statuses(line, path="/api") + self.statuses(line, path="/public"), [200] * 4)
        asked = self.pair.core.received
        self.assertEqual(len(asked), 4)
        self.assertNotIn(b"sg_", b"".join(asked))
        self.assertEqual(b"".join(asked).count(b"X-User-Id: robot\r\nX-User-Role: batch\r\n"), 2)
        for log in self.pair.logs:
            self.assertNotIn("sg_", log.read_text())

    def test_with_a_token(self) -> None:
        """One of them, not both; the refusal says how to ask."""
        line = self.create()
        self.assertEqual(self.statuses(line, self.token("ann")), [401, 401])
        answer = talk(self.pair.gateways[0].port, f"GET /api HTTP/1.1\r\nHost: a\r\n{line}x\r\n\r\n".encode())
        self.assertIn(b"WWW-Authenticate: Bearer\r\n", answer)
        self.assertIn(b'WWW-Authenticate: ApiKey error="invalid_key", error_description="malformed"\r\n', answer)

    def test_a_limit_of_its_own(self) -> None:
        """It is counted by itself, over both gateways."""
        line = self.create("--limit", "8")
        seen = [status for _ in range(6) for status in self.statuses(line)]
        self.assertEqual(seen[-1], 429)

    def test_without_redis(self) -> None:
        """Keys that are known are taken while Redis hangs, and others are still refused."""
        import signal

        line = self.create()
        self.pair.valkey.signal(signal.SIGSTOP)
        try:
            self.assertEqual(self.statuses(line), [200, 200])
            self.assertEqual(self.statuses(line.replace("_", "_0", 1)[:-1]), [401, 401])
        finally:
            self.pair.valkey.signal(signal.SIGCONT)
        self.answer_within(200, line)
