"""The sockets that systemd hands to the supervisor, which hands them on: sd_listen_fds(3)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Final

FIRST: Final = 3
"""The descriptor of the first one."""


def handed(environ: Mapping[str, str]) -> int:
    """How many were handed to this process.

    Twisted takes LISTEN_PID and LISTEN_FDS out of the environment where they are meant for this process.
    """
    names = environ.get("LISTEN_FDNAMES", "")
    return names.count(":") + 1 if names and "LISTEN_PID" not in environ else 0


def to(pid: int) -> dict[str, str]:
    """The environment that hands them on to a process; empty where there are none."""
    files = handed(os.environ)
    return {"LISTEN_FDS": str(files), "LISTEN_PID": str(pid)} if files else {}


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Keep them: an endpoint closes the one that it listens at, which other processes need, too."""
    copies = {number: os.dup(number) for number in range(FIRST, FIRST + handed(os.environ))}
    yield
    for number, copy in copies.items():
        os.dup2(copy, number)
        os.close(copy)
