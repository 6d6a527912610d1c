"""``smartgate ban``, ``unban`` and ``bans``, on records in memory."""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway import cli
from gateway.cli import bans, shared
from gateway.core.bans import Ban
from gateway.store.memory_records import MemoryRecords

NOW = 1_000_000_000.0
CONFIG = """
[server]
trusted_proxies = ["203.0.113.9"]
[bans]
%s
[redis]
url = "redis://127.0.0.1:1"
[[upstreams]]
name = "core"
instances = ["http://127.0.0.1:3002"]
[[routes]]
prefix = "/api"
upstream = "core"
auth = "none"
"""


class Records(MemoryRecords):
    """Records that stay when a command lets go of them, and may never be loaded or written."""

    refuses = False

    def put(self, key: str, value: str, seconds: float | None = None) -> Deferred[None]:
        return fail(ConnectionError("read-only")) if self.refuses else super().put(key, value, seconds)

    def close(self) -> Deferred[None]:
        return super().close() if self.refuses else Deferred.fromCoroutine(self._stay())

    async def _stay(self) -> None:
        """As Redis does."""


class BanCommandsTests(SynchronousTestCase):
    """Each runs one command in this process."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.records = Records(self.clock)
        self.patch(shared, "Poller", Mock())
        self.patch(shared, "make_records", lambda settings, reactor, poller, most: self.records)
        self.patch(shared, "react", self.react)
        for module in (bans, shared):
            self.patch(module, "time", Mock(time=self.clock.seconds))

    def react(self, main: Any) -> None:
        """Run the reactor for as long as a command may take."""
        done = main(self.clock)
        while not done.called:
            self.clock.advance(0.5)
        self.successResultOf(done)
        raise SystemExit(0)

    def run_cli(self, *arguments: str, config: str = "") -> tuple[int, str, str]:
        """The exit status, and what was written to each stream."""
        path = Path(self.mktemp())
        path.write_text(CONFIG % config)
        out, err = io.StringIO(), io.StringIO()
        status = cli.main([*arguments, "--config", str(path)], {}, out, err)
        return status, out.getvalue(), err.getvalue()

    def value(self, key: str) -> str | None:
        return self.successResultOf(self.records.get(key))

    def test_ban(self) -> None:
        """An address is banned for a time, with a reason."""
        status, out, _ = self.run_cli("ban", "192.0.2.1", "--for", "1h", "--reason", "scraper")
        self.assertEqual((status, out), (0, "192.0.2.1 is banned until 2001-09-09T02:46:40Z\n"))
        self.assertEqual(Ban.load(self.value("ban:192.0.2.1") or "", NOW, 3600.0), Ban(NOW, NOW + 3600, "scraper", 0))
        self.clock.advance(3600)
        self.assertIsNone(self.value("ban:192.0.2.1"))

    def test_until_lifted(self) -> None:
        """Without a time the ban stays; an IPv6 address is banned with its subscriber's network."""
        _, out, _ = self.run_cli("ban", "2001:db8::1")
        self.assertEqual(out, "2001:db8::/56 is banned until lifted\n")
        self.clock.advance(10**7)
        self.assertIn("by hand", self.value("ban:2001:db8::/56") or "")

    def test_nobody(self) -> None:
        """What is no address, or half the Internet, is refused."""
        for address, why in (("someone", "does not appear to be"), ("0.0.0.0/0", "/8 is the widest")):
            status, _, err = self.run_cli("ban", address)
            self.assertEqual((status, err.startswith("ADDRESS: "), why in err), (1, True, True), err)

    def test_never_banned(self) -> None:
        """Who would not be kept out anyway is refused, with the reason."""
        for address in ("127.0.0.1", "10.1.0.0/16", "203.0.113.9"):
            status, _, err = self.run_cli("ban", address)
            self.assertEqual((status, "is never banned" in err), (1, True), address)

    def test_off(self) -> None:
        """Where gateways do not look at bans, none is made."""
        status, _, err = self.run_cli("ban", "192.0.2.1", config="enabled = false")
        self.assertEqual((status, err), (1, "bans.enabled: is false, so gateways do not look at bans\n"))

    def test_unban(self) -> None:
        """A lifted ban is not held against the client: what led to it is forgotten, too."""
        for key in ("ban:192.0.2.1", "strikes:192.0.2.1", "offences:192.0.2.1"):
            self.records.put(key, "1")
        status, out, _ = self.run_cli("unban", "192.0.2.1")
        self.assertEqual((status, out), (0, "192.0.2.1 is not banned any longer\n"))
        for key in ("ban:192.0.2.1", "strikes:192.0.2.1", "offences:192.0.2.1"):
            self.assertIsNone(self.value(key))

    def test_not_banned(self) -> None:
        """Who is not banned cannot be let in; a wider ban is named."""
        self.assertEqual(self.run_cli("unban", "192.0.2.1"), (1, "", "192.0.2.1: is not banned\n"))
        self.records.put("ban:192.0.2.0/24", "")
        self.assertEqual(
            self.run_cli("unban", "192.0.2.1"),
            (1, "", "192.0.2.1: is not banned, but it is within 192.0.2.0/24, which is\n"),
        )

    def test_bans(self) -> None:
        """All bans are shown, those that end first at the top; what is no ban is not."""
        self.records.put("ban:2001:db8::/56", Ban(NOW, None, "by hand", 0).dump())
        self.records.put("ban:192.0.2.1", Ban(NOW, NOW + 60, "refusals\x1b[2J", 2).dump(), 60)
        self.records.put("ban:everybody", "x")
        _, out, _ = self.run_cli("bans")
        self.assertEqual(
            out.splitlines(),
            [
                "BANNED         UNTIL                 TIMES  WHY",
                "192.0.2.1      2001-09-09T01:47:40Z  2      refusals?[2J",
                "2001:db8::/56  lifted                -      by hand",
            ],
        )

    def test_nobody_is_banned(self) -> None:
        """An empty list says so."""
        self.assertEqual(self.run_cli("bans")[1], "nobody is banned\n")

    def test_json(self) -> None:
        """The same for programs."""
        self.assertEqual(json.loads(self.run_cli("bans", "--json")[1]), [])
        self.records.put("ban:192.0.2.1", Ban(NOW, NOW + 60, "why", 2).dump(), 60)
        self.assertEqual(
            json.loads(self.run_cli("bans", "--json")[1]),
            [{"prefix": "192.0.2.1", "since": NOW, "until": NOW + 60, "why": "why", "times": 2}],
        )

    def test_memory(self) -> None:
        """Where gateways share nothing, a command cannot reach them."""
        self.patch(sys.modules[__name__], "CONFIG", CONFIG.replace("redis://127.0.0.1:1", "memory:"))
        status, _, err = self.run_cli("bans")
        self.assertEqual((status, err.partition(": ")[0]), (1, "redis.url"))
        self.assertIn("nothing is shared", err)

    def test_away(self) -> None:
        """A Redis that does not answer is said so, in a few seconds."""
        self.records.loaded = False
        status, _, err = self.run_cli("bans")
        self.assertEqual((status, err), (1, "redis.url: Redis cannot be reached within 3 s\n"))
        self.records.trouble = "10.0.0.1:6379/0: Connection refused"
        _, _, err = self.run_cli("bans")
        self.assertEqual(err, "redis.url: Redis cannot be reached within 3 s: 10.0.0.1:6379/0: Connection refused\n")

    def test_real_time(self) -> None:
        """Ends are times since 1970, which mean the same on any machine."""
        for module in (bans, shared):
            self.patch(module, "time", time)
        self.records.put("ban:192.0.2.1", Ban(NOW, NOW + 60, "why", 2).dump(), 60)
        (ban,) = json.loads(self.run_cli("bans", "--json")[1])
        self.assertLess(abs(ban["until"] - time.time() - 60), 5)

    def test_slow(self) -> None:
        """However long it takes to hear of everything, a ban ends when it did when it was told."""
        self.records.put("ban:192.0.2.1", Ban(NOW, NOW + 60, "why", 2).dump(), 60)
        self.records.loaded = False
        self.clock.callLater(2.5, setattr, self.records, "loaded", True)
        self.assertEqual(json.loads(self.run_cli("bans", "--json")[1])[0]["until"], NOW + 60)

    def test_refused(self) -> None:
        """A Redis that refuses is, too, with what it says."""
        self.records.refuses = True
        self.assertEqual(self.run_cli("ban", "192.0.2.1"), (1, "", "redis.url: read-only\n"))

    def test_interrupted(self) -> None:
        """Whoever interrupts a command ends it."""

        def interrupted(main: Any) -> None:
            raise SystemExit(130)

        self.patch(shared, "react", interrupted)
        self.assertEqual(self.assertRaises(SystemExit, self.run_cli, "bans").code, 130)
