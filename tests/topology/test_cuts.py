"""Machines that are cut off one at a time: their packets are lost, and nobody is told."""

from __future__ import annotations

import time

from tests.faults.load import NO_ANSWER
from tests.faults.platform import bearer
from tests.integration.processes import wait_for
from tests.topology.case import SLOW, TopologyCase, note
from tests.topology.held import CUT
from tests.topology.platform import CLIENTS

NOTICED = 4.5
"""Seconds in which the balancers have stopped using a gateway that is off the net."""


class GatewayTests(TopologyCase):
    """A gateway."""

    def test_off_the_net(self) -> None:
        """Idempotent requests wait and are answered by others; a POST that was under way fails; then nobody notices."""
        for number in (1, 2, 3):
            name = f"gateway-{number}"
            sockets = self.sockets(3)
            with self.loads() as (kept, new, post):
                time.sleep(1)
                pulled = time.monotonic()
                self.pull(name, "front", "state")
                wait_for(lambda: number not in self.platform.up(), "it is used no more", 20)  # noqa: B023
                noticed = time.monotonic() - pulled
                time.sleep(max(0.0, NOTICED + 1.5 - noticed))
                self.plug(name, "front", "state")
                plugged = time.monotonic()
                wait_for(lambda: self.platform.up() == {1, 2, 3}, "it is used again", 20)
                back = time.monotonic() - plugged
                time.sleep(0.5)
            for load in (kept, new):
                self.assertEqual(set(load.statuses()), {200})
                self.assertLess(load.slowest(), NOTICED)
                self.assertLess(load.slowest(pulled + NOTICED, plugged), SLOW)
            failed = [outcome for outcome in post.outcomes() if outcome.status != 200]
            self.assertLessEqual(len(failed), 2)  # what was under way: one for each client
            self.assertTrue(all(outcome.sent < pulled + NOTICED for outcome in failed))
            self.assertLess(post.slowest(), NOTICED)
            self.told(f"{name} off the net, connections kept, new, POST", kept, new, post)
            cut = [each.ended - pulled for each in sockets if each.ended]
            self.assertTrue(all(each.code == CUT and each.ended - pulled < NOTICED for each in sockets if each.ended))
            note(
                f"    noticed after {noticed:.1f} s, used again {back:.1f} s after its return; WebSockets cut at {cut}"
            )


