"""What systemd is told of the service's state (sd_notify(3)), when it asks to be."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping
from typing import Final

PATIENCE: Final = 1.0
"""Seconds to wait for systemd to have room for a message."""
_LONGEST: Final = 300


class Notify:
    """Sends states to the socket that ``NOTIFY_SOCKET`` names; does nothing where there is none.

    :param environ: of this process.
    :param pid: of this process: a watchdog that is meant for another one is not fed.
    :ivar watchdog: seconds within which systemd wants to hear ``WATCHDOG=1``; None where it does not.
    """

    def __init__(self, environ: Mapping[str, str], pid: int) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name
        watched = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        period = environ.get("WATCHDOG_USEC", "")
        self.watchdog = int(period) / 1e6 if name and watched and period.isdecimal() and int(period) else None

    def tell(self, *states: str) -> None:
        """Send states such as ``READY=1``; waits for :data:`PATIENCE` at most, since systemd waits for them, too."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(PATIENCE)
            sender.sendto("\n".join(states).encode(), self._address)

    def ready(self, status: str) -> None:
        """A start or a reload is over.

        :param status: what ``systemctl status`` shows: as one line, and not a long one.
        """
        self.tell("READY=1", f"STATUS={' '.join(status.split())[:_LONGEST]}")

    def reloading(self) -> None:
        """A reload has begun; :meth:`ready` ends it."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, seconds: float) -> None:
        """The end has begun, and may take so long, whatever ``TimeoutStopSec=`` says."""
        self.tell(
            "STOPPING=1", "STATUS=stopping: requests under way are finished", f"EXTEND_TIMEOUT_USEC={seconds * 1e6:.0f}"
        )

    def alive(self) -> None:
        """To be said several times within :attr:`watchdog`."""
        self.tell("WATCHDOG=1")
