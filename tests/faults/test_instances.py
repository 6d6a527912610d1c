"""Instances that are killed, hang, cut, answer 5xx or take no connections, while clients go on asking."""

from __future__ import annotations

import signal
import socket
import time
from collections import Counter

from tests.faults.instance import Instance
from tests.faults.load import NO_ANSWER, Load
from tests.faults.platform import FaultCase
from tests.integration.origin import Origin, reset
from tests.integration.processes import wait_for

QUICK = """
connect_timeout = "500ms"
first_byte_timeout = "500ms"
idle_timeout = "500ms"
slow_start = "100ms"
ejection = { time = "500ms", max_time = "1s" }
"""


class InstanceCase(FaultCase):
    """Two instances, of which the first is the one that breaks."""

    upstream = QUICK

    def setUp(self) -> None:
        self.first, self.second = Instance("first"), Instance("second")
        self.addCleanup(self.first.stop)
        self.addCleanup(self.second.stop)
        self.gateway(self.first.url, self.second.url, upstream=self.upstream)

    def serves(self, load: Load, name: bytes, since: float = 0.0) -> bool:
        """Whether an instance has answered since a moment."""
        return any(outcome.body == name and outcome.status == 200 for outcome in load.outcomes(since))

    def both(self, load: Load) -> None:
        """Wait until both instances take part."""
        wait_for(lambda: self.serves(load, b"first") and self.serves(load, b"second"), "both instances")

    def more(self, load: Load, count: int = 300) -> None:
        """Wait for so many requests from now on."""
        now = time.monotonic()
        wait_for(lambda: len(load.outcomes(now)) > count, "more requests", 30)

    def used_again(self, load: Load) -> None:
        """Wait until the first instance is used once more."""
        now = time.monotonic()
        wait_for(lambda: self.serves(load, b"first", now), "the instance's return", 30)


class KilledTests(InstanceCase):
    """kill -9 of one of two instances."""

    def test_nobody_notices(self) -> None:
        """No idempotent request fails, neither at that moment nor while it is away, and it is used when it is back."""
        with Load(self.port, "/public/x", clients=8) as load:
            self.both(load)
            self.first.kill()
            self.more(load)
            self.first.start()
            self.used_again(load)
        self.assertEqual(set(load.statuses()), {200})

    def test_posts_are_never_sent_twice(self) -> None:
        """Each that was answered 200 was served once, and no other more than once."""
        with Load(self.port, "/public/x", method="POST") as load:
            self.both(load)
            self.first.kill()
            self.more(load)
        served = Counter((self.first.said() + self.second.said()).split())
        self.assertEqual(set(served.values()), {1})
        self.assertGreaterEqual(len(served), load.statuses()[200])
        failed = load.statuses()[502]
        self.assertLessEqual(failed, 4)  # what was under way: one for each client
        self.assertEqual(load.statuses()[200] + failed, len(load.outcomes()))


class HungTests(InstanceCase):
    """SIGSTOP of one of two instances: it takes connections, and never answers."""

    def test_ejected(self) -> None:
        """Those who wait for the first byte are answered by the other; soon nobody waits."""
        with Load(self.port, "/public/x") as load:
            self.both(load)
            self.first.signal(signal.SIGSTOP)
            stopped = time.monotonic()
            wait_for(lambda: len(load.outcomes(stopped + 3)) > 100, "requests without it", 20)
            self.first.signal(signal.SIGCONT)
            self.used_again(load)
        self.assertEqual(set(load.statuses()), {200})
        slow = [outcome for outcome in load.outcomes(stopped) if outcome.seconds > 0.4]
        self.assertLessEqual(len(slow), 8)  # five in a row eject it; each client may have had one more under way
        self.assertLess(max(outcome.seconds for outcome in load.outcomes(stopped + 2, stopped + 3)), 0.4)


