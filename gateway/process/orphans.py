"""Orphans: the first process of a container becomes their parent, and has to take note of their end."""

from __future__ import annotations

import os
from typing import Final

from twisted.internet.process import reapProcessHandlers

INIT: Final = 1
"""The process id to which the kernel gives orphans."""
PERIOD: Final = 10.0
"""Seconds between two looks for some that have ended."""


def reap() -> None:
    """Let those children go that have ended and that nobody here has started."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in reapProcessHandlers:  # Twisted takes note of those
            return
        os.waitpid(ended.si_pid, 0)