class RedisTests(TopologyCase):
    """What is shared."""

    def direct(self, number: int, *lines: str, source: str = CLIENTS[0]) -> int:
        """The status that one gateway gives; 0 when it cuts the connection."""
        try:
            with self.platform.connect(source, f"10.0.0.1{number}", 3000) as client:
                client.send("\r\n".join(("GET /api/users HTTP/1.1", "Host: a", *lines, "", "")).encode())
                return client.answer().status
        except (OSError, EOFError):
            return NO_ANSWER

    def passed(self, number: int, count: int, *lines: str) -> int:
        """How many of so many requests in a row one gateway lets through."""
        return [self.direct(number, *lines) for _ in range(count)].count(200)

    def test_one_gateway_without_redis(self) -> None:
        """It counts for itself, and nothing twice; what was revoked and banned meanwhile it knows when it is back."""
        first, second = self.gateway(1), self.gateway(2)
        bob, thief = bearer("bob", "user"), bearer("thief")
        self.assertEqual((self.passed(1, 30, bob), self.passed(2, 10, bob)), (30, 10))
        self.assertEqual(self.direct(1, thief), 200)
        with self.platform.load("kept") as load:
            self.pull("gateway-1", "state")
            workers = first.workers
            wait_for(lambda: first.cut_off() == workers, "all its workers know")
            self.assertEqual(second.cut_off(), 0)
            # Of bob's 60, Redis had told each of its workers of 30 at most; the second gateway and Redis know of 40.
            local = self.passed(1, 60 * workers, bob)
            self.assertEqual(self.passed(2, 25, bob), 20)
            self.assertTrue(30 <= local < 60 * workers, local)
            self.assertEqual(self.passed(1, 10, bob), 0)
            second.smartgate("revoke", "--jti", "thief", "--for", "1h")
            second.smartgate("ban", CLIENTS[6], "--for", "1h")
            self.addCleanup(second.smartgate, "unban", CLIENTS[6])
            wait_for(lambda: self.direct(2, thief) == 401, "the second gateway knows of the revocation")
            wait_for(lambda: not self.direct(2, source=CLIENTS[6]), "the second gateway knows of the ban")
            self.assertEqual(self.direct(1, thief), 200)  # it cannot know
            counted = int(self.platform.ask_redis(self.platform.master(), "GET", "rl:user:bob"))
            self.plug("gateway-1", "state")
            plugged = time.monotonic()
            wait_for(lambda: not first.cut_off(), "Redis is back")
            rejoined = time.monotonic() - plugged
            wait_for(lambda: self.direct(1, thief) == 401, "it knows of the revocation", 10)
            wait_for(lambda: not self.direct(1, source=CLIENTS[6]), "it knows of the ban", 10)
            caught_up = time.monotonic() - plugged
            self.assertEqual(int(self.platform.ask_redis(self.platform.master(), "GET", "rl:user:bob")), counted)
            self.assertEqual(self.direct(1, bob), 429)
        self.assertEqual(set(load.statuses()), {200})
        self.told("gateway-1 without Redis", load)
        known = f"revocation and ban known {caught_up:.1f} s"
        note(
            f"    {local} of 60 passed on it meanwhile; limits shared again {rejoined:.1f} s, {known} after its return"
        )

    def test_master_cut_off(self) -> None:
        """Sentinel makes another one the master: limits, revocations and bans go on there."""
        gateways = self.platform.gateways
        master, carl, thief = self.platform.master(), bearer("carl", "user"), bearer("robber")
        self.gateway(3).smartgate("revoke", "--jti", "robber", "--for", "1h")
        self.assertEqual(self.passed(1, 20, carl), 20)
        with self.platform.load("kept") as load:
            pulled = time.monotonic()
            self.pull(f"redis-{master[-1]}", "state")
            wait_for(lambda: all(each.cut_off() == each.workers for each in gateways), "it is noticed")
            self.assertEqual(self.direct(1, thief), 401)
            wait_for(lambda: self.platform.master() != master, "there is another master", 30)
            promoted = time.monotonic() - pulled
            wait_for(lambda: not any(each.cut_off() for each in gateways), "the gateways use it", 20)
            used = time.monotonic() - pulled
            passed = [self.passed(number, 25, carl) for number in (1, 2, 3)]
            self.assertEqual(self.direct(2, thief), 401)
            self.plug(f"redis-{master[-1]}", "state")
            replica = lambda: (self.platform.ask_redis(master, "ROLE") or [""])[0] == "slave"  # noqa: E731
            wait_for(replica, "the old master is a replica", 40)
        self.assertEqual(sum(passed), 40)  # of 60, 20 of which the old master had counted
        self.assertEqual(set(load.statuses()), {200})
        self.told("the master cut off", load)
        note(f"    another master after {promoted:.1f} s, used by all gateways after {used:.1f} s")


class BalancerTests(TopologyCase):
    """The balancer that has the address."""

    def test_off_the_net(self) -> None:
        """The other one takes the address: new connections are answered there."""
        with self.platform.load("new", lines=["Connection: close"], patience=1.0) as load:
            time.sleep(1)
            holder = self.platform.holder()
            pulled = time.monotonic()
            self.pull(f"balancer-{holder}", "front")
            time.sleep(5)
            self.plug(f"balancer-{holder}", "front")
            plugged = time.monotonic()
            time.sleep(3)
        failed = [outcome for outcome in load.outcomes() if outcome.status != 200]
        last = max((outcome.sent + outcome.seconds for outcome in failed), default=pulled) - pulled
        self.assertLess(last, 3)
        self.assertEqual(set(load.statuses(plugged)), {200})
        self.assertNotIn(self.platform.holder(), ("", holder))  # it stays where it is
        self.told("the balancer off the net", load)
        note(f"    the last failure {last:.1f} s after")
