"""The Resource tree: from the segments of a path to the leaf of the longest prefix."""

from __future__ import annotations

from typing import Final

from twisted.web.resource import IResource, Resource

from gateway.core.errors import BadRequest
from gateway.core.paths import loosest

_PERCENT: Final = ord("%")
_SEMICOLON: Final = ord(";")


class Branch(Resource):
    """A place in the tree: its children by segment, and the leaf of every path that ends or strays below it.

    :param leaf: what a path leads to that no prefix fits.
    """

    exact: IResource | None = None

    def __init__(self, leaf: IResource) -> None:
        super().__init__()
        self.leaf = leaf
        self.inner: dict[bytes, Branch] = {}
        self.folded: dict[bytes, Branch] = {}
        """The same by their segments in lower case."""
        self._nowhere = leaf

    def plant(self, prefix: bytes, leaf: IResource, whole: bool = False) -> None:
        """Let ``leaf`` answer at ``prefix`` and below; shorter prefixes are to be planted first.

        :param whole: only at ``prefix`` itself, nothing below it.
        """
        branch = self
        for segment in prefix.split(b"/")[1:] if prefix != b"/" or whole else ():
            inner = branch.inner.setdefault(segment, Branch(branch.leaf))
            branch.folded.setdefault(segment.lower(), inner)
            branch = inner
        if whole:
            branch.exact = leaf
        else:
            branch.leaf = leaf

    def locate(self, path: bytes) -> IResource:
        """The leaf of the longest prefix of ``path``, on whole segments; one step a segment, however many routes.

        :raises BadRequest: when a more lenient upstream would read a path of another leaf: it would have passed the
            wrong guards.
        """
        branch = self
        for segment in path.split(b"/")[1:]:
            found = branch.inner.get(segment)
            if found is None:
                plain = segment and _PERCENT not in path
                # Where nothing is planted further down, only what is hidden behind an escape can lead elsewhere.
                if plain and (not branch.inner or (_SEMICOLON not in path and segment.lower() not in branch.folded)):
                    return branch.leaf
                return self._unless_crossing(path, branch.leaf)
            branch = found
        return branch.exact or branch.leaf

    def _unless_crossing(self, path: bytes, leaf: IResource) -> IResource:
        other = loosest(path)
        if leaf is self._nowhere or (other is not None and self._locate_loosely(other) is leaf):
            return leaf
        raise BadRequest("The path could be read as another one")

    def _locate_loosely(self, path: bytes) -> IResource:
        """The leaf of the longest prefix of a path in lower case."""
        branch = self
        for segment in path.split(b"/")[1:]:
            found = branch.folded.get(segment)
            if found is None:
                break
            branch = found
        return branch.leaf
