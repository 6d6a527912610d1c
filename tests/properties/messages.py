"""Strategies for messages: good ones, and those that two parsers may read in two ways."""

from __future__ import annotations

from hypothesis import strategies as st

METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH")
_NAMES = (b"X-One", b"x-two", b"Accept", b"Cookie", b"X_User_Id", b"X-User-Role", b"X-Forwarded-For", b"TE", b"Trailer")
_VALUES = (b"", b"a", b"a, b", b"1; q=0.5", b"\xc3\xa9", b"a\tb", b"trailers")
_ODD_LINES = (
    *(b"Content-Length: 3", b"Content-Length: +3", b"Content-Length: 3, 3", b"Content-Length: 0x3", b"Content-Length:"),
    *(b"Content-Length : 3", b"Content-Length: 3\t", b"Content-Length: 03", b"content-length: 18446744073709551617"),
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: Chunked", b"Transfer-Encoding: gzip, chunked"),
    *(b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: identity", b"Transfer-Encoding : chunked"),
    *(b"Transfer-Encoding:\x0bchunked", b"Transfer-Encoding: xchunked", b"Transfer_Encoding: chunked"),
    *(b"Transfer-Encoding: chunked\r\n more", b"X-Folded: a\r\n b", b" X-Begins: a", b"X-No-Colon", b": nameless"),
    *(b"X-Nul: a\x00b", b"X-Cr: a\rb", b"X-Lf: a\nb", b"X-Esc: \x1b", b"X-Del: \x7f", b"X(y): a", b"X y: a"),
    *(b"Connection: close", b"Connection: keep-alive", b"Connection: X-One", b"Connection: Host, X-Request-ID"),
    *(b"Connection: Content-Length", b"Connection: Transfer-Encoding", b"Connection: upgrade", b"Upgrade: h2c"),
    *(b"Host: other.example", b"Host: a b", b"Host:", b"Expect: 100-continue", b"Expect: nonsense"),
)
_PATHS = (
    *(b"/a", b"/a/b", b"/a?x=1", b"/a/%41", b"/a/./b", b"/a/c/../b", b"/a/%2e%2e/a", b"/a/b%2fc", b"/a//b", b"/a/%00"),
    *(
        b"http://gateway.example/a",
        b"*",
        b"a",
        b"/a#b",
        b"/a b",
        b"/a\\b",
        b"/A",
        b"/a/\xc3\xa9",
        b"//a",
        b"/two/..;/a",
    ),
)
_VERSIONS = (b"HTTP/1.1",) * 12 + (b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/01.1", b"")
_ENDS = (b"\r\n",) * 20 + (b"\n", b"\r", b" \r\n", b"\r\r\n")


def chunked(pieces: list[bytes], trailers: bytes = b"") -> bytes:
    """A body in the chunked coding."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece) + b"0\r\n" + trailers + b"\r\n"


_bodies = st.lists(st.binary(min_size=1, max_size=12), max_size=3)
_odd_chunks = st.sampled_from(
    (
        *(
            b"3\r\nabc\r\n0\r\n\r\n",
            b"3;x=y\r\nabc\r\n0\r\n\r\n",
            b"03\r\nabc\r\n0\r\n\r\n",
            b"0x3\r\nabc\r\n0\r\n\r\n",
        ),
        *(b"+3\r\nabc\r\n0\r\n\r\n", b"3 \r\nabc\r\n0\r\n\r\n", b"3\nabc\n0\n\n", b"3\r\nabcd\r\n0\r\n\r\n", b"-1\r\n"),
        *(b"ffffffffffffffffff\r\nabc", b"0\r\nX-Trailer: a\r\n\r\n", b"0\r\nContent-Length: 5\r\n\r\n", b"3\r\nab"),
        b'3;x="\r\n"\r\nabc\r\n0\r\n\r\n',
    )
)


@st.composite
def good_requests(draw: st.DrawFn) -> bytes:
    """A request that every server understands in the same way."""
    method = draw(st.sampled_from(METHODS))
    lines = [method + b" " + draw(st.sampled_from(_PATHS[:4])) + b" HTTP/1.1", b"Host: gateway.example"]
    for name in draw(st.lists(st.sampled_from(_NAMES[:4]), max_size=3, unique=True)):
        lines.append(name + b": " + draw(st.sampled_from(_VALUES)))
    pieces = draw(_bodies)
    body = b""
    if draw(st.booleans()):
        lines.append(b"Transfer-Encoding: chunked")
        body = chunked(pieces, draw(st.sampled_from((b"", b"X-Trailer: a\r\n"))))
    elif pieces:
        body = b"".join(pieces)
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join((*lines, b"", b"")) + body


@st.composite
def odd_requests(draw: st.DrawFn) -> bytes:
    """A request that is somewhere out of the ordinary."""
    words = [draw(st.sampled_from((*METHODS, b"TRACE", b"CONNECT", b"get", b"G\x00T"))), draw(st.sampled_from(_PATHS))]
    version = draw(st.sampled_from(_VERSIONS))
    lines = [draw(st.sampled_from((b" ",) * 9 + (b"\t", b""))).join((*words, version))]
    if draw(st.integers(0, 9)):
        lines.append(b"Host: gateway.example")
    fields = st.one_of(
        st.sampled_from(_ODD_LINES),
        st.builds(lambda name, value: name + b": " + value, st.sampled_from(_NAMES), st.sampled_from(_VALUES)),
    )
    lines += draw(st.lists(fields, max_size=4))
    body = draw(st.one_of(st.just(b""), st.binary(max_size=6), _odd_chunks, good_requests()))
    return b"".join(line + draw(st.sampled_from(_ENDS)) for line in (*lines, b"")) + body


@st.composite
def _damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """A message with one byte put in, left out or changed."""
    data = draw(whole)
    at = draw(st.integers(0, len(data)))
    put = draw(st.sampled_from((b"", b"\r", b"\n", b"\x00", b" ", b":", b"\t", b"\xff", b"0", b";", b",")))
    return data[:at] + put + data[at + draw(st.integers(0, 1)) :]


def requests() -> st.SearchStrategy[bytes]:
    """One request, good or odd or damaged."""
    return st.one_of(good_requests(), odd_requests(), _damaged(good_requests()), _damaged(odd_requests()))


_STATUSES = (b"200 OK", b"204 No Content", b"304 Not Modified", b"404 Not Found", b"500 ", b"100 Continue")
_ODD_STATUSES = (
    b"101 Switching",
    b"99 Low",
    b"1000 High",
    b"2000",
    b"200",
    b"20",
    b"OK",
    b"-200 OK",
    b"200 \x00",
    b"200 a\rb",
)


@st.composite
def good_answers(draw: st.DrawFn) -> bytes:
    """An answer that every client understands in the same way."""
    lines = [b"HTTP/1.1 " + draw(st.sampled_from(_STATUSES[:5]))]
    bodiless = b" 204 " in lines[0] or b" 304 " in lines[0]
    for name in draw(st.lists(st.sampled_from(_NAMES[:3]), max_size=3, unique=True)):
        lines.append(name + b": " + draw(st.sampled_from(_VALUES)))
    pieces = draw(_bodies)
    body = b""
    if bodiless:
        pass
    elif draw(st.booleans()):
        lines.append(b"Transfer-Encoding: chunked")
        body = chunked(pieces, draw(st.sampled_from((b"", b"X-Trailer: a\r\n"))))
    else:
        body = b"".join(pieces)
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join((*lines, b"", b"")) + body


@st.composite
def odd_answers(draw: st.DrawFn) -> bytes:
    """An answer that is somewhere out of the ordinary."""
    version = draw(st.sampled_from((b"HTTP/1.1",) * 9 + (b"HTTP/1.0", b"HTTP/2.0", b"ICY", b"HTTP/1.")))
    lines = [version + b" " + draw(st.sampled_from((*_STATUSES, *_STATUSES, *_ODD_STATUSES)))]
    lines += draw(st.lists(st.sampled_from(_ODD_LINES), max_size=4))
    body = draw(st.one_of(st.just(b""), st.binary(max_size=6), _odd_chunks, good_answers()))
    return b"".join(line + draw(st.sampled_from(_ENDS)) for line in (*lines, b"")) + body


def answers() -> st.SearchStrategy[bytes]:
    """One answer, good or odd or damaged."""
    return st.one_of(good_answers(), odd_answers(), _damaged(good_answers()), _damaged(odd_answers()))


def reads(data: bytes) -> st.SearchStrategy[list[bytes]]:
    """The bytes in the pieces in which they might be read."""
    return st.lists(st.integers(0, len(data)), max_size=3).map(
        lambda cuts: [
            data[begin:end] for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True)
        ]
    )
