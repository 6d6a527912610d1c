"""A configuration as it was read, kept in memory: what was checked is what is served, whatever becomes of the file."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from typing import Final

VARIABLE: Final = "SMARTGATE_SNAPSHOT"
"""In the environment of a process that is to read a snapshot instead of the file it is told: the descriptor."""


def take(path: str) -> int:
    """The descriptor of a copy of a file.

    :raises OSError: when it cannot be read.
    """
    with open(path, "rb") as file:
        content = file.read()
    descriptor = os.memfd_create("smartgate.toml", os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as copy:
        copy.write(content)
    return descriptor


def place(descriptor: int) -> str:
    """Where a snapshot is found in the file system of this process."""
    return f"/proc/self/fd/{descriptor}"


def chosen(environ: Mapping[str, str]) -> str | None:
    """Where the snapshot is that this process is to read, if it is."""
    descriptor = environ.get(VARIABLE)
    return None if descriptor is None else place(int(descriptor))


def given(environ: MutableMapping[str, str]) -> int | None:
    """The descriptor of the snapshot that this process was to read, from now on inherited no further."""
    descriptor = environ.pop(VARIABLE, None)
    if descriptor is None:
        return None
    os.set_inheritable(int(descriptor), False)
    return int(descriptor)