class ProbedTests(InstanceCase):
    """Instances that are probed, and may take a minute to answer."""

    upstream = """
    health = { interval = "200ms", timeout = "200ms", fall = 2 }
    slow_start = "100ms"
    """

    def test_hung(self) -> None:
        """Nobody waits for that minute: probes find out, and those who waited are answered by the other."""
        with Load(self.port, "/public/x", patience=10) as load:
            self.both(load)
            self.first.signal(signal.SIGSTOP)
            wait_for(lambda: self.metric("smartgate_upstream_up") == 1, "one instance is down")
            self.more(load)
            self.first.signal(signal.SIGCONT)
            self.used_again(load)
        self.assertEqual(set(load.statuses()), {200})
        self.assertLess(load.slowest(), 5)
        self.assertIn("is down: no answer in time", self.process.said())

    def test_all_down(self) -> None:
        """When no probe is answered well, requests are tried all the same."""
        for instance in (self.first, self.second):
            instance.become("ill")
        wait_for(lambda: self.metric("smartgate_upstream_up") == 0, "both are down")
        self.assertEqual(self.ask(), 503)
        for instance in (self.first, self.second):
            instance.become("well")
        wait_for(lambda: self.metric("smartgate_upstream_up") == 2, "both are up")
        for instance in (self.first, self.second):
            instance.kill()
        self.assertEqual(self.ask(), 502)

    def ask(self) -> int:
        """The status of one request."""
        client = self.client()
        client.send(b"GET /public/x HTTP/1.1\r\nHost: a\r\n\r\n")
        return client.answer().status


class ErrorTests(InstanceCase):
    """One of two instances answers 503 to everything."""

    def test_ejected(self) -> None:
        """Three bad answers in a row, and it gets no more requests; its later trials cost nobody anything."""
        with Load(self.port, "/public/x") as load:
            self.both(load)
            self.first.become("ill")
            self.more(load, 400)
            ill = load.statuses()[503]
            self.assertGreaterEqual(ill, 3)
            self.assertLessEqual(ill, 3 + 3)  # the third ejects it; three other clients may have one under way
            tried = time.monotonic() + 1
            wait_for(lambda: len(load.outcomes(tried)) > 100, "trials")
            self.first.become("well")
            self.used_again(load)
        self.assertEqual(load.statuses(), Counter({200: len(load.outcomes()) - ill, 503: ill}))


class CutTests(InstanceCase):
    """One of two instances breaks off what it began."""

    def until_ejected(self, load: Load, state: str) -> None:
        """The first instance is in this state, until it was ejected for it and some of its trials have gone wrong."""
        self.both(load)
        self.first.become(state)
        wait_for(lambda: self.metric("smartgate_upstream_ejections_total") >= 3, "ejections", 30)
        self.first.become("well")
        self.used_again(load)

    def test_reset_before_the_answer(self) -> None:
        """No idempotent request fails."""
        with Load(self.port, "/public/x") as load:
            self.until_ejected(load, "resetting")
        self.assertEqual(set(load.statuses()), {200})

    def test_posts_are_never_sent_twice(self) -> None:
        """Those whose connection is reset are answered 502, and none is served by both."""
        with Load(self.port, "/public/x", method="POST") as load:
            self.until_ejected(load, "resetting")
        self.assertEqual(set(load.statuses()), {200, 502})
        served = Counter((self.first.said() + self.second.said()).split())
        self.assertEqual((set(served.values()), len(served)), ({1}, len(load.outcomes())))

    def test_truncated_bodies(self) -> None:
        """None is finished in order: its client's connection is cut. After five in a row the instance gets no more."""
        with Load(self.port, "/public/x") as load:
            self.until_ejected(load, "truncating")
        self.assertEqual(set(load.statuses()), {200, NO_ANSWER})
        ejections = self.metric("smartgate_upstream_ejections_total")
        # Five in a row, and what three other clients have under way; then one for each trial, and the same three.
        self.assertLessEqual(load.statuses()[NO_ANSWER], 5 + 3 + (ejections - 1) * 4)

    def test_half_closed(self) -> None:
        """A whole answer before it is one, and nothing is asked on that connection any more."""
        with Load(self.port, "/public/x") as load:
            self.both(load)
            self.first.become("half-closing")
            self.more(load, 600)
            self.both(load)
        self.assertEqual(set(load.statuses()), {200})


