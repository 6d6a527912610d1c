"""The life of the service: it starts, reloads, is upgraded, and stops; its processes are killed, and hang."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from tests.faults.load import Load, closed
from tests.integration.client import Client
from tests.packages.test_deb import later, package
from tests.systemd.case import PORT, UNIT, ServiceCase, give, unanswered


class LifeTests(ServiceCase):
    """What an operator does with it."""

    def test_start(self) -> None:
        """``systemctl start`` returns when it serves, and not before; its state is what it says of itself."""
        self.machine.run("systemctl", "stop", UNIT)
        self.assertTrue(closed(PORT))
        self.machine.run("systemctl", "start", UNIT)
        self.assertEqual(self.request(), 200)
        self.assertEqual(self.machine.show(UNIT, "ActiveState"), "active")
        self.assertIn('Status: "2 workers serve, generation 1"', self.status())

    def test_one_process(self) -> None:
        """It is ready without workers, too, and ends with 0."""
        self.values["workers"] = 0
        self.write()
        self.machine.run("systemctl", "restart", UNIT)
        self.assertEqual(self.request(), 200)
        self.assertIn('Status: "serves in one process"', self.status())
        self.machine.run("systemctl", "stop", UNIT)
        self.assertEqual(self.machine.show(UNIT, "Result"), "success")

    def test_reload(self) -> None:
        """No request is lost by a reload; the process stays."""
        with self.load():
            self.machine.run("systemctl", "reload", UNIT)
            self.serves(2)
            self.machine.run("systemctl", "reload", UNIT)
            self.serves(3)
        self.assertEqual(int(self.machine.show(UNIT, "MainPID")), self.main)
        self.assertIn('Status: "2 workers serve, generation 3"', self.status())

    def test_broken_configuration(self) -> None:
        """It is refused, the status and the journal say why, and what served goes on."""
        began = time.time()
        with self.load():
            self.write(self.text().replace("drain =", "drian ="))
            self.machine.run("systemctl", "reload", UNIT)
            self.soon(lambda: "the last reload was refused" in self.machine.show(UNIT, "StatusText"), "it is told")
            for said in (self.machine.journal(UNIT, began), self.status()):
                self.assertIn("server.drian: there is no such key", said)
            self.assertEqual(self.machine.show(UNIT, "ActiveState"), "active")
            self.assertTrue(self.generation(1))
            self.write()
            self.machine.run("systemctl", "reload", UNIT)
            self.serves(2)
        self.assertEqual(self.machine.show(UNIT, "NRestarts"), "0")

    def test_refused(self) -> None:
        """What only the workers find out is in the status, too."""
        with self.load():
            self.write(self.text(log="/nowhere/log"))
            self.machine.run("systemctl", "reload", UNIT)
            self.soon(lambda: "the last reload was refused" in self.machine.show(UNIT, "StatusText"), "it is told")
            self.assertIn("No such file or directory: '/nowhere/log'", self.machine.show(UNIT, "StatusText"))
            self.assertEqual(self.machine.show(UNIT, "ActiveState"), "active")

    def test_upgrade(self) -> None:
        """A newer package is taken up without a lost request; what the administrator has changed stays."""
        newer = later(package(), Path(self.mktemp()).resolve())
        with self.load():
            give(self.machine, newer)
            self.soon(lambda: self.metric('smartgate_build_info{version="9"') == 2, "the new code serves")
            self.serves(2)
        self.assertEqual(int(self.machine.show(UNIT, "MainPID")), self.main)
        self.assertIn("jwt-secret", (self.machine.place / "etc/smartgate/smartgate.toml").read_text())

    def test_stop(self) -> None:
        """Requests under way are finished, whatever TimeoutStopSec= says; then it has ended well."""
        self.machine.drop_in(UNIT, "[Service]\nTimeoutStopSec=1s\n")
        self.addCleanup(self.machine.drop_in, UNIT, "")
        with Client(PORT, seconds=20) as client:
            client.send(f"GET /api/slow HTTP/1.1\r\nHost: gateway.example\r\n{self.user}\r\n\r\n".encode())
            client.until(b"....")
            self.machine.run("systemctl", "stop", UNIT)
            self.assertIn(b"." * 90, client.rest())
        self.assertTrue(closed(PORT))
        found = [self.machine.show(UNIT, name) for name in ("Result", "ExecMainStatus", "ActiveState")]
        self.assertEqual(found, ["success", "0", "inactive"])


class KilledTests(ServiceCase):
    """What happens to its processes."""

    def test_worker_killed(self) -> None:
        """Requests on the worker that was killed are lost, none else; another one takes its place."""
        with (
            Load(PORT, "/api/x", self.user) as kept,
            Load(PORT, "/api/x", self.user, "Connection: close", clients=2) as new,
        ):
            time.sleep(1.5)
            victim = self.workers()[0]
            self.kill(victim["pid"], signal.SIGKILL)
            self.soon(lambda: self.pids().isdisjoint({victim["pid"]}) and self.ask("/ready")[0] == 200, "its heir")
            time.sleep(0.5)
        self.assertLessEqual(unanswered(kept, new), 6, "no connection lost more than what was under way on it")
        self.assertLessEqual(unanswered(kept), victim["connections"])
        self.assertEqual({*kept.statuses(), *new.statuses()} - {200}, {0} if unanswered(kept, new) else set())
        self.assertEqual(self.metric("smartgate_worker_restarts_total"), 1)
        self.assertEqual(self.machine.show(UNIT, "NRestarts"), "0")

    def test_worker_hangs(self) -> None:
        """It is killed and replaced, while the others serve and the watchdog is content."""
        with Load(PORT, "/api/x", self.user, "Connection: close", patience=20) as new:
            victim = self.workers()[0]["pid"]
            self.kill(victim, signal.SIGSTOP)
            hung = time.monotonic()
            self.soon(lambda: self.pids().isdisjoint({victim}) and self.ask("/ready")[0] == 200, "its heir")
            time.sleep(0.3)
        served = new.outcomes(hung + 1, hung + 8)
        self.assertEqual({outcome.status for outcome in served}, {200})
        self.assertLessEqual(unanswered(new), 4)
        self.assertEqual(self.machine.show(UNIT, "NRestarts"), "0")

    def test_supervisor_hangs(self) -> None:
        """The watchdog ends it, and systemd starts it anew."""
        self.machine.drop_in(UNIT, "[Service]\nWatchdogSec=4s\nTimeoutAbortSec=1s\n")
        self.addCleanup(self.machine.drop_in, UNIT, "")
        self.begin()
        began = time.time()
        self.kill(self.main, signal.SIGSTOP)
        self.soon(lambda: self.machine.show(UNIT, "NRestarts") == "1", "it is started again")
        self.soon(lambda: self.ask("/ready")[0] == 200, "it serves")
        self.assertIn("Watchdog timeout", self.machine.journal(UNIT, began))
        self.assertEqual(self.request(), 200)

    def test_supervisor_killed(self) -> None:
        """systemd starts it anew."""
        self.kill(self.main, signal.SIGKILL)
        self.soon(lambda: self.machine.show(UNIT, "NRestarts") == "1", "it is started again")
        self.soon(lambda: self.ask("/ready")[0] == 200, "it serves")

    def pids(self) -> set[int]:
        """The workers' process ids."""
        return {worker["pid"] for worker in self.workers()}

    def kill(self, pid: int, number: int) -> None:
        """Send a signal to a process of the machine."""
        self.machine.run("sh", "-c", f"kill -{int(number)} {pid}")
