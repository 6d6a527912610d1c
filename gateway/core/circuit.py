"""How much may be under way at an upstream: limits that break the circuit, and the budget of retries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol


@dataclass(frozen=True, slots=True)
class Limits:
    """What an upstream may have at a time, and its retries.

    :ivar connections: to all its instances, idle ones too.
    :ivar pending: requests that wait for a connection.
    :ivar requests: without an answer that is complete.
    :ivar budget: retries, as a part of the requests.
    :ivar minimum: retries, however few requests there are.
    """

    connections: int = 8192
    pending: int = 1024
    requests: int = 4096
    budget: float = 0.2
    minimum: int = 3


DEFAULT: Final = Limits()


class Waiter(Protocol):
    """Who waits for a slot."""

    def woken(self) -> None:
        """There may be one now. It must not raise."""


class Slots:
    """So many at a time; who finds none waits in a queue.

    :param size: how many there are now.
    :param queue: how many may wait.
    """

    def __init__(self, size: Callable[[], int], queue: int) -> None:
        self.taken = 0
        self.waiting: dict[Waiter, None] = {}
        self._size = size
        self._queue = queue
        self._wakes = 0

    def take(self) -> bool:
        """Whether there was one."""
        if self.taken >= self._size():
            return False
        self.taken += 1
        return True

    def free(self) -> None:
        """Give one back, for the first who waits."""
        self.taken -= 1
        if self.waiting and self.taken < self._size():  # there may be fewer than there were
            self.wake()

    def wait(self, waiter: Waiter) -> bool:
        """Wait at the end of the queue; whether there was room for it."""
        if len(self.waiting) >= self._queue:
            return False
        self.waiting[waiter] = None
        return True

    def leave(self, waiter: Waiter) -> None:
        """Wait no longer; harmless for who does not wait."""
        self.waiting.pop(waiter, None)

    def wake(self) -> None:
        """Let the first who waits try again."""
        self._wakes += 1
        if self._wakes > 1:
            return  # somebody who was woken gave up a slot at once: the loop below goes on for the next one
        try:
            while self._wakes and self.waiting:
                waiter = next(iter(self.waiting))
                del self.waiting[waiter]
                waiter.woken()
                self._wakes -= 1
        finally:
            self._wakes = 0


class Circuit:
    """What an upstream has under way, held against its limits."""

    def __init__(self, limits: Limits = DEFAULT) -> None:
        self.requests = 0
        self.uploads = 0
        """Requests, of these, whose body has not come to its end."""
        self.max_requests = limits.requests
        self.connections = Slots(lambda: limits.connections, limits.pending)
        self.retries = Slots(lambda: max(limits.minimum, int(limits.budget * self.requests)), limits.pending)
        self.retried = 0
        """Requests that were tried once more, since the start."""
        self.refused = {"requests": 0, "pending": 0, "retries": 0}
        """Requests that a limit has refused, since the start, by the limit."""
