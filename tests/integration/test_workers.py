"""Workers as real processes: that they serve as one gateway, and what becomes of it when one of them ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from gateway.process.fleet import HURRY_TIMEOUT
from tests.faults.load import NO_ANSWER, Load
from tests.integration.client import Client
from tests.integration.processes import ROOT, free_port, wait_for
from tests.integration.valkey import Valkey
from tests.integration.workers import WorkersCase, alive

REQUEST = b"GET /api/x HTTP/1.1\r\nHost: gateway.example\r\n\r\n"


class WorkersTests(WorkersCase):
    """Several processes that are one gateway."""

    def test_spread(self) -> None:
        """Connections that come at once are shared out; a worker that has no CPU takes fewer."""
        self.start()
        clients = [Client(self.port) for _ in range(400)]
        for client in clients:
            client.send(REQUEST)
        self.assertEqual({client.answer().status for client in clients}, {200})
        wait_for(lambda: sum(worker["connections"] for worker in self.workers()) == 400, "all are counted")
        shares = [worker["connections"] for worker in self.workers()]
        for client in clients:
            client.close()
        self.assertGreaterEqual(min(shares), 60, shares)

    def test_few(self) -> None:
        """Those that come one by one go to the worker that has fewer, as one has that had no CPU for a while."""
        self.start()
        clients: list[Client] = []

        def come(number: int) -> None:
            for _ in range(number):
                clients.append(Client(self.port))
                clients[-1].send(REQUEST)
                self.assertEqual(clients[-1].answer().status, 200)

        def shares() -> list[int]:
            wait_for(lambda: sum(worker["connections"] for worker in self.workers()) == len(clients), "all are counted")
            return [worker["connections"] for worker in self.workers()]

        for pid in [worker["pid"] for worker in self.workers()]:
            os.kill(pid, signal.SIGSTOP)
            come(40)
            os.kill(pid, signal.SIGCONT)
            most = len(clients) + 80
            while min(shares()) < 0.4 * len(clients):
                self.assertLess(len(clients), most, shares())  # a busy machine takes a worker's CPU away now and then
                come(20)
        for client in clients:
            client.close()

    def test_metrics(self) -> None:
        """The admin port counts what all workers count; gauges name the worker, or the supervisor."""
        self.start()
        for _ in range(20):
            with Client(self.port) as client:
                client.send(REQUEST)
                self.assertEqual(client.answer().status, 200)
        requests = 'smartgate_requests_total{class="2xx",route="/api"}'
        wait_for(lambda: self.metric(requests) == 20, "all requests are counted")
        self.assertEqual(self.metric('smartgate_request_duration_seconds_count{class="2xx",route="/api"}'), 20)
        for name in ("0", "1", "supervisor"):
            self.assertGreater(self.metric(f'process_resident_memory_bytes{{worker="{name}"}}'), 1e6)
        self.assertEqual(self.metric('smartgate_workers{state="serving"}'), 2)
        self.assertEqual(self.ask("/health")[0], 200)
        os.kill(self.workers()[0]["pid"], signal.SIGKILL)
        wait_for(lambda: self.metric("smartgate_worker_restarts_total") == 1, "it is noticed")
        self.assertEqual(self.metric(requests), 20, "what a worker counted stays counted")

    def test_killed(self) -> None:
        """Only what was under way on a worker that is killed is lost, and soon there is another one."""
        self.start()
        with Load(self.port, "/api/x", clients=8) as load:
            time.sleep(0.5)
            before = self.workers()
            victim = before[0]
            os.kill(victim["pid"], signal.SIGKILL)
            wait_for(
                lambda: (
                    victim["pid"] not in [worker["pid"] for worker in self.workers()] and self.ask("/ready")[0] == 200
                ),
                "another worker serves",
                20,
            )
            time.sleep(0.3)
        statuses = load.statuses()
        self.assertLessEqual(set(statuses), {200, NO_ANSWER})
        self.assertLessEqual(statuses[NO_ANSWER], 8, "more than one for each connection")
        self.assertGreater(statuses[200], 100)
        self.assertTrue(self.said("has ended: killed by SIGKILL"))

    def test_redis_restarted(self) -> None:
        """Nobody notices that Redis is killed and started again, on no worker; then all count in it again."""
        self.start()
        with Load(self.port, "/counted/x", clients=8) as load:
            wait_for(lambda: len(load.outcomes()) > 200, "requests before")
            self.valkey.stop()
            wait_for(lambda: self.metric("smartgate_redis_degraded") == 2, "both workers know")
            stopped = time.monotonic()
            wait_for(lambda: len(load.outcomes(stopped)) > 200, "requests without it")
            self.valkey = Valkey(self.valkey.port)
            self.addCleanup(self.valkey.stop)
            wait_for(lambda: self.metric("smartgate_redis_degraded") == 0, "both workers use it")
            used = time.monotonic()
            wait_for(lambda: len(load.outcomes(used)) > 200, "requests after")
        self.assertEqual(set(load.statuses()), {200})
        self.assertGreater(int(str(self.valkey.ask("GET", "rl:ip:127.0.0.1"))), 100)

    def test_hung(self) -> None:
        """A worker that hangs takes no more connections, so that nobody waits who comes anew."""
        self.start()
        victim = self.workers()[0]["pid"]
        os.kill(victim, signal.SIGSTOP)
        with Load(self.port, "/api/x", "Connection: close", clients=2) as load:
            time.sleep(1)
        os.kill(victim, signal.SIGCONT)
        self.assertEqual(set(load.statuses()), {200})

    def test_unix(self) -> None:
        """A UNIX socket is shared, too, outlives a worker, and is gone at the end; one that was left is replaced."""
        path = tempfile.mktemp(suffix=".sock")
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(path)
        self.start(listen=f', "unix:{path}:lockfile=0"')
        os.kill(self.workers()[0]["pid"], signal.SIGKILL)
        for _ in range(10):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(10)
                client.connect(path)
                client.sendall(REQUEST)
                self.assertTrue(client.recv(4096).startswith(b"HTTP/1.1 200 "))
        self.gateway.stop()
        self.assertFalse(os.path.exists(path))

    def test_no_supervisor(self) -> None:
        """Workers whose supervisor was killed end by themselves."""
        self.start()
        workers = self.pids()
        self.gateway.child.kill()
        wait_for(lambda: not any(map(alive, workers)), "they have ended")

    def test_environment(self) -> None:
        """Workers do not have what is the supervisor's: its notification socket, its other descriptors."""
        self.start()
        (worker, *_) = self.pids()
        environ = Path(f"/proc/{worker}/environ").read_bytes()
        self.assertIn(b"SMARTGATE_WORKER=", environ)
        kinds = Counter(
            os.readlink(each).partition(":")[0] for each in Path(f"/proc/{worker}/fd").iterdir() if each.is_symlink()
        )
        self.assertEqual(kinds["/memfd"], 1, "how many connections each worker has, no configuration")
        self.assertLessEqual(kinds["socket"], 6, kinds)


