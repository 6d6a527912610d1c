"""Connections of clients spread evenly over workers: who has more than another leaves the next one to that.

The kernel tells every worker that waits of a connection, and the first that wakes takes it: the same one most of the
time where few connections come, so that one worker of two may have five of six. Here each knows how many the others
have, as they last noted it in memory that all of a generation share.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from typing import Final

MORE: Final = 1.1
"""Times as many connections as another has that a worker may have, and still take the next one."""
PAUSE: Final = 0.002
"""Seconds for which it is left to the others."""
FREE: Final = 0.01
"""Seconds for which a worker takes all that come, when nobody took what it had left: the others hang, or are busy."""
_SIZE: Final = 4


def make(workers: int) -> int:
    """The memory for so many workers: its descriptor."""
    descriptor = os.memfd_create("smartgate.shares", os.MFD_CLOEXEC)
    os.truncate(descriptor, workers * _SIZE)
    return descriptor


class Shares:
    """A worker's view of them.

    :param descriptor: of the memory; it is closed.
    :param number: this worker's.
    :param connections: how many it has.
    :param seconds: the time.
    """

    def __init__(
        self, descriptor: int, number: int, connections: Callable[[], int], seconds: Callable[[], float]
    ) -> None:
        with open(descriptor, "r+b") as file:
            self._noted = memoryview(mmap.mmap(file.fileno(), 0)).cast("I")  # one more than it has; 0 takes none
        self._number = number
        self._connections = connections
        self._seconds = seconds
        self._free_until = float("-inf")

    def note(self) -> int:
        """Let the others know how many this worker has; returns it."""
        own = self._connections()
        self._noted[self._number] = own + 1
        return own

    def mine(self) -> bool:
        """Whether the next connection is this worker's rather than another's."""
        own = self.note()
        if self._seconds() < self._free_until:
            return True
        return own <= (min(filter(None, self._noted)) - 1) * MORE

    def left(self) -> None:
        """Nobody took what was left to the others."""
        self._free_until = self._seconds() + FREE

    def leave(self) -> None:
        """This worker takes no more."""
        self._noted[self._number] = 0
