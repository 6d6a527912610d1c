"""Whose address a request has: networks with fast membership, X-Forwarded-For from the right, buckets to count in."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Network = IPv4Network | IPv6Network

_REMEMBERED: Final = 8192
_LONGEST_ENTRY: Final = 64  # an IPv6 address in brackets with its port has 47 characters
_MAPPED_PREFIX: Final = 96
_BUCKET_PREFIX: Final = 56


class Networks:
    """A set of networks; ``"192.0.2.1" in networks`` looks an address up, whatever its spelling.

    IPv4 addresses written as IPv4-mapped IPv6 ones (``::ffff:192.0.2.1``) are IPv4 addresses here, and so are networks
    of them. What is no address is in no network. A set without networks is falsy.
    """

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._prefixes: dict[tuple[int, int], set[int]] = {}  # (version, bits after the prefix) -> prefixes
        for network in networks:
            network = unmapped(network)
            rest = network.max_prefixlen - network.prefixlen
            self._prefixes.setdefault((network.version, rest), set()).add(int(network.network_address) >> rest)
        self._remembered = lru_cache(_REMEMBERED)(self._look_up)

    def __bool__(self) -> bool:
        return bool(self._prefixes)

    def __contains__(self, address: object) -> bool:
        return bool(self._prefixes) and self._remembered(address)

    def _look_up(self, address: object) -> bool:
        parsed = _parse(str(address))
        if parsed is None:
            return False
        number = int(parsed)
        return any(
            version == parsed.version and number >> rest in prefixes
            for (version, rest), prefixes in self._prefixes.items()
        )


def _parse(address: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(address.partition("%")[0])  # the zone of a link-local peer says nothing about who it is
    except ValueError:
        return None
    mapped = getattr(parsed, "ipv4_mapped", None)
    return parsed if mapped is None else mapped


def unmapped(network: Network) -> Network:
    """The network of IPv4 addresses that one of IPv4-mapped IPv6 addresses is; any other as it is."""
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < _MAPPED_PREFIX:
        return network
    return IPv4Network((mapped, network.prefixlen - _MAPPED_PREFIX))


@lru_cache(_REMEMBERED)
def normal(address: str) -> str:
    """The one spelling of an IP address: compressed, lower case, no zone, IPv4 where it is IPv4-mapped IPv6.

    What is no IP address (the peer of a Unix socket) comes back as it is.
    """
    parsed = _parse(address)
    return address if parsed is None else str(parsed)


@lru_cache(_REMEMBERED)
def _entry_address(entry: bytes) -> str:
    """The normal address of an X-Forwarded-For entry, which may have brackets and a port; ``""`` for anything else."""
    text = entry.decode("latin-1")
    if text.startswith("["):
        text, closed, port = text[1:].partition("]")
        if not closed or ":" not in text or (port and not _is_port(port)):
            return ""
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not _is_port(":" + port):
            return ""
    parsed = None if "%" in text else _parse(text)
    return "" if parsed is None else str(parsed)


def _is_port(text: str) -> bool:
    return text[0] == ":" and text[1:].isascii() and text[1:].isdigit() and len(text) <= 6


def client_address(peer: str, forwarded_for: bytes | None, trusted: Networks) -> str:
    """The rightmost address that is not trusted, in its normal spelling (RFC 7239 section 5.2, section 7.4).

    Each proxy appends who it was asked by, so only what trusted proxies wrote can be believed: the walk goes from the
    peer to the left, as long as addresses are trusted. An entry that is no address (an empty one, ``unknown``) ends
    it, and the last good address is the client. X-Forwarded-For of a peer that is not trusted counts for nothing.

    :param peer: who the connection came from.
    :param forwarded_for: the X-Forwarded-For value, repeated fields joined by commas.
    """
    client = normal(peer)
    if forwarded_for is None or client not in trusted:
        return client
    for raw in reversed(forwarded_for.split(b",")):
        entry = raw.strip(b" \t")
        address = _entry_address(entry) if len(entry) <= _LONGEST_ENTRY else ""
        if not address:
            break
        client = address
        if client not in trusted:
            break
    return client


def bucket(address: str, ipv6_prefix: int = _BUCKET_PREFIX) -> str:
    """Who is counted together with ``address``: an IPv4 address alone, an IPv6 one with its /56.

    A subscriber is commonly given a /56 (RFC 6177), so single IPv6 addresses cost an abusive client nothing.
    """
    return enclosing(address, 32, ipv6_prefix)


@lru_cache(_REMEMBERED)
def enclosing(address: str, ipv4_prefix: int, ipv6_prefix: int) -> str:
    """The network of so many bits that holds ``address``, in its normal spelling: an IPv4 address alone has no ``/32``.

    What is no IP address comes back as it is.
    """
    parsed = _parse(address)
    if parsed is None:
        return address
    if parsed.version == 6:
        return str(IPv6Network((int(parsed), ipv6_prefix), strict=False))
    return str(parsed) if ipv4_prefix == 32 else str(IPv4Network((int(parsed), ipv4_prefix), strict=False))
