"""Whatever a client says in HTTP/2: what the origin receives is the same in HTTP/1.1 to a strict server, or nothing."""

from __future__ import annotations

from typing import Any, NamedTuple

from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.errors import BadRequest
from gateway.core.paths import split_target
from tests.http.h2_client import Fields, H2Wire, frame
from tests.http.wire import Gateway, Origin
from tests.properties.reference import Message, read_requests
from tests.properties.test_requests import HOP_BY_HOP, ONCE

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SMUGGLED = b"GET /a/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

_NAMES = (b"x-one", b"x-two", b"cookie", b"accept")
_ODD_NAMES = (
    *(b"transfer-encoding", b"connection", b"te", b"upgrade", b"host", b"expect", b"x-user-id", b"x_user_role", b"via"),
    *(
        b"x-forwarded-for",
        b"trailer",
        b"keep-alive",
        b":path",
        b":method",
        b":odd",
        b"X-Upper",
        b"x y",
        b"x:y",
        b"x\0",
        b"",
    ),
    *(b"x\r\ny", b"x: a\r\n\r\n" + SMUGGLED, b"\xc3\xa9"),
)
_VALUES = (b"", b"a", b"a, b", b"\xc3\xa9")
_ODD_VALUES = (
    *(
        b"chunked",
        b"trailers",
        b"close",
        b"x-request-id",
        b"100-continue",
        b"example.com",
        b"\x7f",
        b" a",
        b"a ",
        b"a\0b",
    ),
    *(b"a\r\nx: b", b"a\nb", b"a\rb", b"a\r\n\r\n" + SMUGGLED),
)
_LENGTHS = (b"0", b"2", b"3", b"5", b"5, 5", b"+3", b"0x3", b"")
_METHODS = (b"GET", b"POST", b"PUT", b"HEAD", b"DELETE")
_ODD_METHODS = (b"PRI", b"get", b"G T", b"CONNECT", b"GET /a HTTP/1.1\r\nx:", b"")
_PATHS = (b"/a", b"/a/b?c=d", b"/a/%2e%2e/a", b"/a/./b")
_ODD_PATHS = (
    *(
        b"/a b",
        b"/a HTTP/1.1\r\nx: y",
        b"/a HTTP/1.1\r\n\r\n" + SMUGGLED,
        b"/a\tb",
        b"http://example.com/a",
        b"*",
        b"",
        b"a",
    ),
    *(b"/a#b", b"/a?b c", b"//a", b"/a/..;/b"),
)


def _mostly(usual: tuple[bytes, ...], odd: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    return st.integers(0, 9).flatmap(lambda drawn: st.sampled_from(usual if drawn else odd))


class Sent(NamedTuple):
    """A request as a client puts it into frames."""

    head: Fields
    body: list[bytes]
    """In pieces; without one the head ends the stream."""
    trailers: Fields


_fields = st.lists(st.tuples(_mostly(_NAMES, _ODD_NAMES), _mostly(_VALUES, _ODD_VALUES)), max_size=3)
_bodies = st.lists(st.sampled_from((b"", b"abc", b"ab", b"0\r\n\r\n" + SMUGGLED)), max_size=3)


@st.composite
def requests(draw: st.DrawFn) -> Sent:
    """A request that is right, or nearly."""
    head = [
        (b":method", draw(_mostly(_METHODS, _ODD_METHODS))),
        (b":scheme", draw(_mostly((b"https",), (b"ftp", b"")))),
        (b":authority", draw(_mostly((b"example.com",), (b"a b", b"", b"a\r\nb")))),
        (b":path", draw(_mostly(_PATHS, _ODD_PATHS))),
        *draw(_fields),
        *((b"content-length", length) for length in draw(st.lists(st.sampled_from(_LENGTHS), max_size=1))),
    ]
    if draw(st.integers(0, 9)) == 0:
        head.pop(draw(st.integers(0, len(head) - 1)))
    return Sent(head, draw(_bodies), draw(st.one_of(st.just([]), _fields)))


class H2Tests(SynchronousTestCase):
    """Generated requests, each a stream of one connection to a gateway in memory."""

    def forwarded(self, sent: list[Sent]) -> list[Message]:
        """The requests that the origin received, one on a connection; one without its end has been cut."""
        gateway = Gateway()
        origin = Origin(gateway.clock)
        gateway.proxy(b"/a", origin)
        protocol: Any = gateway.site.buildProtocol(None)
        wire = H2Wire(gateway.clock, protocol)
        protocol.handshakeCompleted()
        wire.send(PREFACE + frame(4))
        encoder = Encoder()
        for index, request in enumerate(sent):
            number = 2 * index + 1
            last = not (request.body or request.trailers)
            wire.send(frame(1, 5 if last else 4, number, encoder.encode(request.head)))
            for position, piece in enumerate(request.body):
                last = not request.trailers and position == len(request.body) - 1
                wire.send(frame(0, int(last), number, piece))
            if request.trailers:
                wire.send(frame(1, 5, number, encoder.encode(request.trailers)))
        found = []
        for instance in origin.wires:
            read = read_requests(instance.received)
            self.assertFalse(read.broken, instance.received)
            self.assertLessEqual(len(read.messages), 1, instance.received)  # nobody has answered
            if not read.messages:
                self.assertEqual(instance.ended, "cut", instance.received)
            found += read.messages
        return found

    @settings(max_examples=200)
    @given(st.lists(requests(), min_size=1, max_size=2))
    def test_what_is_forwarded(self, sent: list[Sent]) -> None:
        """Each is one of those that were sent: its method, target, fields and body; with each own field once."""
        for message in self.forwarded(sent):
            self.assertTrue(any(_same(message, request) for request in sent), message)
            self.assertEqual([name for name, _ in message.fields if name in HOP_BY_HOP], [])
            self.assertEqual([len(message.values(name)) for name in ONCE], [1] * len(ONCE))
            self.assertEqual(message.values(b"x-forwarded-for"), [b"192.0.2.1"])
            self.assertEqual([name for name, _ in message.fields if b"user" in name], [])

    @given(st.sampled_from((b"GET", b"POST")), _bodies)
    def test_good_ones_arrive(self, method: bytes, body: list[bytes]) -> None:
        """With their bodies, in whatever pieces those came."""
        head = [(b":method", method), (b":scheme", b"https"), (b":authority", b"example.com"), (b":path", b"/a")]
        (message,) = self.forwarded([Sent(head, body, [])])
        self.assertEqual((message.start, message.body), ((method, b"/a"), b"".join(body)))


def _same(message: Message, request: Sent) -> bool:
    """Whether ``message`` says what ``request`` did, as far as it is the client's to say.

    A body that is longer than its Content-Length has been passed on up to there when that shows.
    """
    head = dict(request.head)
    try:
        found = split_target(head.get(b":path", b""))
    except BadRequest:
        return False
    target = found.path + b"?" + found.query if found.query else found.path
    said = [pair for pair in message.fields if pair[0] not in (*ONCE, b"transfer-encoding", b"cookie")]
    return (
        message.start == (head.get(b":method"), target)
        and message.body == b"".join(request.body)[: int(dict(said).get(b"content-length", b"999"))]
        and all(pair in request.head for pair in said)
    )
