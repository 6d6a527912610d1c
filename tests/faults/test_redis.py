"""Redis that is killed, hangs, is restarted or read-only, while clients go on asking."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from gateway.core.ring import Ring
from gateway.store.address import Address
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


class SeveralServersTests(FaultCase):
    """Two servers that share the keys, of which the first one breaks."""

    def setUp(self) -> None:
        self.servers = [Valkey(), Valkey()]
        for server in self.servers:
            self.addCleanup(server.stop)
        instance = Instance("service")
        self.addCleanup(instance.stop)
        urls = [f"redis://127.0.0.1:{server.port}/0" for server in self.servers]
        self.ring = Ring([Address.parse(url).name for url in urls])
        self.gateway(instance.url, redis=urls)
        wait_for(lambda: self.ready()[0] == 200, "Redis")

    def of(self, server: int, key: str) -> str:
        """A name whose key, which has ``{}`` in its place, is on a server."""
        return next(name for name in map("u{}".format, range(1000)) if self.ring.server(key.format(name)) == server)

    def ask(self, subject: str) -> int:
        """The status of a request of a user, who may ask 20 times."""
        with Client(self.port) as client:
            client.send(f"GET /api/x HTTP/1.1\r\nHost: x\r\n{bearer(subject, 'user')}\r\n\r\n".encode())
            return client.answer().status

    def smartgate(self, *arguments: str) -> int:
        """The exit status of the command."""
        config = Path(self.mktemp())
        config.write_text(self.config)
        command = [str(Path(sys.executable).parent / "smartgate"), *arguments, "--config", str(config)]
        return subprocess.run(command, capture_output=True, timeout=30).returncode

    def test_one_hangs(self) -> None:
        """Its keys alone are counted here; what was revoked stays so, and more can be where its key is on the other."""
        thief = self.of(0, "blacklist:{}thief") + "thief"
        self.servers[0].ask("SET", f"blacklist:{thief}", "1")
        wait_for(lambda: self.ask(thief) == 401, "the revocation")
        users = [self.of(0, "rl:user:{}"), self.of(1, "rl:user:{}")]
        seen = {user: [self.ask(user) for _ in range(10)] for user in users}
        with Load(self.port, "/api/x", bearer("ann")) as load:
            wait_for(lambda: len(load.outcomes()) > 100, "requests before")
            self.servers[0].signal(signal.SIGSTOP)
            stopped = time.monotonic()
            wait_for(lambda: self.ready() == (200, {**self.ready()[1], "status": "degraded"}), "it is missed")
            for user in users:
                seen[user] += [self.ask(user) for _ in range(15)]
            self.assertEqual(self.ask(thief), 401)
            asked = time.monotonic()  # before the commands below take the processor
            late = {server: self.of(server, "blacklist:{}x") + "x" for server in (0, 1)}
            self.assertEqual([self.smartgate("revoke", "--jti", late[server]) for server in (0, 1)], [1, 0])
            wait_for(lambda: self.ask(late[1]) == 401, "the revocation")
            self.servers[0].signal(signal.SIGCONT)
            wait_for(lambda: self.ready()[1]["status"] == "ready", "it is back")
            self.assertEqual(self.smartgate("revoke", "--jti", late[0]), 0)
            wait_for(lambda: self.ask(late[0]) == 401, "the revocation")
        self.assertEqual(set(load.statuses()), {200})
        self.assertLess(load.slowest(stopped, asked), load.slowest(0, stopped) + SLOWER)
        for user in users:
            self.assertEqual((seen[user].count(200), seen[user].count(429)), (20, 5), user)


class SentinelTests(FaultCase):
    """A master, its replica, and a Sentinel that fails over from one to the other."""

    def setUp(self) -> None:
        instance = Instance("service")
        self.addCleanup(instance.stop)
        self.master = self.server(Valkey(0, "--repl-diskless-sync-delay", "0"))
        self.replica = self.server(Valkey(0, "--replicaof", "127.0.0.1", str(self.master.port)))
        self.sentinel = self.server(
            Valkey(
                sentinel=f"sentinel monitor mymaster 127.0.0.1 {self.master.port} 1\n"
                "sentinel down-after-milliseconds mymaster 300\nsentinel failover-timeout mymaster 3000\n"
            )
        )
        wait_for(lambda: "master_link_status:up" in str(self.replica.ask("INFO", "replication")), "the replica is up")
        wait_for(lambda: "slaves=1" in str(self.sentinel.ask("INFO", "sentinel")), "Sentinel knows the replica")
        self.gateway(instance.url, redis=f"sentinel://127.0.0.1:{self.sentinel.port}/mymaster")
        wait_for(lambda: self.ready() == (200, {**self.ready()[1], "status": "ready"}), "Redis")

    def server(self, server: Valkey) -> Valkey:
        """One that ends with the test."""
        self.addCleanup(server.stop)
        return server

    def ask(self, authorization: str) -> int:
        """The status of one request."""
        with Client(self.port) as client:
            client.send(f"GET /api/x HTTP/1.1\r\nHost: x\r\n{authorization}\r\n\r\n".encode())
            return client.answer().status

    def promoted(self) -> bool:
        """Whether the replica is the master now."""
        master = self.sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")
        return master == ["127.0.0.1", str(self.replica.port)]

    def fail_over(self, lose: Callable[[], object]) -> None:
        """Nobody notices; a second and a half after the promotion limits are shared again."""
        self.master.ask("SET", "blacklist:thief", "1")
        wait_for(lambda: self.replica.ask("EXISTS", "blacklist:thief") == 1, "it is replicated")
        with Load(self.port, "/api/x", bearer("ann")) as load, Load(self.port, "/api/x", bearer("thief")) as thief:
            wait_for(lambda: len(load.outcomes()) > 200, "requests before")
            began = time.monotonic()
            lose()
            wait_for(self.promoted, "the promotion", 20)
            promoted = time.monotonic()
            wait_for(
                lambda: self.replica.ask("EXISTS", "rl:user:carl") == 1 or not self.ask(bearer("carl", "user")),
                "counts in Redis",
            )
            self.assertLess(time.monotonic() - promoted, 1.5)
            wait_for(lambda: len(load.outcomes(promoted)) > 200, "requests after")
        self.assertEqual((set(load.statuses()), set(thief.statuses())), ({200}, {401}))
        self.assertLess(load.slowest(began), load.slowest(0, began) + SLOWER)

    def test_master_killed(self) -> None:
        """Its connections end."""
        self.fail_over(self.master.stop)

    def test_master_hangs(self) -> None:
        """Its connections stay, and nothing comes on them."""
        self.fail_over(lambda: self.master.signal(signal.SIGSTOP))

    def test_asked_to(self) -> None:
        """An administrator's failover: the old master turns read-only."""
        self.fail_over(lambda: self.sentinel.ask("SENTINEL", "FAILOVER", "mymaster"))
