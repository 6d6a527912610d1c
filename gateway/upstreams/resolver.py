"""Who is asked about names: the name servers of the system, or others, and the system's own list of hosts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from twisted.internet.interfaces import IResolver
from twisted.internet.udp import Port
from twisted.logger import LogLevel
from twisted.names.client import Resolver
from twisted.names.hosts import searchFileForAll
from twisted.python.filepath import FilePath
from twisted.python.log import callWithContext

RESOLV_CONF: Final = "/etc/resolv.conf"
HOSTS: Final = "/etc/hosts"
_TIMEOUTS: Final = (1, 2, 4)
"""Seconds that each name server has for an answer, the first time, the second ..."""
_QUIETLY: Final = {"log_level": LogLevel.debug}


def make_resolver(reactor: Any, servers: Sequence[tuple[str, int]]) -> IResolver:
    """Asks ``servers``, addresses with ports; when there are none, those of resolv.conf(5), as it changes."""
    where: dict[str, Any] = {"servers": list(servers)} if servers else {"resolv": RESOLV_CONF}
    return Resolver(timeout=_TIMEOUTS, reactor=_Quiet(reactor), **where)


def local_addresses(name: str) -> Sequence[str]:
    """The addresses that hosts(5) has for a name."""
    found: list[str] = searchFileForAll(FilePath(HOSTS), name.encode())
    return found


class _Quiet:
    """A reactor whose UDP ports, one for each question, do not log that they open and close."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenUDP(self, port: int, protocol: Any, interface: str = "", maxPacketSize: int = 8192) -> Port:
        """See ``IReactorUDP.listenUDP``."""
        opened = _QuietPort(port, protocol, interface, maxPacketSize, self._reactor)
        opened.startListening()
        return opened


class _QuietPort(Port):
    def startListening(self) -> None:
        callWithContext(_QUIETLY, super().startListening)

    def connectionLost(self, reason: Any = None) -> None:
        callWithContext(_QUIETLY, partial(super().connectionLost, reason))
