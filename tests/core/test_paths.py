"""Tests of gateway.core.paths."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.errors import BadRequest
from gateway.core.paths import normalize, split_target, strip_prefix


class NormalizeTests(SynchronousTestCase):
    """One path has one form."""

    def test_examples(self) -> None:
        """Escapes of unreserved characters are decoded before dot segments are removed."""
        for path, normal in {
            b"/a/./b/../c": b"/a/c",
            b"/a/%2e%2E/b": b"/b",
            b"/..": b"/",
            b"/%7euser/%c3%a9": b"/~user/%C3%A9",
            b"/a//b": b"/a//b",
            b"/a/": b"/a/",
        }.items():
            self.assertEqual(split_target(path).path, normal)

    def test_refusals(self) -> None:
        """What cannot be read in one way is refused."""
        for path in (b"/%zz", b"/a\\b", b"/a\x00", b"/a#b", b"/..;x/a", b"*", b"a"):
            with self.assertRaises(BadRequest):
                split_target(path)

    @given(st.binary(max_size=40))
    def test_normal_paths_stay_as_they_are(self, tail: bytes) -> None:
        """Normalising twice is normalising once."""
        try:
            once = normalize(b"/" + tail)
        except BadRequest:
            return
        self.assertEqual(normalize(once), once)
        self.assertNotIn(b"/../", once + b"/")


class StripTests(SynchronousTestCase):
    """What is left of a path below a prefix."""

    def test_rest(self) -> None:
        """The rest is a path again."""
        self.assertEqual(strip_prefix(b"/api/auth/x", b"/api/auth"), b"/x")
        self.assertEqual(strip_prefix(b"/api/auth", b"/api/auth"), b"/")

    def test_hidden_separators(self) -> None:
        """No separator may hide in it."""
        for rest in (b"//x", b"/a%2Fb", b"/a%5Cb", b"/%00"):
            with self.assertRaises(BadRequest):
                strip_prefix(b"/api" + rest, b"/api")