class StartTests(WorkersCase):
    """A start that fails."""

    def run_gateway(self, text: str) -> subprocess.CompletedProcess[str]:
        """A gateway that ends by itself."""
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(text)
            file.flush()
            twistd = str(Path(sys.executable).parent / "twistd")
            command = [twistd, "-n", "--pidfile=", "smartgate", "--config", file.name]
            return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)

    def test_worker_that_cannot_start(self) -> None:
        """It ends the start with its error, in the log and in the exit status."""
        self.values["log"] = "/nowhere/access.log"
        ended = self.run_gateway(self.text())
        self.assertEqual(ended.returncode, 1, ended.stdout)
        self.assertRegex(ended.stdout, r'"critical".*worker \d did not start: .*No such file or directory')

    def test_port_taken(self) -> None:
        """It ends at once, and names the port."""
        with socket.create_server(("127.0.0.1", self.port)):
            ended = self.run_gateway(self.text())
        self.assertEqual(ended.returncode, 1)
        self.assertIn(str(self.port), ended.stdout + ended.stderr)

    def test_listed_twice(self) -> None:
        """So does one that is to listen at one place twice."""
        self.values["listen"] = f', "tcp:{self.port}:interface=127.0.0.1:backlog=7"'
        ended = self.run_gateway(self.text())
        self.assertEqual(ended.returncode, 1)
        self.assertIn("listed twice", ended.stdout + ended.stderr)


class StopTests(WorkersCase):
    """The end."""

    def slow(self) -> Client:
        """A client whose request is being answered for a second and a half."""
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
        self.origin.plan([head, b"sl", lambda _: time.sleep(1.5), b"ow"])
        client = Client(self.port)
        self.addCleanup(client.close)
        client.send(REQUEST)
        self.assertTrue(client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 "))
        return client

    def test_drain(self) -> None:
        """SIGTERM lets requests finish, and the exit status is 0."""
        for workers in (0, 2):
            self.start(workers=workers)
            client = self.slow()
            self.gateway.child.terminate()
            self.assertEqual(client.exactly(4), b"slow")
            client.close()
            self.assertEqual(self.gateway.child.wait(10), 0, workers)
            self.port, self.admin = free_port(), free_port()

    def test_twice(self) -> None:
        """A second SIGTERM ends it at once, still with status 0."""
        for workers in (0, 2):
            self.start(workers=workers)
            client = self.slow()
            self.gateway.child.terminate()
            time.sleep(0.3)
            began = time.monotonic()
            self.gateway.child.terminate()
            self.assertEqual(self.gateway.child.wait(10), 0, workers)
            self.assertLess(time.monotonic() - began, HURRY_TIMEOUT / 2)
            self.assertRaises((EOFError, OSError), client.exactly, 4)
            self.port, self.admin = free_port(), free_port()

    def test_everybody_is_told(self) -> None:
        """SIGTERM for the workers as well, as from systemd, is no second one."""
        self.start()
        client = self.slow()
        for pid in (*self.pids(), self.gateway.child.pid):
            os.kill(pid, signal.SIGTERM)
        self.assertEqual(client.exactly(4), b"slow")
        client.close()
        self.assertEqual(self.gateway.child.wait(10), 0)

    def test_reopen(self) -> None:
        """SIGUSR1 lets every process open its log files anew, after they were moved away."""
        for workers in (0, 2):
            path = Path(self.mktemp()).absolute()
            self.start(workers=workers, log=str(path))
            moved = path.with_suffix(".1")
            path.rename(moved)
            os.kill(self.gateway.child.pid, signal.SIGUSR1)
            wait_for(path.exists, "there is a new one")
            for _ in range(10):
                with Client(self.port) as client:
                    client.send(REQUEST)
                    client.answer()
            wait_for(lambda: path.read_text().count("\n") == 10, "all lines are in the new one")  # noqa: B023
            self.assertEqual(moved.read_text().count('"/api/x"'), 0)
            self.gateway.stop()
            self.port, self.admin = free_port(), free_port()
