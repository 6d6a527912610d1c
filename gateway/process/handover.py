"""What a supervisor hands to the program that goes on in its place: newer code in the same process."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

from gateway.process.control import Family
from gateway.process.fleet import Generation


@dataclass
class Handover:
    """All that is not in the configuration, and would be forgotten.

    :ivar generation: the one that serves.
    :ivar workers: of each worker that serves its number, process id, control descriptor and when it was started, in
        seconds of the clock.
    :ivar counted: what workers counted that have ended.
    :ivar counts: what the supervisor itself counted.
    :ivar again: whether another reload was asked for.
    :ivar pidfile: the file that is to be removed at the end; empty for none.
    """

    generation: Generation
    workers: list[tuple[int, int, int, float]]
    counted: list[Family]
    counts: dict[str, int]
    again: bool
    pidfile: str

    VARIABLE: ClassVar = "SMARTGATE_HANDOVER"
    FORMAT: ClassVar = "2"
    """What is left, and how supervisor and workers talk: another number where either is not understood any more."""
    FORMAT_VARIABLE: ClassVar = "SMARTGATE_HANDOVER_FORMAT"
    """In the environment of a check: the format in which the program that runs would hand over to the one checked."""

    @classmethod
    def take(cls, environ: Any) -> Self | None:
        """What the program before has left, if there was one; its descriptors are inherited no further."""
        descriptor = environ.pop(cls.VARIABLE, None)
        if descriptor is None:
            return None
        with open(int(descriptor), "rb") as file:
            file.seek(0)
            values: dict[str, Any] = json.load(file)
        found = cls(**{**values, "generation": Generation(**values["generation"])})
        found.inherit(False)
        return found

    def give(self) -> dict[str, str]:
        """Leave it; returns the environment in which the next program finds it."""
        descriptor = os.memfd_create("smartgate.handover", 0)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(json.dumps(asdict(self)).encode())
        os.set_inheritable(descriptor, True)
        self.inherit(True)
        return {self.VARIABLE: str(descriptor)}

    def inherit(self, inherited: bool) -> None:
        """Say whether the next program has the descriptors, too."""
        for descriptor in self._descriptors():
            os.set_inheritable(descriptor, inherited)

    def _descriptors(self) -> Iterator[int]:
        yield self.generation.snapshot
        yield self.generation.shares
        yield from self.generation.sockets.values()
        yield from self.generation.admin_sockets.values()
        for _, _, control, _ in self.workers:
            yield control
