"""Tests of gateway.core.proxy_protocol."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.proxy_protocol import Header, Source, parse

LONGEST_V1 = 107
LONGEST_V2 = 2064
V2 = b"\r\n\r\n\0\r\nQUIT\n"
IPV4 = bytes((198, 51, 100, 7, 192, 0, 2, 1)) + b"\x0f\xa0\x01\xbb"
IPV6 = bytes.fromhex("20010db8000000000000000000000007" * 2) + b"\x0f\xa0\x01\xbb"


def v2(command: int, family: int, rest: bytes) -> bytes:
    """A header of version 2."""
    return V2 + bytes((command, family)) + len(rest).to_bytes(2) + rest


class ProxyProtocolTests(SynchronousTestCase):
    """What is read, and what is refused."""

    def source(self, header: bytes) -> tuple[str, int] | None:
        """Whom a whole header names; it is the same when data follows, and nothing while a byte is missing."""
        found = parse(header + b"GET /")
        assert found is not None
        self.assertEqual(found.size, len(header))
        self.assertEqual({parse(header[:size]) for size in range(len(header))}, {None})
        return found.source

    def test_version_1(self) -> None:
        """A line."""
        self.assertEqual(self.source(b"PROXY TCP4 198.51.100.7 192.0.2.1 4000 443\r\n"), Source("198.51.100.7", 4000))
        self.assertEqual(self.source(b"PROXY TCP6 2001:DB8:0::7 2001:db8::1 0 65535\r\n"), Source("2001:db8::7", 0))
        self.assertIsNone(self.source(b"PROXY UNKNOWN\r\n"))
        self.assertIsNone(self.source(b"PROXY UNKNOWN ffff::1 whatever\r\n"))

    def test_version_2(self) -> None:
        """Bytes, with extensions that are passed over."""
        self.assertEqual(self.source(v2(0x21, 0x11, IPV4)), Source("198.51.100.7", 4000))
        for extension in (b"", b"\x04\x00\x01x"):
            self.assertEqual(self.source(v2(0x21, 0x21, IPV6 + extension)), Source("2001:db8::7", 4000))

    def test_nobody_named(self) -> None:
        """A proxy that speaks for itself, a family that it does not know, and a Unix socket at its end."""
        for header in (v2(0x20, 0x11, IPV4), v2(0x20, 0, b""), v2(0x21, 0, b"abc"), v2(0x21, 0x31, b"x" * 216)):
            self.assertIsNone(self.source(header))

    def test_refused(self) -> None:
        """Whatever could be read in two ways, or is no stream."""
        for data in (
            b"GET / HTTP/1.1\r\n",
            b"proxy TCP4 198.51.100.7 192.0.2.1 4000 443\r\n",
            b"PROXY TCP4 2001:db8::7 192.0.2.1 4000 443\r\n",
            b"PROXY TCP6 198.51.100.7 192.0.2.1 4000 443\r\n",
            b"PROXY TCP4 198.51.100.07 192.0.2.1 4000 443\r\n",
            b"PROXY TCP4 198.51.100.7 192.0.2.1 04000 443\r\n",
            b"PROXY TCP4 198.51.100.7 192.0.2.1 4000 65536\r\n",
            b"PROXY TCP4 198.51.100.7 192.0.2.1 65536 443\r\n",
            b"PROXY TCP4 198.51.100.7 192.0.2.1 4000\r\n",
            b"PROXY  TCP4 198.51.100.7 192.0.2.1 4000 443\r\n",
            b"PROXY TCP4 198.51.100.7 192.0.2.1 4000 443 \r\n",
            b"PROXY TCP4 198.51.100.7 192.0.2.1 4000 443\n\r\n",
            b"PROXY UNIX a b\r\n",
            b"PROXY UNKNOWN " + b"x" * LONGEST_V1,
            v2(0x11, 0x11, IPV4),
            v2(0x22, 0x11, IPV4),
            v2(0x21, 0x12, IPV4),
            v2(0x21, 0x41, IPV4),
            v2(0x21, 0x11, IPV4[:-1]),
            v2(0x21, 0x21, IPV6[:-1]),
            v2(0x21, 0x31, b"x" * 215),
        ):
            self.assertRaises(ValueError, parse, data)

    def test_bounded(self) -> None:
        """A sender gets no more room than the longest header takes."""
        self.assertIsNone(parse(b"PROXY UNKNOWN ".ljust(LONGEST_V1 - 1, b"x")))
        self.assertRaises(ValueError, parse, b"PROXY UNKNOWN ".ljust(LONGEST_V1, b"x"))
        for command in (0x20, 0x21):
            self.assertIsNone(parse(v2(command, 0x11, bytes(LONGEST_V2 - 16))[:-1]))
            self.assertRaises(ValueError, parse, v2(command, 0x11, bytes(LONGEST_V2 - 15))[:16])

    @given(st.binary(max_size=64), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", V2, V2 + b"\x21\x11\x00\x0c"]))
    @example(b"", b"")
    def test_anything(self, data: bytes, start: bytes) -> None:
        """Whatever comes, it is a header, the beginning of one, or refused."""
        try:
            found = parse(start + data)
        except ValueError as error:
            self.assertTrue(str(error))
        else:
            self.assertIsInstance(found, Header | None)