class AloneTests(FaultCase):
    """An upstream of one instance: nobody else can be asked."""

    def setUp(self) -> None:
        self.origin = Origin()
        self.addCleanup(self.origin.close)
        self.gateway(f"http://127.0.0.1:{self.origin.port}", upstream=QUICK)

    def test_reset_before_the_answer(self) -> None:
        """It is answered for with 502."""
        client = self.client()
        self.origin.plan([reset], [reset], [reset])
        client.send(b"GET /public/x HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(client.answer().status, 502)

    def test_truncated_bodies(self) -> None:
        """With a length and chunked, by a reset and by a close."""
        for begun in (
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        ):
            for end in (reset, lambda connection: connection.shutdown(socket.SHUT_RDWR)):
                client = self.client()
                self.origin.plan([begun, end])
                client.send(b"GET /public/x HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertRaises((EOFError, ConnectionError), client.answer)

    def test_half_closed(self) -> None:
        """After its answer that is fine; before it, it has failed."""
        client = self.client()
        half = lambda connection: connection.shutdown(socket.SHUT_WR)  # noqa: E731
        self.origin.plan([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", half], [half], [half], [half])
        for status in (200, 502):
            client.send(b"GET /public/x HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertEqual(client.answer().status, status)


class LimitTests(FaultCase):
    """An upstream that is asked for more than its limits allow."""

    def setUp(self) -> None:
        self.instance = Instance("service")
        self.addCleanup(self.instance.stop)

    def held(self, limits: str) -> Load:
        """What a load of eight clients gets while two downloads take up an upstream with these limits, and after them.

        :returns: the load, which is over; ``began`` is when both downloads were under way.
        """
        self.gateway(self.instance.url, upstream=f'connect_timeout = "300ms"\nlimits = {limits}')
        clients = [self.client() for _ in range(2)]
        for client in clients:
            client.send(b"GET /public/slow HTTP/1.1\r\nHost: x\r\n\r\n")
            client.until(b"\r\n\r\n")
        with Load(self.port, "/public/x", clients=8, pause=0.02) as load:
            wait_for(lambda: len(load.outcomes()) > 200, "refusals")
            self.assertEqual(set(load.statuses()), {503})
            for client in clients:
                client.socket.close()
            wait_for(lambda: load.statuses()[200] > 100, "answers")
        self.assertEqual(set(load.statuses()), {200, 503})
        return load

    def test_connections(self) -> None:
        """Two may wait for one, for ``connect_timeout``; all others hear at once when to come again."""
        load = self.held("{ connections = 2, pending = 2 }")
        refused = [outcome.seconds for outcome in load.outcomes() if outcome.status == 503]
        waited = [seconds for seconds in refused if seconds > 0.25]
        self.assertLess(max(refused), 1.5)
        self.assertGreater(len(waited), 0)
        self.assertLess(len(waited), len(refused) / 4)
        self.assertEqual(self.metric("smartgate_upstream_refused_total"), len(refused))

    def test_requests(self) -> None:
        """Above them nobody waits."""
        load = self.held("{ requests = 2 }")
        refused = [outcome.seconds for outcome in load.outcomes() if outcome.status == 503]
        self.assertLess(sorted(refused)[len(refused) // 2], 0.1)
        self.assertEqual(self.metric("smartgate_upstream_refused_total"), len(refused))


class FullTests(FaultCase):
    """An instance whose accept queue is full: connections are never made."""

    def test_requests_go_to_the_other(self) -> None:
        """Whatever the method: nothing was sent."""
        second = Instance("second")
        self.addCleanup(second.stop)
        full = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(full.close)
        waiting = []
        try:
            while True:
                waiting.append(socket.create_connection(full.getsockname(), 0.3))
        except TimeoutError:
            pass
        for each in waiting:
            self.addCleanup(each.close)
        self.gateway(f"http://127.0.0.1:{full.getsockname()[1]}", second.url, upstream=QUICK)
        with Load(self.port, "/public/x", method="POST") as load:
            wait_for(lambda: len(load.outcomes()) > 200, "requests", 20)
        self.assertEqual(set(load.statuses()), {200})
        self.assertLessEqual(len([outcome for outcome in load.outcomes() if outcome.seconds > 0.4]), 8)


class ClientLeavesTests(InstanceCase):
    """Clients that leave in the middle of a download."""

    def test_their_instances_stop_working(self) -> None:
        """The exchange ends with its client, and others do not notice."""
        with Load(self.port, "/public/x") as load:
            for _ in range(20):
                client = self.client()
                client.send(b"GET /public/slow HTTP/1.1\r\nHost: x\r\n\r\n")
                client.until(b"\r\n\r\n")
                reset(client.socket)
        self.assertEqual(set(load.statuses()), {200})
