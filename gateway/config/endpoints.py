"""Server endpoints as the file spells them, taken apart: what is spoken on a connection, and where it comes in."""

from __future__ import annotations

import re
from typing import NamedTuple

_COLON = re.compile(r"(?<!\\):")
_WITHIN = ("tcp:", "tcp6:", "unix:", "systemd:")


class ServerEndpoint(NamedTuple):
    """``haproxy:tls:DIRECTORY:443``, in its parts."""

    proxied: bool
    """Whether connections begin with a PROXY header."""
    certificates: str
    """The directory that has the certificates; ``""`` where the gateway does not speak TLS itself."""
    twisted: str
    """What listens, as Twisted spells it."""


def take_apart(text: str) -> ServerEndpoint:
    """The parts of an endpoint string.

    Behind the directory of ``tls:`` stands a port with its options, as Twisted has it, or a whole other endpoint.
    """
    inner = text.removeprefix("haproxy:")
    proxied = inner != text
    if not inner.startswith("tls:"):
        return ServerEndpoint(proxied, "", inner)
    directory, *rest = _COLON.split(inner.removeprefix("tls:"), maxsplit=1)
    where = rest[0] if rest else "443"
    directory = re.sub(r"\\(.)", r"\1", directory.removeprefix("path="))
    return ServerEndpoint(proxied, directory, where if where.startswith(_WITHIN) else f"tcp6:{where}")
