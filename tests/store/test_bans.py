"""Tests of gateway.store.bans and gateway.store.strikes: who is banned, by whom, and who hears of it."""

from __future__ import annotations

from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.addresses import Networks
from gateway.core.bans import WEIGHTS, Ban, BanList, Weights
from gateway.core.errors import BadRequest
from gateway.store import strikes as strikes_module
from gateway.store.bans import LOGGED, SWEEP, Bans
from gateway.store.memory_records import MemoryRecords
from gateway.store.strikes import GATHERED, MEMORY, Rules, Strikes

CLIENT = "192.0.2.1"
OFFICE = "198.51.100.1"
EXEMPT = Networks([ip_network("198.51.100.0/24")])
RULES = Rules(threshold=10, window=60, time=300, max_time=1000)


class Records(MemoryRecords):
    """Records in memory that can be out of reach."""

    away = False

    def put(self, key: str, value: str, seconds: float | None = None) -> Deferred[None]:
        return fail(ConnectionError("away")) if self.away else super().put(key, value, seconds)

    def add(self, key: str, amount: int, seconds: float) -> Deferred[int]:
        return fail(ConnectionError("away")) if self.away else super().add(key, amount, seconds)

    def delete(self, key: str) -> Deferred[bool]:
        return fail(ConnectionError("away")) if self.away else super().delete(key)


