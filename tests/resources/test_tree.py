"""Tests of gateway.resources.tree."""

from __future__ import annotations

import re
from unittest import TestCase

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.web.resource import IResource, Resource

from gateway.core.errors import BadRequest
from gateway.core.paths import split_target
from gateway.resources.tree import Branch


class Leaf(Resource):
    """A leaf with a name to know it by."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def __repr__(self) -> str:
        return self.name


NOWHERE = Leaf("nowhere")


def tree(*prefixes: str, whole: tuple[str, ...] = ()) -> Branch:
    """A tree with a leaf at each prefix, named after it, planted as the gateway does."""
    root = Branch(NOWHERE)
    for prefix in sorted(prefixes, key=len):
        root.plant(prefix.encode(), Leaf(prefix))
    for prefix in whole:
        root.plant(prefix.encode(), Leaf(prefix), whole=True)
    return root


def found(root: Branch, path: str) -> str:
    """The name of the leaf that answers at ``path``."""
    leaf: IResource = root.locate(path.encode())
    return repr(leaf)


SEGMENTS = st.sampled_from(["a", "b", "ab", "%25"])
PREFIXES = st.lists(SEGMENTS, max_size=4).map(lambda segments: "/" + "/".join(segments))


class LongestPrefixTests(TestCase):
    """Which leaf a path leads to."""

    def test_nothing_planted(self) -> None:
        """Every path leads nowhere."""
        for path in ("/", "/a", "/a/b"):
            self.assertEqual(found(tree(), path), "nowhere")

    def test_longest_wins(self) -> None:
        """However many prefixes fit."""
        root = tree("/api", "/api/auth", "/api/auth/admin/keys")
        for path, name in {
            "/api": "/api",
            "/api/": "/api",
            "/api/x": "/api",
            "/api/auth": "/api/auth",
            "/api/auth/x/y": "/api/auth",
            "/api/auth/admin": "/api/auth",
            "/api/auth/admin/keys": "/api/auth/admin/keys",
            "/api/auth/admin/keys/1": "/api/auth/admin/keys",
            "/": "nowhere",
            "/x/api": "nowhere",
        }.items():
            self.assertEqual(found(root, path), name, path)

    def test_whole_segments(self) -> None:
        """A prefix ends where a segment does, and its case counts."""
        root = tree("/api/auth")
        for path in ("/api/authors", "/api/aut", "/api", "/api/AUTH", "/api/auth;x", "/api/auth%2F"):
            self.assertEqual(found(root, path), "nowhere", path)

    def test_root_prefix(self) -> None:
        """It answers wherever nothing longer fits."""
        root = tree("/", "/api")
        self.assertEqual([found(root, path) for path in ("/", "/x/y", "/apis", "/api/x")], ["/", "/", "/", "/api"])

    @given(st.sets(PREFIXES), PREFIXES)
    def test_any_prefixes(self, prefixes: set[str], path: str) -> None:
        """The leaf is that of the longest prefix that the path starts with, segment by segment."""
        fitting = [each for each in prefixes if (path + "/").startswith(each.rstrip("/") + "/")]
        self.assertEqual(found(tree(*prefixes), path), max(fitting, key=len, default="nowhere"))

    def test_order(self) -> None:
        """Shorter prefixes are to be planted first: one that comes later does not reach what is there below it."""
        root = Branch(NOWHERE)
        for prefix in ("/api/auth", "/api"):
            root.plant(prefix.encode(), Leaf(prefix))
        self.assertEqual((found(root, "/api/x"), found(root, "/api/auth/x")), ("/api", "/api/auth"))
        root.plant(b"/", Leaf("/"))
        self.assertEqual((found(root, "/x"), found(root, "/api/x")), ("/", "/api"))
        late = Branch(NOWHERE)
        for prefix in ("/a/b/c", "/a"):
            late.plant(prefix.encode(), Leaf(prefix))
        self.assertEqual(found(late, "/a/b"), "nowhere")


class WholeTests(TestCase):
    """Leaves that answer at one path only."""

    def test_nothing_below(self) -> None:
        """What is below, and the path with a slash at its end, belongs to the shorter prefix."""
        for root, rest in ((tree(whole=("/health",)), "nowhere"), (tree("/", whole=("/health",)), "/")):
            self.assertEqual(found(root, "/health"), "/health")
            for path in ("/health/", "/health/x", "/healthy", "/"):
                self.assertEqual(found(root, path), rest, path)

    def test_beside_a_prefix(self) -> None:
        """It takes only the path itself from a prefix that is the same."""
        root = tree("/status", whole=("/status",))
        self.assertEqual(root.locate(b"/status/x"), root.locate(b"/status/y"))
        self.assertIsNot(root.locate(b"/status"), root.locate(b"/status/x"))

    def test_longer_prefix(self) -> None:
        """A longer prefix below it stays."""
        root = tree("/ready/deep", whole=("/ready",))
        self.assertEqual(
            [found(root, path) for path in ("/ready", "/ready/x", "/ready/deep/x")],
            ["/ready", "nowhere", "/ready/deep"],
        )

    def test_root(self) -> None:
        """The root can be such a path too."""
        root = tree("/a", whole=("/",))
        self.assertEqual([found(root, path) for path in ("/", "/x", "/a")], ["/", "nowhere", "/a"])


class CrossingTests(TestCase):
    """Paths that an upstream may read as another route's."""

    ROUTES = ("/", "/api", "/api/admin", "/files")

    def test_another_route_is_meant(self) -> None:
        """Servers merge slashes and decode separators: what would reach another route then is refused."""
        root = tree(*self.ROUTES)
        for path in (
            "//api",
            "//api/admin",
            "/api//admin",
            "/api///admin/keys",
            "/api%2Fadmin",
            "/api/%2Fadmin",
            "/api%5Cadmin",
            "/api/x%2F..%2Fadmin",
            "/files/%2F..%2F..%2Fapi",
            "/api/..%2Fadmin",
            "/api/admin/..%2Fx",
            "/files/..%2F..%2Fetc",
        ):
            with self.assertRaises(BadRequest, msg=path):
                root.locate(path.encode())

    def test_another_spelling_is_meant(self) -> None:
        """Express takes any case for the same, and Java's servers cut parameters off: neither gets around a route."""
        root = tree(*self.ROUTES)
        for path in (
            "/api/Admin",
            "/api/ADMIN/keys",
            "/api/admin;x",
            "/api/admin;/keys",
            "/api/admin%3Bx/keys",
            "/api/;x/admin",
            "/API",
            "/Api/Admin",
            "/api;x=1/admin",
            "/api%2FAdmin",
        ):
            with self.assertRaises(BadRequest, msg=path):
                root.locate(path.encode())

    def test_another_spelling_of_no_route(self) -> None:
        """Case and parameters are left alone where no other route comes of it, or a route has that case itself."""
        root = tree(*self.ROUTES, "/Docs", "/docs/x", whole=("/health",))
        for path, name in {
            "/files/API/Admin": "/files",
            "/files/a;v=1": "/files",
            "/api/Keys;v=1": "/api",
            "/api/admin/Admin;x": "/api/admin",
            "/Docs/a": "/Docs",
            "/docs/a": "/",
            "/Health": "/",
        }.items():
            self.assertEqual(found(root, path), name, path)

    def test_no_route_is_meant(self) -> None:
        """What leads nowhere as it stands leads nowhere, whatever else it could be: nobody gets it."""
        root = tree("/api", "/api/admin")
        for path in ("//api", "//api/admin", "/api%2Fadmin", "/x/..%2Fapi", "/x%2F..;/api"):
            self.assertEqual(found(root, path), "nowhere", path)

    def test_the_same_route_is_meant(self) -> None:
        """Where every reading stays below the prefix, the path is left alone."""
        root = tree(*self.ROUTES)
        for path, name in {
            "/files//a": "/files",
            "/files/http://a.example/": "/files",
            "/files/a%2Fb": "/files",
            "/files/a%2F..%2Fb": "/files",
            "/files/100%25/%E2%82%AC": "/files",
            "/api/admin//": "/api/admin",
            "/api/": "/api",
            "//": "/",
            "/a//b": "/",
        }.items():
            self.assertEqual(found(root, path), name, path)

    def test_unreadable(self) -> None:
        """A dot segment with parameters behind an encoded separator is refused, as it is without."""
        self.assertRaises(BadRequest, tree(*self.ROUTES).locate, b"/files/a%2F..;x/b")

    @given(st.lists(st.sampled_from([*"/x.;", "//", "..", "%2F", "%5C", "%3B", "api", "admin", "files"])).map("".join))
    @example("api/x/..%3Bx/admin")
    def test_no_reading_crosses(self, tail: str) -> None:
        """Whatever an upstream does about separators, dots and parameters, it stays below the matched prefix."""
        root = tree(*self.ROUTES[1:])
        try:
            path = split_target(b"/" + tail.encode()).path
            leaf = found(root, path.decode())
        except BadRequest:
            return
        if leaf == "nowhere":
            return
        separated = re.sub(rb"(/|%2F|%5C)+", b"/", path)
        self.assertEqual(found(root, split_target(separated).path.decode()), leaf)
        without_parameters = re.sub(rb"/+", b"/", re.sub(rb"(;|%3B)[^/]*", b"", separated))
        self.assertEqual(found(root, split_target(without_parameters).path.decode()), leaf)
