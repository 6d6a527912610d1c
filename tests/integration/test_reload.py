"""Reloads of real processes under load: nothing is lost, nothing piles up, and what is wrong is refused."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from h2.events import StreamEnded

from tests.faults.load import Load
from tests.faults.streams import Streams
from tests.integration.client import Client
from tests.integration.processes import Process, free_port, wait_for
from tests.integration.test_h2 import LAST_REQUESTS, certificate
from tests.integration.test_h2 import Client as H2Client
from tests.integration.test_websocket import pair
from tests.integration.websockets import Upstream
from tests.integration.workers import WorkersCase, alive

REQUEST = b"GET /api/x HTTP/1.1\r\nHost: gateway.example\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

DRAIN = 2.0
MORE = """
[[upstreams]]
name = "sockets"
instances = ["http://127.0.0.1:{sockets}"]
[[upstreams]]
name = "events"
instances = ["http://127.0.0.1:{events}"]
[[routes]]
prefix = "/api/ws"
upstream = "sockets"
websocket = true
auth = "none"
rate_limit = false
[[routes]]
prefix = "/api/events"
upstream = "events"
auth = "none"
rate_limit = false
"""


def descriptors(pid: int) -> int:
    """How many files a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory(pid: int) -> int:
    """KiB that a process has in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4


def ask_on(port: int, over: threading.Event, outcomes: Counter[str]) -> None:
    """Ask one request after the other over HTTP/2, on a new connection where the gateway says that one is the last."""
    while not over.is_set():
        client, last = H2Client(port), False
        client.socket.settimeout(60)
        try:
            while not last and not over.is_set():
                client.ask("/api/x")
                ended = False
                while not ended:
                    data = client.socket.recv(65536)
                    if not data:
                        raise EOFError
                    last = last or LAST_REQUESTS in data  # the library would hear nothing after that
                    happened = client.h2.receive_data(data.replace(LAST_REQUESTS, b""))
                    ended = any(isinstance(event, StreamEnded) for event in happened)
                    client.flush()
                outcomes["answered"] += 1
                time.sleep(0.01)
            outcomes["last"] += last
        except (EOFError, OSError) as error:
            outcomes[repr(error)] += 1
        finally:
            client.close()


class ReloadTests(WorkersCase):
    """New workers with a new configuration, in place of the old ones."""

    def rewrite(self, **values: Any) -> None:
        """Change the file."""
        self.values |= values
        self.config.write_text(self.text())

    def changed(self, number: int) -> None:
        """Wait until this generation has taken over, and the one before is gone."""
        wait_for(lambda: self.generation(number), f"generation {number} serves alone", 90)

    def test_under_load(self) -> None:
        """Every request is answered while workers are replaced, on kept connections and on new ones."""
        self.start()
        before, pid = self.pids(), self.gateway.child.pid
        with Load(self.port, "/api/x", clients=6) as kept, Load(self.port, "/api/x", "Connection: close") as new:
            for number in (2, 3):
                time.sleep(0.3)
                self.reload()
                self.changed(number)
            time.sleep(0.3)
        for load in (kept, new):
            self.assertEqual(set(load.statuses()), {200})
            self.assertGreater(load.statuses()[200], 200)
        self.assertIsNone(self.gateway.child.poll(), "the supervisor is the same process")
        self.assertFalse(any(map(alive, before)))
        self.assertIn(str(pid), Path(f"/proc/{self.pids()[0]}/stat").read_text())
        total = kept.statuses()[200] + new.statuses()[200]
        counted = 'smartgate_requests_total{class="2xx",route="/api"}'
        wait_for(lambda: self.metric(counted) == total, "what all generations counted is told")
        self.assertEqual(self.metric('smartgate_reloads_total{outcome="done"}'), 2)

    def test_configuration(self) -> None:
        """What the file says now is what is done: how many workers, and where they listen."""
        self.start()
        other, admin, first = free_port(), free_port(), self.port
        self.rewrite(workers=3, listen=f', "tcp:{other}:interface=127.0.0.1"')
        self.reload()
        self.changed(2)
        self.assertEqual(len(self.workers()), 3)
        self.port, self.admin = other, admin
        self.rewrite(workers=1, listen="")
        self.reload()
        self.changed(3)
        self.assertEqual(len(self.workers()), 1)
        with Client(other) as client:
            client.send(REQUEST)
            self.assertEqual(client.answer().status, 200)
        self.assertRaises(ConnectionRefusedError, Client, first)

    def test_refused(self) -> None:
        """A file with mistakes, a port that is taken, and workers that cannot start change nothing but the log."""
        self.start()
        before = self.pids()
        good = self.text()
        with Load(self.port, "/api/x") as load:
            self.config.write_text(good.replace("drain =", "drian ="))
            self.reload()
            wait_for(lambda: self.said("server.drian: there is no such key"), "the mistake is told")
            self.assertTrue(self.said(str(self.config)))
            self.config.write_text(
                good.replace("listen = [", f'listen = ["tcp:{self.valkey.port}:interface=127.0.0.1",')
            )
            self.reload()
            wait_for(lambda: self.said("Address already in use"), "the port is told", 90)
            self.config.write_text(good.replace('path = ""', 'path = "/nowhere/log"'))
            self.reload()
            wait_for(lambda: self.said("did not start"), "the worker's error is told", 90)
            self.config.write_text(good.replace("workers = 2", "workers = 0"))
            self.reload()
            wait_for(lambda: self.said("takes a restart"), "that it cannot be done is told", 90)
        self.assertEqual(set(load.statuses()), {200})
        self.assertEqual(set(self.pids()), set(before))
        self.assertEqual(self.metric('smartgate_reloads_total{outcome="refused"}'), 4)
        os.kill(before[0], 9)
        wait_for(lambda: len(self.pids()) == 2 and self.ask("/ready")[0] == 200, "it is started again as it was", 90)
        self.config.write_text(good)
        self.reload()
        wait_for(lambda: not set(before) & set(self.pids()) and self.ask("/ready")[0] == 200, "it can reload still", 90)

    def test_streams(self) -> None:
        """WebSockets and event streams go on for the drain time, then they are closed: WebSockets with 1012."""
        upstream = Upstream()
        self.addCleanup(upstream.close)
        self.origin.close()
        self.origin.port = upstream.port
        self.start(drain="4s")
        peer, server = pair(self, self.port, upstream)
        self.reload()
        wait_for(lambda: {w["state"] for w in self.workers()} == {"serving", "retiring"}, "the old ones retire", 60)
        began = time.monotonic()
        peer.connection.settimeout(20)
        self.assertEqual(peer.closed_with(), 1012)
        self.assertEqual(server.closed_with(), 1001)
        peer.connection.close()
        server.connection.close()
        self.assertGreater(time.monotonic() - began, 3.5)
        self.changed(2)

    def test_event_stream(self) -> None:
        """An event stream has its time, too, and a request on the same connection says that it is the last."""
        self.start(workers=1, drain="5s")
        idle = Client(self.port)
        idle.send(REQUEST)
        self.assertEqual(idle.answer().values("Connection"), [])
        self.origin.plan([STREAM, b"2\r\nhi\r\n", lambda _: time.sleep(60)])
        with Client(self.port, seconds=60) as client:
            client.send(REQUEST)
            client.until(b"hi\r\n")
            self.reload()
            wait_for(lambda: {w["state"] for w in self.workers()} == {"serving", "retiring"}, "the old one retires", 60)
            began = time.monotonic()

            def last() -> bool:
                idle.send(REQUEST)
                answer = idle.answer()
                self.assertEqual(answer.status, 200)
                return answer.values("Connection") == ["close"]

            wait_for(last, "it has heard that it retires, and says so", 1)
            idle.close()
            self.assertRaises((EOFError, OSError), client.until, b"0\r\n\r\n")
            self.assertGreater(time.monotonic() - began, 4)
        self.changed(2)

    def service(self, module: str) -> int:
        """The port of a service that runs until the test ends."""
        port = free_port()
        process = Process([sys.executable, "-m", module, str(port)], port)
        self.addCleanup(process.stop)
        process.wait()
        return port

    def test_many_streams(self) -> None:
        """Of very many none is cut before its time, and none says anything wrong on the way, through two reloads."""
        ports = {"sockets": self.service("tests.platform.echo"), "events": self.service("tests.faults.events")}
        self.start(drain=f"{DRAIN:g}s", more=MORE.format(**ports))
        upgrade = b"GET /api/ws/echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        events = b"GET /api/events HTTP/1.1\r\nHost: a\r\n\r\n"
        upgrade += b"Sec-WebSocket-Version: 13\r\n\r\n"
        streams = Streams(self.port, upgrade, 40, events, 10).start()
        took_over = []
        for number in (2, 3):
            self.reload()
            wait_for(lambda: self.said(f"generation {number}"), "the others serve", 30)  # noqa: B023
            took_over.append(time.time())  # a moment later
            self.changed(number)
        lives = streams.stop()
        ways = Counter((life.kind, life.how) for life in lives if life.how != "open")
        self.assertEqual(set(ways), {("websocket", "1012"), ("events", "cut")})
        self.assertGreaterEqual(len(lives), 3 * 50)
        for life in lives:
            if life.ended:
                last = min((moment for moment in took_over if moment > life.began), default=life.ended)
                self.assertGreater(life.ended - last, DRAIN - 0.5, life)

    def test_http2(self) -> None:
        """A request over HTTP/2 is answered, also one that crosses the GOAWAY on its way."""
        port = free_port()
        pem = certificate()
        self.start(listen=f', "ssl:{port}:interface=127.0.0.1:privateKey={pem}:certKey={pem}"')
        over, outcomes = threading.Event(), Counter[str]()
        clients = [threading.Thread(target=ask_on, args=(port, over, outcomes)) for _ in range(4)]
        for client in clients:
            client.start()
        for number in (2, 3):
            self.reload()
            self.changed(number)
        over.set()
        for client in clients:
            client.join()
        self.assertEqual(set(outcomes), {"answered", "last"})
        self.assertGreaterEqual(outcomes["last"], 8)

    def test_operators(self) -> None:
        """Throughout a reload it is ready, and tells so."""
        self.start(drain="1s")
        over, answers = threading.Event(), Counter[tuple[str, int]]()

        def ask(path: str) -> None:
            while not over.is_set():
                answers[path, self.ask(path)[0]] += 1
                time.sleep(0.01)

        operators = [threading.Thread(target=ask, args=(path,)) for path in ("/ready", "/metrics", "/health")]
        for operator in operators:
            operator.start()
        self.reload()
        self.changed(2)
        over.set()
        for operator in operators:
            operator.join()
        self.assertEqual(set(answers), {("/ready", 200), ("/metrics", 200), ("/health", 200)})

    def test_many(self) -> None:
        """Twenty reloads at once are few in the end, and leave no process, descriptor or memory behind."""
        self.start(drain="1s")
        self.reload()
        self.changed(2)
        supervisor = self.gateway.child.pid
        files, kib = descriptors(supervisor), memory(supervisor)
        most = 0
        with Load(self.port, "/api/x") as load:
            for _ in range(20):
                self.reload()
                time.sleep(0.15)
                most = max(most, len(self.pids()))
            seen = 0

            def settled() -> bool:
                nonlocal seen, most
                most = max(most, len(self.pids()))
                found = {worker["generation"] for worker in self.workers()}
                before, seen = seen, max(found, default=seen)
                return self.gateway.said().count("generation") > 3 and before == seen and len(self.pids()) == 2

            wait_for(settled, "they are over", 60)
            time.sleep(5)
            wait_for(settled, "they are over", 60)
        self.assertEqual(set(load.statuses()), {200})
        self.assertLessEqual(most, 5, "two generations and a check")
        self.assertLessEqual(descriptors(supervisor), files + 2)
        self.assertLess(memory(supervisor), kib * 1.1)
        self.assertLess(self.workers()[0]["generation"], 15)
