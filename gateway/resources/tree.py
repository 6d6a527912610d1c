"""The Resource tree: from the segments of a path to the leaf of the longest prefix."""

from __future__ import annotations

from twisted.web.resource import IResource, Resource


class Branch(Resource):
    """A place in the tree: its children by segment, and the leaf of every path that ends or strays below it."""

    def __init__(self, leaf: IResource) -> None:
        super().__init__()
        self.leaf = leaf
        self.inner: dict[bytes, Branch] = {}

    def plant(self, prefix: bytes, leaf: IResource, whole: bool = False) -> None:
        """Let ``leaf`` answer at ``prefix`` and below; shorter prefixes are to be planted first.

        :param whole: only at ``prefix`` itself, nothing below it.
        """
        branch = self
        for segment in prefix.split(b"/")[1:] if prefix != b"/" else ():
            branch = branch.inner.setdefault(segment, Branch(branch.leaf))
        if whole:
            branch.exact = leaf
        else:
            branch.leaf = leaf

    exact: IResource | None = None

    def locate(self, path: bytes) -> IResource:
        """The leaf of the longest prefix of ``path``, on whole segments; one step a segment, however many routes."""
        branch = self
        segments = path.split(b"/")
        last = len(segments) - 1
        for index in range(1, last + 1):
            found = branch.inner.get(segments[index])
            if found is None:
                return branch.leaf
            branch = found
        return branch.exact or branch.leaf
