"""Redis that is killed, hangs, is restarted or read-only, while clients go on asking."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable

from tests.faults.instance import Instance
from tests.faults.load import Load
from tests.faults.platform import FaultCase, bearer
from tests.integration.client import Client
from tests.integration.processes import wait_for
from tests.integration.valkey import Valkey

SLOWER = 0.1
"""Seconds that no answer may take more than before, the goal."""


class RedisCase(FaultCase):
    """A gateway whose limits and revocations are in a Redis of its own."""

    def setUp(self) -> None:
        self.redis = Valkey()
        self.addCleanup(self.stop)
        instance = Instance("service")
        self.addCleanup(instance.stop)
        self.gateway(instance.url, redis=f"redis://127.0.0.1:{self.redis.port}/0")
        wait_for(lambda: self.ready()[0] == 200, "Redis")

    def stop(self) -> None:
        """End Redis, whichever it is by now."""
        self.redis.stop()

    def command(self, *words: str) -> bytes:
        """What Redis says to a command."""
        return talk_redis(self.redis.port, *words)

    def ask(self, authorization: str) -> int:
        """The status of one request."""
        client = Client(self.port)
        client.send(f"GET /api/x HTTP/1.1\r\nHost: x\r\n{authorization}\r\n\r\n".encode())
        status = client.answer().status
        client.socket.close()
        return status

    def under(self, fault: Callable[[], None], end: Callable[[], None]) -> Load:
        """A load of somebody whose token is looked up each time, before, under and after a fault; all are answered.

        Under it the limits of others go on, and what was revoked stays so.
        """
        self.command("SET", "blacklist:thief", "1")
        self.assertEqual(self.ask(bearer("thief")), 401)
        with Load(self.port, "/api/x", bearer("ann")) as load:
            wait_for(lambda: len(load.outcomes()) > 200, "requests before")
            began = time.monotonic()
            fault()
            wait_for(lambda: len(load.outcomes(began)) > 400, "requests under it", 20)
            limited = [self.ask(bearer("bob", "user")) for _ in range(25)]
            self.assertEqual((limited.count(200), limited.count(429)), (20, 5))
            self.assertEqual(self.ask(bearer("thief")), 401)
            end()
            over = time.monotonic()
            wait_for(
                lambda: self.command("EXISTS", "rl:user:carl") == b":1\r\n" or not self.ask(bearer("carl", "user")),
                "counts in Redis",
            )
            self.assertLess(time.monotonic() - over, 1.5)
            wait_for(lambda: len(load.outcomes(over)) > 200, "requests after")
        self.assertEqual(set(load.statuses()), {200})
        self.assertLess(load.slowest(began), load.slowest(0, began) + SLOWER)
        return load


def talk_redis(port: int, *words: str) -> bytes:
    """What a Redis says to a command."""
    command = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word.encode()) for word in words)
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(command)
        return connection.recv(4096)


class RedisTests(RedisCase):
    """Each state that Redis may be in."""

    def test_killed_and_started_again(self) -> None:
        """Nobody notices; limits go on here, and in Redis within a second of its return."""

        def start() -> None:
            self.redis = Valkey(self.redis.port)

        self.under(self.stop, start)

    def test_hung(self) -> None:
        """SIGSTOP: only those wait, and no longer than the timeout, who find it out."""
        self.under(lambda: self.redis.signal(signal.SIGSTOP), lambda: self.redis.signal(signal.SIGCONT))

    def test_slow(self) -> None:
        """Answers that come after the timeout are as good as none."""

        def pause() -> None:
            self.assertEqual(self.command("CLIENT", "PAUSE", "4000", "ALL"), b"+OK\r\n")

        def over() -> None:
            self.assertEqual(self.command("PING"), b"+PONG\r\n")  # said when the pause is over

        self.under(pause, over)

    def test_read_only(self) -> None:
        """A Redis that has become a replica counts nothing, and is as good as away."""

        def become(role: tuple[str, ...]) -> Callable[[], None]:
            return lambda: self.assertEqual(self.command(*role), b"+OK\r\n")

        self.under(become(("REPLICAOF", "127.0.0.1", "1")), become(("REPLICAOF", "NO", "ONE")))

    def test_restarted_empty(self) -> None:
        """Redis has lost its script and its counters, and is asked as before."""

        def restart() -> None:
            self.redis.stop()
            self.redis = Valkey(self.redis.port)

        with Load(self.port, "/api/x", bearer("ann")) as load:
            wait_for(lambda: len(load.outcomes()) > 200, "requests before")
            began = time.monotonic()
            restart()
            wait_for(lambda: len(load.outcomes(began)) > 300, "requests after")
        self.assertEqual(set(load.statuses()), {200})
