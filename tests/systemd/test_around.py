"""What fails around the service: Redis, and the disk."""

from __future__ import annotations

import time
from collections import Counter

from tests.faults.platform import bearer
from tests.systemd.case import LOG, UNIT, ServiceCase

REDIS = "redis-server.service"


class RedisTests(ServiceCase):
    """The machine's own Redis."""

    def test_restart(self) -> None:
        """Nobody notices."""
        with self.load():
            self.machine.run("systemctl", "restart", REDIS)
            time.sleep(1)
            self.soon(lambda: self.metric("smartgate_redis_degraded") == 0, "it is used again")

    def test_stop(self) -> None:
        """Nobody notices either; limits hold, though each of the two workers counts for itself."""
        self.addCleanup(self.machine.run, "systemctl", "start", REDIS)
        limited = bearer("bob", "user")
        with self.load(lambda: -30, patience=2):
            self.machine.run("systemctl", "stop", REDIS)
            self.soon(lambda: self.metric("smartgate_redis_degraded") == 2, "both workers know")
            statuses = Counter(self.request("/api/x", limited) for _ in range(30))
            self.machine.run("systemctl", "start", REDIS)
            self.soon(lambda: self.metric("smartgate_redis_degraded") == 0, "it is used again")
        self.assertEqual(set(statuses), {200, 429})
        self.assertTrue(5 <= statuses[200] <= 10, statuses)
        self.assertEqual(self.machine.show(UNIT, "NRestarts"), "0")


class DiskTests(ServiceCase):
    """The disk that has the log."""

    def test_full(self) -> None:
        """Requests go on without their lines, which are counted; when there is room, lines come again."""
        place = f"/{LOG}".rpartition("/")[0]
        self.machine.run("systemctl", "stop", UNIT)
        self.machine.run("mount", "-t", "tmpfs", "-o", "size=64k,mode=2750,uid=smartgate,gid=adm", "tmpfs", place)
        self.addCleanup(self.machine.run, "sh", "-c", f"systemctl stop {UNIT}; umount {place}")
        self.begin()
        with self.load(lambda: self.metric("smartgate_access_log_dropped_total")):
            self.machine.run("sh", "-c", f"cat /dev/zero >{place}/filler || true")
            self.soon(lambda: self.metric("smartgate_access_log_dropped_total") > 20, "lines have no room")
            self.machine.run("rm", f"{place}/filler")
            logged = self.logged()
            self.soon(lambda: self.logged() > logged, "they have room again")
        self.assertEqual(self.machine.show(UNIT, "NRestarts"), "0")


class RotationTests(ServiceCase):
    """Debian's logrotate, with the snippet that is installed."""

    def test_rotation(self) -> None:
        """No line is lost, and none goes on into the file that was rotated; the new file is like the old one."""
        with self.load():
            for _ in range(3):
                self.machine.run("logrotate", "--force", "/etc/logrotate.d/smartgate")
                time.sleep(0.7)
                rotated = (self.log.parent / "access.log.1").stat()
                time.sleep(0.3)
                self.assertEqual((self.log.parent / "access.log.1").stat().st_size, rotated.st_size)
            self.machine.run("gunzip", *(f"/{LOG}.{number}.gz" for number in (2, 3)))
        self.assertEqual(self.machine.run("stat", "-c", "%U %G %a", f"/{LOG}"), "smartgate adm 640\n")

    def test_by_the_timer(self) -> None:
        """The service that runs it every day, in a sandbox of its own, can tell the gateway."""
        snippet = self.machine.place / "etc/logrotate.d/smartgate"
        before = snippet.read_text()
        self.addCleanup(snippet.write_text, before)
        snippet.write_text(before.replace("daily", "size 1"))
        with self.load():
            self.machine.run("systemctl", "start", "logrotate.service")
            time.sleep(0.7)
            self.assertTrue((self.log.parent / "access.log.1").exists())
            self.assertGreater(self.log.stat().st_size, 0)
