"""Tests of gateway.process.systemd: which sockets were handed over, and to whom they go."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from gateway.process import systemd


class SystemdTests(SynchronousTestCase):
    """Sockets from systemd."""

    def test_handed(self) -> None:
        """They are as many as there are names, once Twisted has taken them to be this process'."""
        self.assertEqual(systemd.handed({"LISTEN_FDNAMES": "a:b"}), 2)
        self.assertEqual(systemd.handed({"LISTEN_FDNAMES": "a", "LISTEN_PID": "1"}), 0)
        self.assertEqual(systemd.handed({}), 0)

    def test_to(self) -> None:
        """The next process gets all of them, and hears nothing where there are none."""
        self.patch(os, "environ", {"LISTEN_FDNAMES": "a:b"})
        self.assertEqual(systemd.to(7), {"LISTEN_FDS": "2", "LISTEN_PID": "7"})
        self.patch(os, "environ", {})
        self.assertEqual(systemd.to(7), {})

    def test_kept(self) -> None:
        """One that operators are listened to at is there for the next program, too."""
        first = os.open("/dev/null", os.O_RDONLY)
        self.patch(systemd, "FIRST", first)
        self.patch(systemd, "handed", lambda environ: 1)
        with systemd.kept():
            os.close(first)
        os.fstat(first)
        os.close(first)
