"""Tests of gateway.store.records on in-memory connections; tests.integration.test_records asks a real server."""

from __future__ import annotations

from typing import Any, cast

import txredisapi
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.interfaces import IRecords
from gateway.store import records
from gateway.store.address import PATIENCE, Address
from gateway.store.link import NoAnswer
from gateway.store.records import BEAT, RESCAN, RedisRecords
from gateway.store.script import ADD, EXTEND, READ
from tests.store.lines import Endpoint, Line

TIMEOUT = 0.05


def bulk(*values: bytes | int | None) -> bytes:
    """An array as Redis writes it in RESP3."""
    text = b"*%d\r\n" % len(values)
    for value in values:
        if value is None:
            text += b"_\r\n"
        elif isinstance(value, int):
            text += b":%d\r\n" % value
        else:
            text += b"$%d\r\n%b\r\n" % (len(value), value)
    return text


class Refusing:
    """Nobody listens there."""

    def connect(self, factory: Any) -> Deferred[Any]:
        """Fail at once."""
        return fail(ConnectionRefusedError("refused"))


class RedisRecordsTests(SynchronousTestCase):
    """Tests of RedisRecords."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.patch(txredisapi, "reactor", self.clock)
        self.told: list[tuple[str, str | None, float | None]] = []
        self.records = RedisRecords(self.clock, Address.parse("redis://127.0.0.1/0"), TIMEOUT, cast(Any, Endpoint()))
        self.said: list[str] = []
        log = type("Log", (), {"warn": self.log, "failure": self.log})()
        self.patch(self.records, "_log", log)
        self.patch(self.records._watched, "_log", log)
        self.clock.advance(0)

    def log(self, text: str, **parts: Any) -> None:
        self.said.append(text.format(**parts))

    def watch(self, prefix: str = "a:") -> None:
        self.records.watch(prefix, lambda *told: self.told.append(told))

    def connect(self) -> Line:
        """A connection that is ready."""
        line = Line()
        line.link = self.records._links.buildProtocol(None)
        line.link.makeConnection(line)
        line.said()
        line.reply(b"+OK\r\n")
        self.clock.advance(0)
        return line

    def track(self, line: Line) -> None:
        """Redis agrees to tell what changes."""
        line.reply(b"+OK\r\n+OK\r\n")

    def begin(self, line: Line) -> list[list[bytes]]:
        """Greet and ask to be told, which Redis agrees to; returns what was said."""
        said = line.said()
        for _ in range(2):
            line.reply(b"+OK\r\n")
            said += line.said()
        line.reply(b"+OK\r\n")
        return said

    def load(self, line: Line, **found: bytes) -> None:
        """One page that holds these records, each staying for a second."""
        [scan] = line.said()
        self.assertEqual(scan[0], b"SCAN")
        names = [b"a:" + name.encode() for name in found]
        line.reply(b"*2\r\n$1\r\n0\r\n" + bulk(*names))
        if found:
            [fetch] = line.said()
            self.assertEqual(fetch[:2], [b"EVAL", READ])
            self.assertEqual(fetch[3:], names)
            line.reply(bulk(*(part for value in found.values() for part in (value, 1000))))

    def loaded(self, **found: bytes) -> Line:
        """A connection with everything loaded, and forgotten by the test."""
        self.watch()
        line = self.connect()
        self.begin(line)
        self.load(line, **found)
        self.told.clear()
        return line

    def change(self, line: Line, *names: bytes) -> None:
        """Redis tells that these have changed."""
        line.reply(b">2\r\n$10\r\ninvalidate\r\n" + bulk(*names))

    def test_provides_its_interface(self) -> None:
        """All of it."""
        verifyObject(IRecords, self.records)

    def test_trouble(self) -> None:
        """Why there is no connection, and to whom, is known until there is one."""
        self.assertEqual(self.records.trouble, "")
        refused = RedisRecords(self.clock, Address.parse("redis://h/1"), TIMEOUT, cast(Any, Refusing()))
        self.clock.advance(0)
        self.assertEqual(refused.trouble, "h:6379/1: refused")
        line = Line()
        line.link = refused._links.buildProtocol(None)
        line.link.makeConnection(line)
        line.reply(b"-NOAUTH Authentication required.\r\n")
        self.assertIn("h:6379/1: ", refused.trouble)
        self.assertIn("NOAUTH Authentication required.", refused.trouble)
        line = Line()
        line.link = refused._links.buildProtocol(None)
        line.link.makeConnection(line)
        line.reply(b"+OK\r\n")
        self.clock.advance(0)
        self.assertEqual(refused.trouble, "")
        refused.close()

    def test_loads_what_is_watched(self) -> None:
        """Redis is asked to push changes first, so that none falls between; then every record is told."""
        self.watch("a:[")
        self.assertFalse(self.records.loaded)
        line = self.connect()
        said = self.begin(line)
        self.assertEqual(said[0], [b"HELLO", b"3"])
        self.assertEqual(said[2], [b"CLIENT", b"TRACKING", b"ON", b"BCAST", b"PREFIX", b"a:["])
        [scan] = line.said()
        self.assertEqual(scan[:4], [b"SCAN", b"0", b"MATCH", b"a:\\[*"])
        line.reply(b"*2\r\n$1\r\n7\r\n" + bulk(b"a:[1"))
        line.said()
        line.reply(bulk(b"one", 1500))
        self.assertEqual(line.said()[0][:2], [b"SCAN", b"7"])
        line.reply(b"*2\r\n$1\r\n0\r\n" + bulk(b"a:[2", b"a:[3"))
        line.reply(bulk(None, -1, None, -2))
        self.assertEqual(self.told, [("a:[1", "one", 1.5), ("a:[2", "", None)])
        self.assertTrue(self.records.loaded)

    def test_tells_changes(self) -> None:
        """What Redis pushes is fetched at once, what comes meanwhile together in the next round trip."""
        line = self.loaded(x=b"1")
        self.change(line, b"a:x", b"a:y")
        self.change(line, b"a:z")
        self.assertEqual(line.said(), [[b"EVAL", READ, b"2", b"a:x", b"a:y"]])
        line.reply(bulk(None, -2, b"new", 2000))
        self.assertEqual(self.told, [("a:x", None, None), ("a:y", "new", 2.0)])
        self.assertEqual(line.said(), [[b"EVAL", READ, b"1", b"a:z"]])
        line.reply(bulk(None, -2))
        self.assertEqual(len(self.told), 2)

    def test_watchers_are_told_their_own(self) -> None:
        """Each prefix is its watcher's, Redis hears of one that covers another once, and a new watcher of all."""
        line = self.loaded(x=b"1")
        self.watch("a:x")
        said = self.begin(line)
        self.assertEqual(said[2][3:], [b"BCAST", b"PREFIX", b"a:"])
        self.load(line, x=b"1", y=b"2")
        self.assertEqual([key for key, _, _ in self.told], ["a:x", "a:x", "a:y"])

    def test_a_wider_watcher_knows_what_a_narrow_one_was_told(self) -> None:
        """What is gone when everything is loaded anew is told as gone."""
        line = self.loaded(x=b"1")
        self.watch("")
        self.begin(line)
        self.load(line)
        self.assertEqual(self.told, [("a:x", None, None)] * 2)

    def test_a_watcher_that_fails_stops_nobody(self) -> None:
        """It is logged, and the next one told."""
        self.records.watch("a", lambda *told: 1 / 0)  # type: ignore[arg-type]
        self.loaded(x=b"1")
        self.assertEqual(self.said, ["A watcher of a failed"])
        self.assertTrue(self.records.loaded)

    def test_tells_what_went_while_it_was_away(self) -> None:
        """After a time without a connection everything is told anew, and what is gone as gone."""
        line = self.loaded(x=b"1", y=b"2")
        line.lose()
        self.assertTrue(self.records.loaded)
        line = self.connect()
        self.begin(line)
        self.load(line, y=b"3")
        self.assertEqual(self.told, [("a:y", "3", 1.0), ("a:x", None, None)])

    def test_everything_flushed(self) -> None:
        """A push without names has everything loaded anew."""
        line = self.loaded(x=b"1")
        line.reply(b">2\r\n$10\r\ninvalidate\r\n_\r\n")
        self.clock.advance(BEAT)
        self.load(line)
        self.assertEqual(self.told, [("a:x", None, None)])

    def test_too_many_changes(self) -> None:
        """Changes that cannot be kept have everything loaded anew instead."""
        self.patch(records, "STALE", 2)
        line = self.loaded()
        self.change(line, b"a:x", b"a:y", b"a:z")
        self.assertEqual(line.said(), [])
        self.clock.advance(BEAT)
        self.load(line, x=b"1")

    def test_other_pushes_are_nothing(self) -> None:
        """Only invalidations are understood; what is not watched is not told."""
        line = self.loaded()
        line.reply(b">1\r\n$5\r\nhello\r\n")
        self.change(line, b"b:x")
        line.said()
        line.reply(bulk(b"1", -1))
        self.assertEqual(self.told, [])

    def test_records_are_bounded(self) -> None:
        """For a new one the oldest is told as gone, and it is said once."""
        self.patch(self.records._watched, "_most", 2)
        self.loaded(x=b"1", y=b"2")
        line = self.connect()
        self.begin(line)
        self.load(line, y=b"2", z=b"3", w=b"4")
        self.assertEqual([key for key, value, _ in self.told if value is None], ["a:x", "a:y"])
        self.assertEqual(len(self.said), 1)

    def test_a_redis_that_does_not_tell(self) -> None:
        """Where it refuses, everything is asked for again and again, and it is said once."""
        self.watch()
        line = self.connect()
        line.reply(b"-ERR unknown command 'HELLO'\r\n")
        line.said()
        for _ in range(2):
            line.reply(b"*2\r\n$1\r\n0\r\n*0\r\n")
            self.clock.advance(BEAT)
            self.assertEqual(line.said(), [])
            self.clock.advance(RESCAN - BEAT)
            self.assertEqual(line.said()[0][0], b"SCAN")
        self.assertEqual(len(self.said), 1)
        self.assertIn("asked every 5 s", self.said[0])

    def test_a_redis_that_is_loading(self) -> None:
        """Until its own data is there it is asked again every second."""
        self.watch()
        line = self.connect()
        self.begin(line)
        line.said()
        line.reply(b"-LOADING Redis is loading the dataset in memory\r\n")
        self.assertFalse(self.records.loaded)
        self.assertIn("loading the dataset", self.records.trouble)
        self.clock.advance(BEAT)
        self.load(line)
        self.assertEqual((self.records.loaded, self.records.trouble), (True, ""))

    def test_a_fetch_that_is_refused(self) -> None:
        """Then everything is loaded anew."""
        line = self.loaded()
        self.change(line, b"a:x")
        line.said()
        line.reply(b"-BUSY Redis is busy\r\n")
        self.clock.advance(BEAT)
        self.load(line, x=b"1")
        self.assertEqual(len(self.told), 1)

    def test_a_connection_lost_while_fetching(self) -> None:
        """The next one fetches."""
        line = self.loaded()
        self.change(line, b"a:x")
        line.lose()
        line = self.connect()
        self.begin(line)
        self.load(line)
        self.change(line, b"a:x")
        self.assertEqual(line.said()[0][0], b"EVAL")

    def test_gives_a_silent_connection_up(self) -> None:
        """A link that is dead without a word would lose changes for ever."""
        line = self.loaded()
        self.clock.advance(BEAT)
        self.assertEqual(line.said(), [[b"PING"]])
        line.reply(b"+PONG\r\n")
        self.clock.advance(BEAT)
        self.clock.advance(PATIENCE)
        self.assertTrue(line.disconnected)

    def test_reads_and_writes(self) -> None:
        """Values, times in milliseconds, counters; any text is a key."""
        line = self.connect()
        got, none = self.records.get("k\ud800"), self.records.get("k")
        self.assertEqual(line.said(), [[b"GET", b"k\xed\xa0\x80"], [b"GET", b"k"]])
        line.reply(b"$2\r\n\xff1\r\n$-1\r\n")
        self.assertEqual(self.successResultOf(got), "\ufffd1")
        self.assertIsNone(self.successResultOf(none))
        puts = [self.records.put("k", "v"), self.records.put("k", "v", 1.5), self.records.put("k", "v", -1)]
        self.assertEqual([command[3:] for command in line.said()], [[], [b"PX", b"1500"], [b"PX", b"1"]])
        line.reply(b"+OK\r\n" * 3)
        self.assertEqual([self.successResultOf(put) for put in puts], [None] * 3)
        found, missing = self.records.delete("k"), self.records.delete("k")
        line.said()
        line.reply(b":1\r\n:0\r\n")
        self.assertEqual((self.successResultOf(found), self.successResultOf(missing)), (True, False))
        added = self.records.add("k", 3, 60)
        self.assertEqual(line.said(), [[b"EVAL", ADD, b"1", b"k", b"3", b"60000"]])
        line.reply(b":7\r\n")
        self.assertEqual(self.successResultOf(added), 7)
        longer, kept = self.records.extend("k", "v", 60), self.records.extend("k", "v")
        extend = [b"EVAL", EXTEND, b"1", b"k", b"v"]
        self.assertEqual(line.said(), [[*extend, b"60000"], extend])
        line.reply(b":0\r\n:1\r\n")
        self.assertEqual((self.successResultOf(longer), self.successResultOf(kept)), (False, True))

    def test_waits_for_the_first_connection(self) -> None:
        """What is asked at the start leaves when there is a connection, unless it has failed by then."""
        late, early = self.records.get("a"), self.records.put("b", "1")
        self.clock.advance(TIMEOUT)
        self.failureResultOf(late, NoAnswer)
        self.failureResultOf(self.records.get("c"), NoAnswer)
        self.assertEqual(self.connect().said()[0][:2], [b"SET", b"b"])
        self.assertNoResult(early)

    def test_what_waits_is_bounded(self) -> None:
        """One too many fails at once."""
        self.patch(records, "EARLY", 1)
        self.assertNoResult(self.records.get("a"))
        self.failureResultOf(self.records.get("b"), NoAnswer)

    def test_fails_in_time(self) -> None:
        """Without an answer, with a refusal, and without a connection."""
        line = self.connect()
        slow, refused = self.records.get("a"), self.records.add("b", 1, 1)
        line.reply(b"$-1\r\n-ERR value is not an integer\r\n")
        self.successResultOf(slow)
        self.assertIn("not an integer", str(self.failureResultOf(refused, NoAnswer).value))
        slow = self.records.get("a")
        self.clock.advance(TIMEOUT)
        self.assertEqual(str(self.failureResultOf(slow, NoAnswer).value), "Redis did not answer: not in time")
        writing = self.records.put("a", "1")
        line.lose()
        self.failureResultOf(writing, NoAnswer)
        self.failureResultOf(self.records.get("a"), NoAnswer)

    def test_says_what_keeps_it(self) -> None:
        """Where there is no connection, why there is none."""
        asked = self.records.put("a", "1")
        self.records._links.connectionError("127.0.0.1: WRONGPASS invalid password")
        self.clock.advance(PATIENCE)
        self.assertIn(": WRONGPASS invalid password", str(self.failureResultOf(asked, NoAnswer).value))

    def test_a_replica(self) -> None:
        """Where nothing can be written the connection is given up: who can be written to may be elsewhere now."""
        line = self.connect()
        put = self.records.put("a", "1")
        line.reply(b"-READONLY You can't write against a read only replica.\r\n")
        self.failureResultOf(put, NoAnswer)
        self.assertTrue(line.disconnecting)

    def test_closes(self) -> None:
        """What waits fails, the connection goes, no timer stays."""
        line = self.loaded()
        writing = self.records.put("a", "1")
        done = self.records.close()
        self.failureResultOf(writing, NoAnswer)
        self.assertTrue(line.disconnected)
        self.clock.advance(0)
        self.successResultOf(done)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closes_before_it_began(self) -> None:
        """Records that never ran do not connect; what waited fails."""
        records = RedisRecords(self.clock, Address.parse("redis://h"), TIMEOUT, cast(Any, Endpoint()))
        waiting = records.get("a")
        done = records.close()
        self.failureResultOf(waiting, NoAnswer)
        self.successResultOf(done)
