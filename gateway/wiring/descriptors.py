"""How many files the process may open, and how many connections that is enough for."""

from __future__ import annotations

import resource
from typing import Final

from twisted.logger import Logger

RESERVE: Final = 256
"""Files for everything that is no client: logs, listeners, Redis, probes, idle connections to instances."""

_log = Logger()


def enough_for(connections: int) -> int:
    """Raise the limit of open files to what ``connections`` of clients may need; returns how many it is enough for.

    Each may need one more file, for the instance that serves it. What the operator has to raise (the hard limit) is
    said in the log.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * connections + RESERVE
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return connections
    limit = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    if limit == needed:
        return connections
    enough = max((limit - RESERVE) // 2, 1)
    _log.error(
        "This process may open {limit} files: enough for {enough} connections, not for server.max_connections, "
        "{connections}. Let it open {needed} (LimitNOFILE in systemd, else ulimit -n)",
        limit=limit,
        enough=enough,
        connections=connections,
        needed=needed,
    )
    return enough
