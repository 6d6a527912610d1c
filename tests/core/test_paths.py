"""Tests of gateway.core.paths."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.errors import BadRequest
from gateway.core.paths import Target, loosest, merged, normalize, split_target, strip_prefix, valid_authority

PIECES = ["/", "/", ".", "..", "%2e", "%2E", "%2f", "%2F", "%5c", "%00", "%25", "%7e", "%3b", ";", "api", "auth", "x"]
PATHS = st.lists(st.sampled_from(PIECES), max_size=20).map(lambda pieces: "".join(pieces).encode())
"""Paths of what has ever led a request astray."""


def without_dots(path: bytes) -> bytes:
    """What RFC 3986 section 5.2.4 makes of a path, written down step by step as it stands there."""
    output = b""
    while path:
        if path.startswith((b"../", b"./")):
            path = path.partition(b"/")[2]
        elif path.startswith(b"/./") or path == b"/.":
            path = b"/" + path[3:]
        elif path.startswith(b"/../") or path == b"/..":
            path = b"/" + path[4:]
            output = output.rpartition(b"/")[0]
        elif path in (b".", b".."):
            path = b""
        else:
            segment = re.match(rb"/?[^/]*", path)[0]  # type: ignore[index]
            output, path = output + segment, path[len(segment) :]
    return output


class SplitTests(SynchronousTestCase):
    """A request target in its parts."""

    def test_origin_form(self) -> None:
        """A path, and what follows the first question mark."""
        for target, parts in {
            b"/": (b"/", b"", b""),
            b"/a?b=c": (b"/a", b"b=c", b""),
            b"/a??b=/../c&d=%zz": (b"/a", b"?b=/../c&d=%zz", b""),
            b"/a?": (b"/a", b"", b""),
            b"//evil.example/a": (b"//evil.example/a", b"", b""),
            b"/http://evil.example/a": (b"/http://evil.example/a", b"", b""),
        }.items():
            self.assertEqual(split_target(target), Target(*parts), target)

    def test_absolute_form(self) -> None:
        """Its host comes out apart; without a path it means the root."""
        for target, parts in {
            b"http://a.example/x?y": (b"/x", b"y", b"a.example"),
            b"HTTPS://a.example:8443/./x": (b"/x", b"", b"a.example:8443"),
            b"http://[::1]:80": (b"/", b"", b"[::1]:80"),
            b"http://a.example?y": (b"/", b"y", b"a.example"),
            b"http://a.example//b.example/": (b"//b.example/", b"", b"a.example"),
        }.items():
            self.assertEqual(split_target(target), Target(*parts), target)

    def test_other_forms(self) -> None:
        """What is no path and no http URL of a host is refused."""
        for target in (
            b"",
            b"*",
            b"a",
            b"a.example:443",
            b"ftp://a.example/",
            b"http:/a",
            b"http:///a",
            b"http://user@a.example/",
            b"http://a.example\\@b.example/",
            b"http://a.example:80:80/",
            b"http://a.example#/b",
        ):
            with self.assertRaises(BadRequest, msg=target):
                split_target(target)

    def test_queries(self) -> None:
        """They are passed on as they came, but for what can end a line, or a target."""
        self.assertEqual(split_target(b"/?a[]=\xc3\xa9&b='<>").query, b"a[]=\xc3\xa9&b='<>")
        for character in (b"#", b" ", b"\t", b"\r", b"\n", b"\x00", b"\x7f", b"\\"):
            with self.assertRaises(BadRequest, msg=character):
                split_target(b"/a?b" + character + b"c")

    def test_hosts(self) -> None:
        """A Host value is a name or an address, with a port or without, and nothing else."""
        names = (b"a", b"a.example:", b"a.example:80", b"a_b~%41")
        for good in (*names, b"192.0.2.1:65535", b"[2001:db8::1]", b"[::1]:80"):
            self.assertTrue(valid_authority(good), good)
        odd = (b"", b":80", b"a b", b"a@b", b"a/b", b"a\n", b"\xe9")
        for bad in (*odd, b"a:b", b"a:800000", b"a:80:80", b"[::1", b"::1", b"[g]"):
            self.assertFalse(valid_authority(bad), bad)


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
        for path in (b"/%zz", b"/a\\b", b"/a\x00", b"/a#b", b"/..;x/a", b"/x/..%3bx/a", b"/.%3B/a", b"/%2e%2E%3B/a"):
            with self.assertRaises(BadRequest):
                split_target(path)

    def test_hidden_dot_segments(self) -> None:
        """A dot segment that only shows once separators are decoded is refused, and so is a NUL; others stay."""
        for path in (b"/a/..%2fb", b"/a/%2e%2e%5Cb", b"/a%2F..", b"/a%2f./b", b"/a%5c../b", b"/..%2F", b"/a%00"):
            with self.assertRaises(BadRequest):
                split_target(path)
        self.assertEqual(split_target(b"/a%2fb/...%2f.c").path, b"/a%2Fb/...%2F.c")

    @given(st.binary(max_size=40))
    def test_normal_paths_stay_as_they_are(self, tail: bytes) -> None:
        """Normalising twice is normalising once."""
        try:
            once = normalize(b"/" + tail)
        except BadRequest:
            return
        self.assertEqual(normalize(once), once)
        self.assertNotIn(b"/../", once + b"/")

    def test_what_needs_an_escape(self) -> None:
        """Characters that may not stand in a path are escaped, not refused: browsers send some of them."""
        self.assertEqual(normalize(b'/a"<>^`{|}\xff'), b"/a%22%3C%3E%5E%60%7B%7C%7D%FF")
        self.assertEqual(normalize(b"/a!$&'()*+,;=:@b/%20%25"), b"/a!$&'()*+,;=:@b/%20%25")

    @given(st.one_of(PATHS, st.binary(max_size=30)))
    def test_dot_segments(self, tail: bytes) -> None:
        """With its escapes decoded a path loses its dot segments exactly as the RFC says."""
        try:
            path = normalize(b"/" + tail)
        except BadRequest:
            return
        decoded = re.sub(rb"%2[Ee]", b".", b"/" + tail)
        self.assertEqual(unquote_to_bytes(path), unquote_to_bytes(without_dots(decoded)))

    @given(PATHS)
    def test_short_cut(self, tail: bytes) -> None:
        """A target has the same path whether or not it looks normal at first sight."""
        try:
            expected = normalize(b"/" + tail)
        except BadRequest:
            self.assertRaises(BadRequest, split_target, b"/" + tail)
        else:
            self.assertEqual(split_target(b"/" + tail).path, expected)

    @given(st.one_of(PATHS, st.binary(max_size=30)))
    def test_what_is_forwarded_is_what_was_matched(self, tail: bytes) -> None:
        """A second gateway, or the upstream, reads the path that comes out as the same path."""
        try:
            path = split_target(b"/" + tail).path
        except BadRequest:
            return
        self.assertEqual(split_target(path + b"?q"), Target(path, b"q", b""))
        self.assertEqual(without_dots(path), path)
        self.assertNotRegex(path, rb"[^\x21-\x7e]|[\\#?]|%(?![0-9A-F]{2})")


class LenientTests(SynchronousTestCase):
    """What a path is to servers that are less strict."""

    def test_merged(self) -> None:
        """Separators are decoded and merged; a path without any to spare stays as it is."""
        for path, read in {
            b"/": b"/",
            b"/a/b/": b"/a/b/",
            b"/a%2Fb": b"/a/b",
            b"/a%5Cb": b"/a/b",
            b"/a//": b"/a/",
            b"//%2F%5C/a": b"/a",
            b"/A%20;x/b": b"/A%20;x/b",
        }.items():
            self.assertEqual(merged(path), read, path)

    def test_loosest(self) -> None:
        """The parameters of segments are cut off as well, and the segments that were nothing else; case is none."""
        for path, read in {
            b"/a/b": b"/a/b",
            b"/Api/AUTH": b"/api/auth",
            b"/a;x=1/b;y": b"/a/b",
            b"/a%3Bx/b": b"/a/b",
            b"/a/;x/b": b"/a/b",
            b"/a%2FB%3Bx;y": b"/a/b",
        }.items():
            self.assertEqual(loosest(path), read, path)

    def test_no_sense(self) -> None:
        """A dot segment that has parameters once separators are decoded makes no sense to anybody."""
        for path in (b"/a%2F..;x/b", b"/a%5C.;/b"):
            self.assertEqual((merged(path), loosest(path)), (None, None), path)


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

    def test_root(self) -> None:
        """The root prefix takes nothing away."""
        self.assertEqual(strip_prefix(b"/", b"/"), b"/")
        self.assertEqual(strip_prefix(b"/a/", b"/"), b"/a/")

    @given(PATHS, st.sampled_from([b"/", b"/api", b"/api/auth"]))
    def test_nobody_reads_it_as_another_place(self, tail: bytes, prefix: bytes) -> None:
        """However often an upstream decodes separators or merges them, what is left leads where it says."""
        try:
            path = split_target(prefix.rstrip(b"/") + b"/" + tail).path
            assume(path.startswith(prefix))
            rest = strip_prefix(path, prefix)
        except BadRequest:
            return
        self.assertTrue(rest.startswith(b"/") and not rest.startswith(b"//"))
        self.assertEqual(prefix.rstrip(b"/") + rest, path if path != prefix else prefix.rstrip(b"/") + b"/")
        self.assertEqual(split_target(rest), Target(rest, b"", b""))
        read = unquote_to_bytes(rest)
        self.assertEqual(read.count(b"/"), rest.count(b"/"))
        self.assertNotIn(b"\\", read)
        self.assertNotIn(b"\x00", read)
        self.assertEqual(without_dots(read), read)
