"""The head of an HTTP/2 request, well formed and otherwise."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway.core.errors import (
    BadRequest,
    GatewayError,
    HeadTooLarge,
    MethodNotAllowed,
    NotImplementedHere,
    TargetTooLong,
)
from gateway.core.h2_head import Head, read_head

Fields = list[tuple[bytes, bytes]]
LINE: Fields = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"example.com"), (b":path", b"/a?b")]


def read(*fields: tuple[bytes, bytes], line: Fields = LINE) -> Head:
    """A head with these fields behind the pseudo-fields, under limits that are easily passed."""
    return read_head([*line, *fields], 100, 3, 20)


def line(**pseudo: bytes | None) -> Fields:
    """The pseudo-fields, some of them changed, or missing where they are None."""
    values = {**{name.decode()[1:]: value for name, value in LINE}, **pseudo}
    return [(f":{name}".encode(), value) for name, value in values.items() if value is not None]


class HeadTests(SynchronousTestCase):
    """What is refused, and what of the rest is told."""

    def refused(self, error: type[GatewayError], *fields: tuple[bytes, bytes], line: Fields = LINE) -> None:
        self.assertRaises(error, read, *fields, line=line)

    def test_request_line(self) -> None:
        """Method, target and authority come from the pseudo-fields."""
        head = read()
        self.assertEqual((head.method, head.target, head.authority), (b"GET", b"/a?b", b"example.com"))

    def test_fields(self) -> None:
        """Fields are told in their order, and by their names."""
        head = read((b"x-a", b"1"), (b"te", b"trailers"))
        self.assertEqual([(known.name, value) for known, value in head.fields], [(b"x-a", b"1"), (b"te", b"trailers")])
        self.assertEqual(head.by_name, {b"x-a": b"1", b"te": b"trailers", b"host": b"example.com"})

    def test_repeated(self) -> None:
        """Values of a repeated field are joined where they are told by name, and only there."""
        head = read((b"x-a", b"1"), (b"x-a", b"2"))
        self.assertEqual((head.by_name[b"x-a"], head.repeated, len(head.fields)), (b"1, 2", {b"x-a"}, 2))

    def test_cookie(self) -> None:
        """The crumbs of a cookie are one field again (RFC 9113 section 8.2.3)."""
        head = read(*[(b"cookie", b"a=%d" % number) for number in range(5)])
        self.assertEqual([value for _, value in head.fields], [b"a=0; a=1; a=2; a=3; a=4"])
        self.assertEqual((head.by_name[b"cookie"], head.repeated), (b"a=0; a=1; a=2; a=3; a=4", set()))

    def test_content_length(self) -> None:
        """The length of the body is told where it is known."""
        for length in (0, 12, 10**18 - 1):
            self.assertEqual(read((b"content-length", b"%d" % length)).content_length, length)
        self.assertIsNone(read().content_length)

    def test_content_length_refused(self) -> None:
        """A length that is not one number of a sane size is refused."""
        for value in (b"", b"+1", b"-1", b"1 ", b"0x1", b"1,1", b"9" * 19):
            self.refused(BadRequest, (b"content-length", value))
        self.refused(BadRequest, (b"content-length", b"1"), (b"content-length", b"1"))

    def test_connection_fields(self) -> None:
        """Fields of the connection make a request malformed (RFC 9113 section 8.2.2)."""
        for name in (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"):
            self.refused(BadRequest, (name, b"x"))
        self.refused(BadRequest, (b"te", b"gzip"))

    def test_names(self) -> None:
        """A name that HTTP/1.1 could read in another way is refused, and so is one in upper case."""
        for name in (b"", b"X-A", b"a b", b"a:b", b"a\r\nb", b"a\0", b"\xc3\xa4", b"a\n"):
            self.refused(BadRequest, (name, b"x"))

    def test_values(self) -> None:
        """A value with a line's end, a NUL, a control character or blanks around it is refused."""
        for value in (b"a\r\nb: c", b"a\n", b"\r", b"a\0b", b" a", b"a ", b"\ta", b"a\x7f", b"a\x1bb"):
            self.refused(BadRequest, (b"x-a", value))
        self.assertEqual(read((b"x-a", b"")).by_name[b"x-a"], b"")
        self.assertEqual(read((b"x-a", b"a\t\xff b")).by_name[b"x-a"], b"a\t\xff b")

    def test_pseudo_fields(self) -> None:
        """Pseudo-fields that are unknown, repeated or late are refused."""
        self.refused(BadRequest, (b":status", b"200"))
        self.refused(BadRequest, (b":protocol", b"websocket"))
        self.refused(BadRequest, (b":path", b"/c"))
        self.refused(BadRequest, (b"x-a", b"1"), (b":path", b"/c"), line=line(path=None))

    def test_request_line_refused(self) -> None:
        """Every request has a method, a scheme, a path and an authority, and each is valid."""
        wrong: list[dict[str, bytes | None]] = [
            *({"method": value} for value in (None, b"", b"get", b"GET /x", b"G\r\n")),
            *({"scheme": value} for value in (None, b"", b"ftp")),
            *({"path": value} for value in (None, b"", b"*", b"a", b"https://example.com/", b"/\n")),
            *({"authority": value} for value in (None, b"", b"a b", b"user@example.com", b"a/b", b"a\r\nb")),
        ]
        for pseudo in wrong:
            self.refused(BadRequest, line=line(**pseudo))

    def test_host(self) -> None:
        """Host stands in for a missing authority; where there are both they agree (RFC 9113 section 8.3.1)."""
        self.assertEqual(read((b"host", b"a.example"), line=line(authority=None)).authority, b"a.example")
        self.assertEqual(read((b"host", b"EXAMPLE.com")).by_name[b"host"], b"example.com")
        self.refused(BadRequest, (b"host", b"evil.example"))
        self.refused(BadRequest, (b"host", b"example.com"), (b"host", b"example.com"))
        self.refused(BadRequest, (b"host", b"a"), (b"host", b"a"), line=line(authority=None))

    def test_methods(self) -> None:
        """TRACE and CONNECT are refused as in HTTP/1.1; a WebSocket cannot be asked for (RFC 8441)."""
        self.refused(MethodNotAllowed, line=line(method=b"TRACE"))
        self.refused(NotImplementedHere, line=[(b":method", b"CONNECT"), (b":authority", b"example.com:443")])

    def test_methods_of_other_protocols(self) -> None:
        """They are refused as in HTTP/1.1, since an instance could take the request for that protocol's."""
        for method in (b"PRI", b"SOURCE", b"DESCRIBE"):
            self.refused(NotImplementedHere, line=line(method=method))

    def test_limits(self) -> None:
        """Size and number of the fields, and the target's length, have the limits of HTTP/1.1."""
        self.refused(HeadTooLarge, (b"x-a", b"x" * (94 - len("example.com"))))
        self.refused(HeadTooLarge, *[(b"x-a", b"")] * 4)
        self.refused(TargetTooLong, line=line(path=b"/" * 21))
        self.refused(HeadTooLarge, (b"x-a", b""), line=line(authority=b"a" * 101))
        self.refused(BadRequest, line=line(method=b"A" * 33))
        read((b"x-a", b"x" * (93 - len("example.com"))))
        read(*[(b"x-a", b"")] * 3)
