"""Tests of gateway.store.redis on in-memory connections; tests.integration.test_store asks a real server."""

from __future__ import annotations

from typing import Any, cast
from unittest.mock import patch

import txredisapi
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.core.errors import Unavailable
from gateway.core.revocations import Revocations
from gateway.interfaces import NOTHING, IStore, Verdict
from gateway.store import redis
from gateway.store.address import PATIENCE, Address
from gateway.store.failover import StandIn
from gateway.store.redis import GRACE, PAUSE, RedisStore
from gateway.store.script import ASK
from tests.store.lines import Endpoint, Line

TIMEOUT = 0.05
ARGUMENTS = [b"60000", b"blacklist:", b"rl:"]
"""Of the script: the window, and the keys that ask about nobody."""


class RedisStoreTests(SynchronousTestCase):
    """Batches, and what happens when one does not come back."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.patch(txredisapi, "reactor", self.clock)
        self.store = self.make()

    def make(self, url: str = "redis://127.0.0.1/2", on_failure: str = "closed") -> RedisStore:
        """A store that refuses everybody in place of Redis, or goes on counting."""
        self.revocations = Revocations()
        stand_in = StandIn(self.clock, 60, on_failure, "known", self.revocations)
        store = RedisStore(self.clock, Address.parse(url), "rl:", 60, TIMEOUT, stand_in, cast(Any, Endpoint()))
        self.told: list[str] = []
        log = {"warn": self.log, "info": self.log}
        self.patch(store, "_log", type("Log", (), log)())
        self.clock.advance(0)
        return store

    def log(self, text: str, **parts: str) -> None:
        self.told.append(text.format(**parts))

    def returned(self, line: Line) -> None:
        """Redis answers the probe."""
        [probe] = line.said()
        self.assertEqual(probe[3:5], [b"blacklist:", b"rl:probe"])
        line.numbers(1, 60000)

    def begin(self) -> Line:
        """A connection of which Redis has not heard yet."""
        line = Line()
        line.link = self.store._links.buildProtocol(None)
        line.link.makeConnection(line)
        return line

    def connect(self) -> Line:
        """A connection that is ready."""
        line = self.begin()
        line.said()
        line.reply(b"+OK\r\n")
        self.clock.advance(0)
        return line

    def leave(self) -> None:
        """The turn ends."""
        self.clock.advance(0)

    def hang(self, answer: Deferred[Verdict]) -> None:
        """Let the question in flight be too late."""
        self.clock.advance(TIMEOUT)
        self.assertNoResult(answer)
        self.clock.advance(GRACE)
        self.failureResultOf(answer, Unavailable)

    def test_is_a_store(self) -> None:
        """It provides the interface."""
        verifyObject(IStore, self.store)

    def test_one_turn_is_one_round_trip(self) -> None:
        """All questions of a turn leave in one EVALSHA and come back in their order.

        No key is empty, also where nothing is asked: the user may be allowed these prefixes only.
        """
        line = self.connect()
        answers = [self.store.ask("t", "user:a"), self.store.ask("", "ip:b"), self.store.ask("u", "")]
        self.assertEqual(line.said(), [])
        self.leave()
        [command] = line.said()
        self.assertEqual(command[0], b"EVALSHA")
        keys = [b"blacklist:t", b"rl:user:a", b"blacklist:", b"rl:ip:b", b"blacklist:u", b"rl:"]
        self.assertEqual(command[2:], [b"6", *keys, *ARGUMENTS])
        self.clock.advance(0.01)
        line.numbers(3, 59001, 1, 60000, -1, 0)
        self.assertEqual(
            [self.successResultOf(answer) for answer in answers],
            [Verdict(False, 3, 59.001), Verdict(False, 1, 60.0), Verdict(True, 0, 0.0)],
        )
        self.assertEqual((self.store.round_trips, self.store.asks, self.store.errors), (1, 3, 0))
        self.assertAlmostEqual(self.store.seconds, 0.01)

    def test_the_next_batch_leaves_when_the_last_is_back(self) -> None:
        """Questions that come meanwhile wait and leave together."""
        line = self.connect()
        self.store.ask("", "a")
        self.leave()
        line.said()
        waiting = [self.store.ask("", "b"), self.store.ask("", "c")]
        self.leave()
        self.assertEqual(line.said(), [])
        line.numbers(1, 60000)
        self.leave()
        pairs = [b"blacklist:", b"rl:b", b"blacklist:", b"rl:c"]
        self.assertEqual(line.said()[0][2:], [b"4", *pairs, *ARGUMENTS])
        line.numbers(1, 60000, 2, 60000)
        self.assertEqual([self.successResultOf(answer).hits for answer in waiting], [1, 2])

    def test_batches_are_bounded(self) -> None:
        """What is too much for one batch leaves with the next ones."""
        self.patch(redis, "BATCH", 2)
        line = self.connect()
        answers = [self.store.ask("", name) for name in "abc"]
        self.leave()
        self.assertEqual(line.said()[0][4:-3:2], [b"rl:a", b"rl:b"])
        line.numbers(1, 60000, 1, 60000)
        self.leave()
        self.assertEqual(line.said()[0][4:-3:2], [b"rl:c"])
        line.numbers(7, 60000)
        self.assertEqual(self.successResultOf(answers[2]).hits, 7)

    def test_the_queue_is_bounded(self) -> None:
        """A question too many fails at once."""
        self.patch(redis, "QUEUE", 2)
        self.connect()
        for name in "ab":
            self.assertNoResult(self.store.ask("", name))
        self.failureResultOf(self.store.ask("", "c"), Unavailable)

    def test_loads_its_script(self) -> None:
        """A server that does not know the script gets the whole of it, with the same questions, once."""
        line = self.connect()
        answer = self.store.ask("t", "a")
        self.leave()
        first = line.said()[0]
        line.reply(b"-NOSCRIPT No matching script.\r\n")
        [second] = line.said()
        self.assertEqual(second[:2], [b"EVAL", ASK])
        self.assertEqual(second[2:], first[2:])
        line.numbers(1, 60000)
        self.assertEqual(self.successResultOf(answer).hits, 1)
        self.assertEqual((self.store.round_trips, self.store.asks), (2, 1))

    def test_a_refusal(self) -> None:
        """What Redis refuses, and what waits behind it, is answered without it; its words are logged."""
        line = self.connect()
        answer = self.store.ask("", "a")
        self.leave()
        later = self.store.ask("", "b")
        line.reply(b"-OOM command not allowed\r\n")
        self.failureResultOf(answer, Unavailable)
        self.failureResultOf(later, Unavailable)
        self.assertIn("OOM", self.told[0])
        self.assertTrue(self.store.degraded)
        self.assertEqual(self.store.errors, 1)

    def test_half_a_surrogate_pair(self) -> None:
        """Text that UTF-8 cannot write is a name like any other, and no harm to its neighbours."""
        line = self.connect()
        self.store.ask("", "user:\ud800")
        self.store.ask("", "user:b\0c")
        self.leave()
        self.assertEqual(line.said()[0][3:7], [b"blacklist:", b"rl:user:\xed\xa0\x80", b"blacklist:", b"rl:user:b\0c"])

    def test_a_late_answer_is_ignored(self) -> None:
        """The batch and all who wait behind it fail in time; until its answer comes nobody else waits for Redis."""
        line = self.connect()
        answer = self.store.ask("", "a")
        self.leave()
        behind = self.store.ask("", "b")
        self.hang(answer)
        self.failureResultOf(behind, Unavailable)
        self.failureResultOf(self.store.ask("", "c"), Unavailable)
        line.said()
        line.numbers(1, 60000)
        self.failureResultOf(self.store.ask("", "c"), Unavailable)
        self.clock.advance(PAUSE)
        self.returned(line)
        again = self.store.ask("", "d")
        self.leave()
        self.assertEqual(line.said()[0][4], b"rl:d")
        line.numbers(4, 60000)
        self.assertEqual(self.successResultOf(again).hits, 4)
        self.assertEqual(self.store.errors, 1)
        self.clock.advance(2 * PATIENCE)
        self.assertFalse(line.disconnected)

    def test_a_late_refusal_is_not_repeated(self) -> None:
        """The script is not sent for questions that nobody asks any longer: they would be counted twice."""
        line = self.connect()
        answer = self.store.ask("", "a")
        self.leave()
        self.hang(answer)
        line.said()
        line.reply(b"-NOSCRIPT No matching script.\r\n")
        self.assertEqual(line.said(), [])

    def test_gives_a_silent_connection_up(self) -> None:
        """When the late answer does not come either, the connection is cut."""
        line = self.connect()
        answer = self.store.ask("", "a")
        self.leave()
        self.hang(answer)
        self.clock.advance(PATIENCE)
        self.assertTrue(line.disconnected)
        self.failureResultOf(self.store.ask("", "b"), Unavailable)

    def test_an_answer_unread_is_not_late(self) -> None:
        """When this process was the slow one, what it has not read yet still counts."""
        line = self.connect()
        answer = self.store.ask("", "a")
        self.leave()
        self.clock.advance(10 * TIMEOUT)
        self.assertNoResult(answer)
        line.numbers(1, 60000)
        self.assertEqual(self.successResultOf(answer).hits, 1)

    def test_each_batch_has_its_time(self) -> None:
        """One timer serves them all: it follows the batch that is away, and ends when there is none."""
        line = self.connect()
        first = self.store.ask("", "a")
        self.leave()
        self.clock.advance(0.03)
        line.numbers(1, 60000)
        self.successResultOf(first)
        second = self.store.ask("", "b")
        self.leave()
        self.clock.advance(0.03)
        self.assertNoResult(second)
        line.numbers(1, 60000)
        self.successResultOf(second)
        self.clock.advance(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_lost_connection_fails_what_is_asked(self) -> None:
        """At once, the question in flight and those behind it; the next connection starts afresh."""
        line = self.connect()
        answer = self.store.ask("", "a")
        self.leave()
        behind = self.store.ask("", "b")
        line.lose()
        self.failureResultOf(answer, Unavailable)
        self.failureResultOf(behind, Unavailable)
        self.failureResultOf(self.store.ask("", "c"), Unavailable)
        line = self.connect()
        self.returned(line)
        again = self.store.ask("", "d")
        self.leave()
        line.numbers(1, 60000)
        self.assertEqual(self.successResultOf(again).hits, 1)

    def test_waits_for_the_first_connection(self) -> None:
        """What is asked while the gateway starts waits, as long as a question may."""
        answer = self.store.ask("", "a")
        self.leave()
        line = self.connect()
        self.assertEqual(line.said()[0][4], b"rl:a")
        line.numbers(1, 60000)
        self.assertEqual(self.successResultOf(answer).hits, 1)

    def test_nothing_is_kept_for_a_redis_that_is_away(self) -> None:
        """A question that failed is never sent afterwards, and without a connection none waits twice."""
        self.hang(self.store.ask("", "a"))
        self.failureResultOf(self.store.ask("", "b"), Unavailable)
        self.returned(self.connect())

    def test_nobody_to_count(self) -> None:
        """Where only a token was asked about, a policy for limits does not matter, and nobody is counted."""
        line = self.connect()
        asked = self.store.ask("t", "")
        self.leave()
        line.reply(b"-LOADING in progress\r\n")
        self.assertEqual(self.successResultOf(asked), NOTHING)
        self.assertEqual(self.successResultOf(self.store.ask("t", "")), NOTHING)

    def test_fails_what_waits_when_its_turn_comes_too_late(self) -> None:
        """Questions that time out before they left are answered without Redis, until a probe finds it there."""
        line = self.connect()
        held: list[Any] = []
        with patch.object(self.store, "_at_end", held.append):
            answer = self.store.ask("", "a")
        self.hang(answer)
        held[0]()
        self.clock.advance(PAUSE)
        self.returned(line)
        self.assertNoResult(self.store.ask("", "b"))

    def test_one_probe_at_a_time(self) -> None:
        """Nobody waits for it; one that hangs, or is too late, leaves Redis away, and the next comes when it may."""
        line = self.connect()
        answer = self.store.ask("", "a")
        self.leave()
        line.reply(b"-LOADING Redis is loading the dataset in memory\r\n")
        self.failureResultOf(answer, Unavailable)
        line.said()
        self.clock.advance(PAUSE)
        self.assertEqual(len(line.said()), 1)
        self.failureResultOf(self.store.ask("", "b"), Unavailable)
        self.clock.pump([TIMEOUT, GRACE, PAUSE])
        self.assertEqual(line.said(), [])
        line.numbers(1, 60000)
        self.assertTrue(self.store.degraded)
        self.clock.advance(PAUSE)
        self.returned(line)
        self.assertFalse(self.store.degraded)
        self.assertEqual(self.told[1:], ["Redis 127.0.0.1:6379/2 is back"])
        self.clock.advance(PAUSE)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_replica(self) -> None:
        """Where nothing can be written it is connected anew: who can be written to may be elsewhere now."""
        line = self.connect()
        answer = self.store.ask("", "a")
        self.leave()
        line.reply(b"-READONLY You can't write against a read only replica.\r\n")
        self.failureResultOf(answer, Unavailable)
        self.assertFalse(line.disconnected)
        self.clock.advance(PAUSE)
        self.assertTrue(line.disconnected)
        self.returned(self.connect())
        self.assertFalse(self.store.degraded)

    def test_counts_on(self) -> None:
        """What Redis counted last is where counting without it begins, the question that failed included."""
        self.store = self.make(on_failure="local")
        line = self.connect()
        self.store.ask("", "a")
        self.leave()
        line.numbers(50, 30000)
        answers = [self.store.ask("", "a"), self.store.ask("revoked", "a")]
        self.revocations.tell("blacklist:revoked", "1", None, self.clock.seconds())
        self.leave()
        line.lose()
        self.assertEqual(self.successResultOf(answers[0]), Verdict(False, 51, 30.0))
        self.assertTrue(self.successResultOf(answers[1]).revoked)
        self.assertEqual(self.successResultOf(self.store.ask("", "a")).hits, 52)

    def test_authenticates(self) -> None:
        """User, password and database are given before anything is asked."""
        self.store = self.make("redis://ann:pw@h/3")
        line = self.begin()
        self.assertEqual(line.said(), [[b"AUTH", b"ann", b"pw"]])
        line.reply(b"+OK\r\n")
        self.assertEqual(line.said(), [[b"SELECT", b"3"]])

    def test_a_wrong_password_is_told_once_and_tried_again(self) -> None:
        """It may be mended at Redis, so the store does not give up; the password is not in the log."""
        self.store = self.make("redis://:hush@h/0")
        told: list[str] = []
        self.patch(self.store._links, "_log", type("Log", (), {"error": lambda _, text, why: told.append(why)})())
        for _ in range(2):
            line = self.begin()
            line.reply(b"-WRONGPASS invalid username-password pair\r\n")
            self.assertTrue(line.disconnecting)
            line.lose()
        self.assertFalse(self.store._links.stopped)
        self.assertEqual(len(told), 1)
        self.assertIn("WRONGPASS", told[0])
        self.assertNotIn("hush", told[0])

    def test_a_handshake_that_hangs_is_given_up(self) -> None:
        """A Redis that takes connections and does not answer is not connected to."""
        line = self.begin()
        self.clock.advance(PATIENCE)
        self.assertTrue(line.disconnected)

    def test_a_connection_that_died_at_once(self) -> None:
        """One that ends before it is handed over never counts."""
        line = self.begin()
        line.reply(b"+OK\r\n")
        line.lose()
        self.leave()
        self.assertFalse(self.successResultOf(self.store.ping()))

    def test_pings(self) -> None:
        """True when Redis answers; False when it is away, refuses or does not answer in time."""
        self.assertFalse(self.successResultOf(self.store.ping()))
        line = self.connect()
        answered, refused, ignored = self.store.ping(), self.store.ping(), self.store.ping()
        line.reply(b"+PONG\r\n-LOADING Redis is loading\r\n")
        self.assertTrue(self.successResultOf(answered))
        self.assertFalse(self.successResultOf(refused))
        self.clock.advance(4 * TIMEOUT)
        self.assertFalse(self.successResultOf(ignored))

    def test_nobody_asks(self) -> None:
        """A ping that is not answered in time is followed by a question: else nobody would find out."""
        self.connect()
        self.store.ping()
        self.clock.pump([4 * TIMEOUT, TIMEOUT])
        self.assertFalse(self.store.degraded)
        self.clock.pump([GRACE])
        self.assertTrue(self.store.degraded)

    def test_closes(self) -> None:
        """What waits fails, the connection goes, no timer stays."""
        line = self.connect()
        answer = self.store.ask("", "a")
        done = self.store.close()
        self.failureResultOf(answer, Unavailable)
        self.assertTrue(line.disconnected)
        self.leave()
        self.successResultOf(done)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closes_while_it_is_away(self) -> None:
        """No probe follows."""
        line = self.connect()
        answer = self.store.ask("", "a")
        self.leave()
        line.reply(b"-OOM command not allowed\r\n")
        self.failureResultOf(answer, Unavailable)
        self.store.close()
        self.leave()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closes_before_it_began(self) -> None:
        """A store that never ran does not connect."""
        store = self.make()
        self.successResultOf(store.close())
        self.assertEqual(self.clock.getDelayedCalls(), [])
