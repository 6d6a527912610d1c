"""The PROXY protocol, versions 1 and 2: on whose behalf a proxy connects (proxy-protocol.txt of haproxy.org)."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

LONGEST_V1: Final = 107
LONGEST_V2: Final = 16 + 2048
"""The longest header taken, in bytes: what section 2.1 says, and room for more extensions than proxies send."""

_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_LINE: Final = re.compile(
    rb"PROXY (?:UNKNOWN(?: [^\r\n]*)?|TCP([46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4}))"
)
_LOCAL, _PROXY = 0x20, 0x21
_STREAMS: Final = {0x11: (IPv4Address, 4), 0x21: (IPv6Address, 16)}
_ADDRESSES: Final = {0x11: 12, 0x21: 36, 0x31: 216}
"""Bytes that the addresses take, by family; TCP over IPv4, over IPv6, and Unix sockets."""


class Source(NamedTuple):
    """Where a client is."""

    host: str
    port: int


class Header(NamedTuple):
    """A whole header."""

    source: Source | None
    """None where the proxy speaks for itself, such as in its health checks, or does not tell."""
    size: int
    """Bytes it took."""


def parse(data: bytes) -> Header | None:
    """The header that ``data`` begins with; None when more has to come.

    :raises ValueError: when it begins with none, or one that is not well formed or too long; says why.
    """
    if data[: len(_SIGNATURE)] == _SIGNATURE[: len(data)]:
        return _version_2(data)
    if data[:6] == b"PROXY "[: len(data)]:
        return _version_1(data)
    raise ValueError("there is no PROXY header")


def _version_1(data: bytes) -> Header | None:
    line, end, _ = data[:LONGEST_V1].partition(b"\r\n")
    if not end:
        if len(data) >= LONGEST_V1:
            raise ValueError("the PROXY line is too long")
        return None
    found = _LINE.fullmatch(line)
    if found is None:
        raise ValueError("the PROXY line is malformed")
    size = len(line) + 2
    if found[1] is None:
        return Header(None, size)
    kind = IPv4Address if found[1] == b"4" else IPv6Address
    try:
        host, _ = kind(found[2].decode()), kind(found[3].decode())
    except ValueError:
        raise ValueError("the PROXY line has an address that is none") from None
    port = int(found[4])
    if max(port, int(found[5])) > 65535:
        raise ValueError("the PROXY line has a port that is none")
    return Header(Source(str(host), port), size)


def _version_2(data: bytes) -> Header | None:
    if len(data) < 16:
        return None
    command, family, length = data[12], data[13], int.from_bytes(data[14:16])
    size = 16 + length
    if command not in (_LOCAL, _PROXY):
        raise ValueError("the PROXY header has an unknown version or command")
    if size > LONGEST_V2:
        raise ValueError("the PROXY header is too long")
    if len(data) < size:
        return None
    if command == _LOCAL or family == 0:
        return Header(None, size)
    if length < _ADDRESSES.get(family, size):
        raise ValueError("the PROXY header has no address of a stream")
    if family not in _STREAMS:
        return Header(None, size)  # a client on a Unix socket of the proxy's machine has no address
    kind, width = _STREAMS[family]
    port = int.from_bytes(data[16 + 2 * width : 18 + 2 * width])
    return Header(Source(str(kind(data[16 : 16 + width])), port), size)
