"""Tests of gateway.process.notify: what systemd hears."""

from __future__ import annotations

import os
import socket
import time

from twisted.trial.unittest import SynchronousTestCase

from gateway.process.notify import Notify


class NotifyTests(SynchronousTestCase):
    """States on a socket."""

    def setUp(self) -> None:
        self.name = f"smartgate-test-{os.getpid()}-{id(self)}"
        self.systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.systemd.close)

    def heard(self) -> str:
        return self.systemd.recv(4096, socket.MSG_DONTWAIT).decode()

    def test_abstract(self) -> None:
        """A name that begins with @ is one of Linux' own."""
        self.systemd.bind("\0" + self.name)
        notify = Notify({"NOTIFY_SOCKET": "@" + self.name}, 1)
        notify.ready("well")
        self.assertEqual(self.heard(), "READY=1\nSTATUS=well")
        before = time.monotonic_ns() // 1000
        notify.reloading()
        state, _, moment = self.heard().rpartition("=")
        self.assertEqual(state, "RELOADING=1\nMONOTONIC_USEC")
        self.assertTrue(before <= int(moment) <= time.monotonic_ns() // 1000)

    def test_file(self) -> None:
        """Else it is a file."""
        path = f"/tmp/{self.name}"
        self.systemd.bind(path)
        self.addCleanup(os.unlink, path)
        notify = Notify({"NOTIFY_SOCKET": path}, 1)
        notify.stopping(42.5)
        said = self.heard().split("\n")
        self.assertEqual((said[0], said[2]), ("STOPPING=1", "EXTEND_TIMEOUT_USEC=42500000"))
        notify.alive()
        self.assertEqual(self.heard(), "WATCHDOG=1")

    def test_long_status(self) -> None:
        """Whatever a status is made of, it is one line, so that nothing of it is taken for another state; and short."""
        self.systemd.bind("\0" + self.name)
        Notify({"NOTIFY_SOCKET": "@" + self.name}, 1).ready("refused:\n  a: wrong\nSTOPPING=1" + "x" * 9999)
        said = self.heard()
        self.assertTrue(said.startswith("READY=1\nSTATUS=refused: a: wrong STOPPING=1xxx"))
        self.assertLess(len(said), 400)

    def test_nobody(self) -> None:
        """Without systemd, and when it has gone, nothing happens."""
        Notify({}, 1).ready("well")
        Notify({"NOTIFY_SOCKET": "/nowhere"}, 1).ready("well")

    def test_watchdog(self) -> None:
        """How often systemd wants to hear from this process, if from this one."""
        asked = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "30000000"}
        self.assertEqual(Notify(asked, 7).watchdog, 30)
        self.assertEqual(Notify({**asked, "WATCHDOG_PID": "7"}, 7).watchdog, 30)
        self.assertIsNone(Notify({**asked, "WATCHDOG_PID": "8"}, 7).watchdog)
        for other in ({"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"NOTIFY_SOCKET": ""}, {"WATCHDOG_USEC": ""}):
            self.assertIsNone(Notify({**asked, **other}, 7).watchdog)
