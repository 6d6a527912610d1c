"""Which of several servers a key belongs to: consistent hashing, so that one server more or less moves few keys.

Whoever wants to compute it too: each server has 160 points, point ``i`` of them (from 0) the hash of its name, ``#``
and ``i`` in decimal. A key belongs to the server of the first point that is not before the key's hash; after the last
point comes the first one again. The hash of a text is the first 8 bytes of the SHA-1 of its UTF-8, big-endian.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from hashlib import sha1
from typing import Final

POINTS: Final = 160
"""Of each server: its share of the keys is off by about a twelfth then."""


class Ring:
    """Servers on a ring of 64-bit hashes.

    :param names: of the servers, each once; their order does not matter to where keys belong.
    """

    def __init__(self, names: Sequence[str]) -> None:
        points = sorted((_hash(f"{name}#{i}"), index) for index, name in enumerate(names) for i in range(POINTS))
        self._points = [point for point, _ in points]
        self._servers = [index for _, index in points]

    def server(self, key: str) -> int:
        """The index in ``names`` of the server that ``key`` belongs to."""
        return self._servers[bisect_left(self._points, _hash(key)) % len(self._servers)]


def _hash(text: str) -> int:
    digest = sha1(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).digest()
    return int.from_bytes(digest[:8], "big")
