"""Tests of gateway.core.headers."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.core import headers
from gateway.core.errors import BadRequest, NotImplementedHere
from gateway.core.headers import (
    HOP_BY_HOP,
    OVERRIDES,
    SET_BY_GATEWAY,
    FieldName,
    check_transfer_encoding,
    field_name,
    lines,
    nominated,
    sane_request_id,
)

CERTIFICATE = (b"x-client-cert", b"x-client-certificate-dn", b"x-ssl-client-verify", b"client-cert-chain")
NAMES = st.text(string.ascii_letters + string.digits + "!#$%&'*+.^_`|~-", min_size=1).map(str.encode)


class FieldNameTests(SynchronousTestCase):
    """What depends on a field's name alone."""

    def test_spelling(self) -> None:
        """It is passed on as it came, and looked up in lower case."""
        known = FieldName(b"X-Request-Source")
        self.assertEqual(
            (known.name, known.lower, known.line), (b"X-Request-Source", b"x-request-source", b"X-Request-Source: ")
        )

    def test_what_passes(self) -> None:
        """End-to-end fields do, also those with names that look like the gateway's own."""
        for name in (b"Accept", b"Authorization", b"Cookie", b"X-User", b"X-Users-Id", b"X-Forwarded", b"TE-", b"Vias"):
            self.assertTrue(FieldName(name).passes, name)

    def test_what_stops(self) -> None:
        """Fields of one connection, those the gateway writes, who the user is and other paths: in any spelling."""
        others = (b"x-user-id", b"x-user-role", b"x-user-", *OVERRIDES, *CERTIFICATE)
        for name in (*HOP_BY_HOP, *SET_BY_GATEWAY, *others):
            for spelling in (name, name.upper(), name.title(), name.replace(b"-", b"_"), name.replace(b"-", b"_", 1)):
                self.assertFalse(FieldName(spelling).passes, spelling)

    @given(NAMES, st.data())
    def test_no_spelling_gets_round_it(self, name: bytes, data: st.DataObject) -> None:
        """Whether a field passes depends neither on case nor on which of ``-`` and ``_`` it has."""
        letters = [data.draw(st.sampled_from([bytes((byte,)).lower(), bytes((byte,)).upper()])) for byte in name]
        other = b"".join(data.draw(st.sampled_from([b"-", b"_"])) if each in (b"-", b"_") else each for each in letters)
        self.assertEqual(FieldName(other).passes, FieldName(name).passes)


class MemoryTests(SynchronousTestCase):
    """Names that were seen before."""

    def setUp(self) -> None:
        self.patch(headers, "_known_names", {})

    def test_remembered(self) -> None:
        """A name is worked out once for each spelling."""
        self.assertIs(field_name(b"Accept"), field_name(b"Accept"))
        self.assertIsNot(field_name(b"Accept"), field_name(b"accept"))

    def test_long_names(self) -> None:
        """Names above 64 bytes are not worth their place."""
        self.assertIs(field_name(b"x" * 64), field_name(b"x" * 64))
        self.assertIsNot(field_name(b"x" * 65), field_name(b"x" * 65))

    def test_bounded(self) -> None:
        """A client that invents names fills the memory up to its bound; then the names that others use come again."""
        for number in range(2048):
            field_name(b"x-%d" % number)
        self.assertEqual(len(headers._known_names), 2048)
        self.assertIs(field_name(b"X-New"), field_name(b"X-New"))
        self.assertEqual(field_name(b"X-New").line, b"X-New: ")
        self.assertEqual(len(headers._known_names), 1)


class NominatedTests(SynchronousTestCase):
    """What a Connection field takes with it."""

    def test_examples(self) -> None:
        """Names in lower case; its two own options are no names."""
        for value, names in {
            b"keep-alive": set(),
            b"Keep-Alive": set(),
            b"KEEP-ALIVE": set(),
            b"close": set(),
            b"": set(),
            b", ,": set(),
            b"X-Secret": {b"x-secret"},
            b"\x0bclose": {b"\x0bclose"},
            b"close, X-A,\tx-b ,": {b"x-a", b"x-b"},
            b"keep-alive, Upgrade": {b"upgrade"},
        }.items():
            self.assertEqual(nominated(value), names, value)

    def test_hop_by_hop(self) -> None:
        """What stops anyway may be nominated too."""
        self.assertEqual(nominated(b"TE, Keep-Alive"), {b"te"})


class TransferEncodingTests(SynchronousTestCase):
    """The one coding that two parsers cannot disagree about."""

    def test_chunked(self) -> None:
        """It may come in any case, with spaces around it."""
        for value in (b"chunked", b"Chunked", b" chunked\t"):
            check_transfer_encoding(value, True)

    def test_unclear(self) -> None:
        """Where the body ends cannot be told: 400."""
        for value in (
            b"",
            b"gzip",
            b"identity",
            b"chunked, gzip",
            b"chunked, chunked",
            b"chunked,",
            b"chunked;q=1",
            b"xchunked",
            b"chunked\x00",
            b"\x0bchunked",
            b"chunked\x0c",
            b"chunked\x85",
        ):
            with self.assertRaises(BadRequest, msg=value):
                check_transfer_encoding(value, True)

    def test_http_1_0(self) -> None:
        """It has no transfer codings."""
        self.assertRaises(BadRequest, check_transfer_encoding, b"chunked", False)

    def test_other_codings(self) -> None:
        """What is clear but not spoken here is 501."""
        for value in (b"gzip, chunked", b"identity,chunked", b", chunked"):
            self.assertRaises(NotImplementedHere, check_transfer_encoding, value, True)


class RequestIdTests(SynchronousTestCase):
    """Ids that come from elsewhere."""

    def test_kept(self) -> None:
        """UUIDs, trace ids and base64."""
        for value in (
            b"3f2b8c1e-7a90-4a0e-9a44-0d6f3a1b2c3d",
            b"4bf92f3577b34da6a3ce929d0e0e4736",
            b"a+/=.~_-",
            b"x" * 128,
        ):
            self.assertTrue(sane_request_id(value), value)

    def test_not_kept(self) -> None:
        """None, too short, too long, or with what has a meaning in a log, a shell or a page."""
        for value in (
            None,
            b"",
            b"1234567",
            b"x" * 129,
            b"12345678\n",
            b'1234"5678',
            b"1234 5678",
            b"1234<5678",
            b"1234\xe95678",
        ):
            self.assertFalse(sane_request_id(value), value)


class LinesTests(SynchronousTestCase):
    """Header lines from the configuration."""

    def test_lines(self) -> None:
        """From a mapping or from pairs, in their order."""
        fields = {"X-A": "1", "X-B": "caf\xe9"}
        self.assertEqual(lines(fields), b"X-A: 1\r\nX-B: caf\xe9\r\n")
        self.assertEqual(lines(fields.items()), lines(fields))
        self.assertEqual(lines({}), b"")