class BansCase(SynchronousTestCase):
    """Two gateways that share records."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.records = Records(self.clock)
        self.bans, self.others = (Bans(self.records, self.clock, BanList(EXEMPT, 56)) for _ in range(2))
        self.observer = EventLoggingObserver()
        globalLogPublisher.addObserver(self.observer)
        self.addCleanup(globalLogPublisher.removeObserver, self.observer)

    def logged(self) -> list[str]:
        """The lines of the log so far."""
        return [str(formatEvent(event)) for event in self.observer]


class BansTests(BansCase):
    """Bans, however they come about."""

    def test_everywhere(self) -> None:
        """A ban that one gateway makes holds on the other, for as long."""
        self.bans.impose(CLIENT, 60, "because", 2)
        found = self.others.find(CLIENT)
        self.assertEqual(found, Ban(1_000_000.0, 1_000_060.0, "because", 2))
        self.assertEqual((self.bans.made, self.others.made), (1, 0))
        self.clock.advance(60)
        self.assertIsNone(self.others.find(CLIENT))

    def test_lifted(self) -> None:
        """A ban whose record is deleted holds nowhere."""
        self.bans.impose(CLIENT, 60, "because", 1)
        self.records.delete("ban:" + CLIENT)
        self.assertEqual((self.bans.find(CLIENT), self.others.find(CLIENT)), (None, None))

    def test_by_hand(self) -> None:
        """A record that a person wrote is a ban."""
        self.records.put("ban:192.0.2.0/24", "scrapers")
        self.assertEqual(self.bans.find(CLIENT), Ban(1_000_000.0, None, "scrapers", 0))

    def test_no_network(self) -> None:
        """A record whose name bans nobody is only told of."""
        self.records.put("ban:everybody", "x")
        self.records.delete("ban:everybody")
        self.assertEqual(len(self.bans.banned), 0)
        self.assertIn("The record ban:everybody bans nobody", self.logged()[0])

    def test_records_away(self) -> None:
        """While the records cannot be reached a ban holds here, and the log says that it does nowhere else."""
        self.records.away = True
        self.bans.impose(CLIENT, 60, "because", 1)
        self.assertIsNotNone(self.bans.find(CLIENT))
        self.assertIsNone(self.others.find(CLIENT))
        self.assertIn(f"The ban of {CLIENT} holds here only: away", self.logged())

    def test_turned_away(self) -> None:
        """Connections that are refused are counted."""
        self.bans.impose(CLIENT, 60, "because", 1)
        self.assertEqual([self.bans.turns_away(each) for each in (CLIENT, "192.0.2.2", CLIENT)], [True, False, True])
        self.assertEqual(self.bans.turned_away, 2)

    def test_listeners(self) -> None:
        """Whoever listens hears of each ban, of other gateways too."""
        heard: list[str] = []
        self.others.listen(lambda: heard.append("a ban"))
        self.bans.impose(CLIENT, 60, "because", 1)
        self.assertEqual(heard, ["a ban"])

    def test_swept(self) -> None:
        """Bans that have ended are forgotten, and then no timer runs."""
        self.bans.impose(CLIENT, SWEEP + 1, "because", 1)
        self.clock.advance(SWEEP)
        self.assertEqual(len(self.bans.banned), 1)
        self.clock.advance(SWEEP)
        self.assertEqual((len(self.bans.banned), self.clock.getDelayedCalls()), (0, []))

    def test_closed(self) -> None:
        """Nothing goes on after the end, whether there were bans or not."""
        self.bans.close()
        self.bans.impose(CLIENT, 60, "because", 1)
        self.bans.close()
        self.others.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_log(self) -> None:
        """Each ban is told."""
        self.bans.impose(CLIENT, 600, "because", 2)
        self.assertEqual(self.logged(), [f"Banned {CLIENT} for 600 s, the 2. time: because"])

    def test_log_of_a_flood(self) -> None:
        """Of very many bans in a second some are told, and then how many more there were."""
        for number in range(LOGGED + 5):
            self.bans.impose(f"203.0.113.{number}", 60, "because", 1)
        self.clock.advance(1)
        self.bans.impose(CLIENT, 60, "because", 1)
        told = self.logged()
        self.assertEqual(len(told), LOGGED + 2)
        self.assertEqual(told[LOGGED], "Banned 5 more")


class StrikesTests(BansCase):
    """Refusals, and what they lead to: both gateways count in the same records."""

    def setUp(self) -> None:
        super().setUp()
        self.local = MemoryRecords(self.clock)
        self.strikes = self.counting(self.bans, self.local)
        self.other_strikes = self.counting(self.others, MemoryRecords(self.clock))

    def counting(self, bans: Bans, local: MemoryRecords) -> Strikes:
        return Strikes(self.records, local, bans, self.clock, Weights(WEIGHTS), RULES, EXEMPT, 56)

    def refuse(self, times: int, status: int = 401, remote: str = CLIENT, **more: Any) -> None:
        """So many requests were refused on the first gateway, and the time has passed in which they are gathered."""
        self.record(self.strikes, times, status, remote, **more)
        self.clock.advance(GATHERED)

    def record(self, strikes: Strikes, times: int, status: int = 401, remote: str = CLIENT, **more: Any) -> None:
        known = {"status": status, "remote": remote, "upstream": "", "failure": None, "decided_by": "admit"}
        for _ in range(times):
            strikes.record(SimpleNamespace(**{**known, **more}))  # type: ignore[arg-type]

    def banned(self, address: str = CLIENT) -> bool:
        return self.bans.find(address) is not None

    def test_threshold(self) -> None:
        """Who reaches the threshold is banned, and who does not is not."""
        self.refuse(9)
        self.assertFalse(self.banned())
        self.refuse(1)
        self.assertTrue(self.banned())

    def test_window(self) -> None:
        """Refusals of another window do not count."""
        self.refuse(9)
        self.clock.advance(60)
        self.refuse(9)
        self.assertFalse(self.banned())

    def test_gathered(self) -> None:
        """Nothing is counted request by request."""
        self.record(self.strikes, 10)
        self.assertFalse(self.banned())
        self.assertIsNone(self.successResultOf(self.records.get("strikes:" + CLIENT)))
        self.clock.advance(GATHERED)
        self.assertTrue(self.banned())

    def test_malformed(self) -> None:
        """Malformed requests weigh more, and the gateway's own 400 behind which an upstream was is one."""
        self.refuse(1, 400, failure=BadRequest())
        self.refuse(1, 400, failure=BadRequest(), upstream="http://10.0.0.1")
        self.assertTrue(self.banned())

    def test_upstream(self) -> None:
        """What an upstream calls malformed is no refusal."""
        self.refuse(100, 400, upstream="http://10.0.0.1")
        self.assertFalse(self.banned())

    def test_exempt(self) -> None:
        """Who is never banned is not counted, nor who has no address, nor what the ban itself refuses."""
        self.refuse(100, remote=OFFICE)
        self.refuse(100, remote="")
        self.refuse(100, 403, decided_by="bans")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_subscriber(self) -> None:
        """The addresses of an IPv6 subscriber are counted and banned together."""
        for number in range(10):
            self.refuse(1, remote=f"2001:db8:0:1{number:02x}::1")
        self.assertTrue(self.banned("2001:db8:0:1ff::1"))
        self.assertFalse(self.banned("2001:db8:0:200::1"))

    def test_together(self) -> None:
        """What is refused on several gateways adds up, and only one of them bans."""
        self.record(self.strikes, 6)
        self.record(self.other_strikes, 6)
        self.clock.advance(GATHERED)
        self.assertEqual((self.bans.made, self.others.made), (0, 1))
        self.assertTrue(self.banned())

    def test_storm(self) -> None:
        """Refusals that were under way when the ban was made do not make a longer one."""
        self.refuse(25)
        self.refuse(25)
        self.assertEqual(self.bans.made, 1)

    def test_escalation(self) -> None:
        """Each ban is longer than the one before, up to the longest; after long good conduct it begins anew."""
        lengths = []
        for pause in (0, 0, 0, MEMORY + RULES.max_time):
            self.refuse(10)
            ban = self.bans.find(CLIENT)
            assert ban is not None and ban.until is not None
            lengths.append((ban.until - ban.since, ban.times))
            self.clock.pump([ban.until - self.clock.seconds(), pause])
        self.refuse(10)
        self.assertEqual(lengths, [(300, 1), (600, 2), (1000, 3), (1000, 4)])
        self.assertEqual(self.bans.find(CLIENT)[-1], 1)  # type: ignore[index]

    def test_anew_after_a_ban(self) -> None:
        """After a ban that is shorter than the window refusals are counted from none."""
        self.strikes._rules = RULES._replace(time=1)
        self.refuse(10)
        self.clock.advance(1)
        self.refuse(9)
        self.assertFalse(self.banned())
        self.refuse(1)
        self.assertTrue(self.banned())

    def test_records_away(self) -> None:
        """While the records cannot be reached each gateway counts for itself."""
        self.records.away = True
        self.refuse(10)
        self.assertEqual((self.banned(), self.others.find(CLIENT)), (True, None))

    def test_bounded(self) -> None:
        """However many addresses are refused at a time, only so many are gathered."""
        self.patch(strikes_module, "MOST", 2)
        for remote in ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.1"):
            self.record(self.strikes, 5, remote=remote)
        self.clock.advance(GATHERED)
        self.assertIsNotNone(self.successResultOf(self.records.get("strikes:192.0.2.2")))
        self.assertIsNone(self.successResultOf(self.records.get("strikes:192.0.2.3")))
        self.assertTrue(self.banned("192.0.2.1"))

    def test_broken_count(self) -> None:
        """What cannot be counted at all is told, and harms nobody."""
        self.records.put("strikes:" + CLIENT, "x")
        self.local.put("strikes:" + CLIENT, "x")
        self.refuse(10)
        self.assertFalse(self.banned())
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_closed(self) -> None:
        """Nothing goes on after the end."""
        self.record(self.strikes, 1)
        self.strikes.close()
        self.strikes.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])
