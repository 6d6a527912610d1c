"""One of two instances killed, hung, answering errors, and coming back, under a load that is accounted for."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.client import Client
from tests.integration.origin import talk
from tests.integration.processes import Process, free_port, start_gateway, wait_for

CONFIG = """
access_log = {{ path = "" }}
redis = {{ url = "memory:" }}
[server]
listen = ["tcp:{port}:interface=127.0.0.1"]
admin = "tcp:{admin}:interface=127.0.0.1"
workers = 0
[[upstreams]]
name = "pair"
instances = ["http://127.0.0.1:{first}", "http://127.0.0.1:{second}"]
slow_start = "100ms"
first_byte_timeout = "{first_byte}"
ejection = {{ time = "500ms", max_time = "1s" }}
{health}
[[routes]]
prefix = "/"
upstream = "pair"
auth = "none"
rate_limit = false
"""
PROBED = 'health = { interval = "200ms", timeout = "200ms", fall = 2 }'
CLIENTS = 8


def start_instance(port: int, name: str) -> Process:
    """An instance that listens."""
    instance = Process([sys.executable, "-m", "tests.integration.instance", str(port), name], port)
    instance.wait()
    return instance


class Load:
    """Clients that ask one request after the other, each on one connection, and what they were answered."""

    def __init__(self, port: int, method: str = "GET") -> None:
        self._port = port
        self._method = method
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.asked = 0
        self.statuses: Counter[int] = Counter()
        self.names: Counter[bytes] = Counter()
        self.slowest = 0.0
        self.lost = 0
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        with Client(self._port, seconds=10) as client:
            while not self._over.is_set():
                with self._lock:
                    self.asked += 1
                    number = self.asked
                began = time.monotonic()
                try:
                    client.send(f"{self._method} /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".encode())
                    answer = client.answer()
                except (OSError, EOFError):
                    with self._lock:
                        self.lost += 1
                    return
                with self._lock:
                    self.statuses[answer.status] += 1
                    self.names[answer.body if answer.status == 200 else b"?"] += 1
                    self.slowest = max(self.slowest, time.monotonic() - began)
                time.sleep(0.002)

    def more(self, count: int = 200) -> None:
        """Wait for so many more answers."""
        aim = self.statuses.total() + count
        wait_for(lambda: self.statuses.total() >= aim, f"{count} more answers")

    def stop(self) -> None:
        """Ask no more; each request that was asked has been answered then, or was lost."""
        self._over.set()
        for thread in self._threads:
            thread.join(15)


class HealthCase(SynchronousTestCase):
    """A gateway in front of two instances."""

    health = ""
    first_byte = "60s"

    def setUp(self) -> None:
        self.ports = [free_port(), free_port()]
        self.instances = [
            start_instance(port, name) for port, name in zip(self.ports, ("first", "second"), strict=True)
        ]
        self.port, self.admin = free_port(), free_port()
        self.gateway = start_gateway(
            CONFIG.format(
                port=self.port,
                admin=self.admin,
                first=self.ports[0],
                second=self.ports[1],
                health=self.health,
                first_byte=self.first_byte,
            ),
            self.port,
        )

    def tearDown(self) -> None:
        self.gateway.stop()
        for instance in self.instances:
            instance.child.kill()
            instance.stop()

    @contextmanager
    def load(self, method: str = "GET") -> Iterator[Load]:
        """A steady load; at its end every request is accounted for."""
        load = Load(self.port, method)
        try:
            load.more()
            yield load
        finally:
            load.stop()
        self.assertEqual((load.statuses.total(), load.lost), (load.asked, 0))

    def up(self) -> list[bool]:
        """Whether each instance is used, as the metrics have it."""
        text = talk(self.admin, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").decode()
        return [f'upstream_up{{instance="127.0.0.1:{port}",upstream="pair"}} 1.0' in text for port in self.ports]

    def used(self, load: Load, name: bytes) -> None:
        """Wait until an instance answers again."""
        before = load.names[name]
        wait_for(lambda: load.names[name] > before + 20, f"{name!r} is used")


class PassiveTests(HealthCase):
    """Without probes: requests show what is wrong."""

    def test_killed(self) -> None:
        """No request fails, and when it is there again it is used again."""
        with self.load() as load:
            self.instances[0].child.kill()
            wait_for(lambda: self.up() == [False, True], "the first is ejected")
            load.more()
            self.instances[0].stop()
            self.instances[0] = start_instance(self.ports[0], "first")
            self.used(load, b"first")
        self.assertEqual(set(load.statuses), {200})

    def test_errors(self) -> None:
        """Three are passed on, and those under way then; later trials cost nobody anything."""
        with self.load() as load:
            talk(self.ports[0], b"GET /break HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: self.up() == [False, True], "the first is ejected")
            load.more(20)
            failed = load.statuses[503]
            self.assertIn(failed, range(3, 3 + CLIENTS))
            began = time.monotonic()
            wait_for(lambda: time.monotonic() > began + 2, "some trials")
            self.assertEqual(load.statuses[503], failed)
            talk(self.ports[0], b"GET /mend HTTP/1.1\r\nHost: a\r\n\r\n")
            self.used(load, b"first")
        self.assertEqual(load.statuses.keys() - {200, 503}, set())

    def test_post_is_never_sent_twice(self) -> None:
        """Whatever becomes of it: each that was answered 200 was served once, and no other more than once."""
        with self.load("POST") as load:
            self.instances[0].child.kill()
            load.more()
        said = "".join(instance.said() for instance in self.instances)
        served = Counter(line for line in said.split("\n") if line.startswith("/"))
        self.assertEqual(set(served.values()), {1})
        self.assertGreaterEqual(len(served), load.statuses[200])
        self.assertLessEqual(load.statuses[502], CLIENTS)


class ImpatientTests(HealthCase):
    """Without probes, but with a short time to the first byte."""

    first_byte = "400ms"

    def test_hung(self) -> None:
        """No request fails: who waited is served by the other one."""
        with self.load() as load:
            os.kill(self.instances[0].child.pid, signal.SIGSTOP)
            wait_for(lambda: self.up() == [False, True], "the first is ejected")
            load.more()
            os.kill(self.instances[0].child.pid, signal.SIGCONT)
            self.used(load, b"first")
        self.assertEqual(set(load.statuses), {200})
        self.assertLess(load.slowest, 4)


class ProbedTests(HealthCase):
    """With probes."""

    health = PROBED

    def test_hung(self) -> None:
        """No request fails, and none waits for the time to the first byte, a minute."""
        with self.load() as load:
            os.kill(self.instances[0].child.pid, signal.SIGSTOP)
            wait_for(lambda: self.up() == [False, True], "the first is down")
            load.more()
            os.kill(self.instances[0].child.pid, signal.SIGCONT)
            self.used(load, b"first")
        self.assertEqual(set(load.statuses), {200})
        self.assertLess(load.slowest, 5)
        self.assertIn("is down: no answer in time", self.gateway.said())

    def test_all_down(self) -> None:
        """When no probe is answered well, requests are tried all the same."""
        for port in self.ports:
            talk(port, b"GET /break HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: self.up() == [False, False], "both are down")
        answer = talk(self.port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertIn(b" 503 Broken\r\n", answer)
        for instance in self.instances:
            instance.child.kill()
        with Client(self.port) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertEqual(json.loads(client.answer().body)["code"], "UPSTREAM_UNAVAILABLE")
