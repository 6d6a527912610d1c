"""How a process that serves keeps its memory: what is there at the start for good, what is free for the next use."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress
from typing import Final

KEPT: Final = 16 * 1024 * 1024
"""Bytes of freed memory that are not given back."""
MAPPED: Final = 4 * 1024 * 1024
"""Bytes from which on a single piece of memory is given back at once, whatever is kept."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

GENERATIONS: Final = (700, 3, 100)
"""How often garbage is looked for: after so many new objects among these, each third time among those that outlived one
look, and each hundredth of these among all (gc.set_threshold). What connections and requests held is let go with them,
so little is ever found, while a look at all that a thousand connections hold took 0.1 s, in which all requests waited,
and a crowd that came and went made one every other second."""


def settle() -> None:
    """Call it when all is set up, and before the first request.

    Garbage is looked for among what comes later alone. Memory that one large read frees stays for the next one: by
    glibc's own measure each megabyte of a download would be given back and asked for again, page by page, which takes
    longer than to relay it (mallopt(3)). Other C libraries keep their own measure.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GENERATIONS)
    gc.enable()
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, KEPT)
        mallopt(_M_MMAP_THRESHOLD, MAPPED)
