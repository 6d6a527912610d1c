"""Tests of gateway.http.request: a request as the resources of twisted.web, and whoever waits for its end, see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from warnings import catch_warnings, simplefilter

from twisted.internet.address import IPv4Address
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.util import Redirect

from gateway.core.errors import Forbidden
from tests.http.wire import Answer, ByHand, Gateway, SecureWire, ask, read_answers

with catch_warnings():
    simplefilter("ignore", DeprecationWarning)  # it warns of itself while it is imported
    from twisted.web.static import Data, File


class Page(Resource):
    """A resource as any application has it: what it returns for GET is what ``see`` returns."""

    isLeaf = True

    def __init__(self, see: Callable[[Any], Any]) -> None:
        super().__init__()
        self._see = see

    def render_GET(self, request: Any) -> Any:
        return self._see(request)


class RequestTestCase(SynchronousTestCase):
    """A gateway with a leaf that is answered by hand at /hand, and one client."""

    def setUp(self) -> None:
        self.gateway = Gateway()
        self.hand = ByHand()
        self.gateway.plant(b"/hand", self.hand)
        self.client = self.gateway.connect()

    def asked(self, *args: str, **keywords: Any) -> Any:
        """The request that the client makes, as its leaf sees it."""
        self.client.send(ask(*(args or ("/hand",)), **keywords))
        return self.hand.requests[-1]

    def answer(self, *methods: str) -> Answer:
        """What the client got last."""
        return read_answers(self.client.received, *methods)[-1]


class ReadingTests(RequestTestCase):
    """What a resource can ask of a request."""

    def test_fields(self) -> None:
        """By any spelling of their names, and all of them."""
        request = self.asked("/hand", "X-Thing: 1", "x-thing: 2")
        self.assertEqual(request.getHeader("x-THING"), "2")
        self.assertEqual(request.requestHeaders.getRawHeaders(b"X-Thing"), [b"1", b"2"])
        self.assertEqual(request.getAllHeaders(), {b"host": b"example.com", b"x-thing": b"2"})
        self.assertEqual(request.field(b"x-thing"), b"1, 2")
        self.assertIsNone(request.field(b"x-other"))

    def test_args(self) -> None:
        """Those of the query, decoded; empty ones too."""
        self.assertEqual(self.asked("/hand?a=1&b=%20x&a=2&c=").args, {b"a": [b"1", b"2"], b"b": [b" x"], b"c": [b""]})
        self.client = self.gateway.connect()
        self.assertEqual(self.asked().args, {})

    def test_cookies(self) -> None:
        """Those that are pairs."""
        request = self.asked("/hand", "Cookie: a=1; b=x=y; broken", "Cookie: c=3")
        self.assertEqual((request.getCookie(b"a"), request.getCookie(b"b")), (b"1", b"x=y"))
        self.assertEqual((request.getCookie(b"c"), request.getCookie(b"broken")), (b"3", None))
        self.client = self.gateway.connect()
        self.assertIsNone(self.asked().getCookie(b"a"))

    def test_content(self) -> None:
        """What has come of the body."""
        self.assertEqual(
            self.asked("/hand", "Content-Length: 5", method="POST", body=b"hello").content.read(), b"hello"
        )

    def test_addresses(self) -> None:
        """Those of both ends of the connection, and whether it is a safe one."""
        request = self.asked()
        self.assertEqual(request.getClientAddress(), IPv4Address("TCP", "192.0.2.1", 40000))
        self.assertEqual(request.getHost(), IPv4Address("TCP", "192.0.2.80", 80))
        self.assertIs(request.transport, self.client)
        self.assertFalse(request.isSecure())
        self.client = self.gateway.connect(of=SecureWire)
        self.assertTrue(self.asked().isSecure())

    def test_a_user(self) -> None:
        """Basic credentials are read as twisted.web reads them."""
        self.assertEqual(self.asked("/hand", "Authorization: Basic YW5uOnNlY3JldA==").getUser(), b"ann")


class AnsweringTests(RequestTestCase):
    """What a resource can answer."""

    def page(self, see: Callable[[Any], Any], *lines: str, **keywords: Any) -> Answer:
        """The answer of a resource that does ``see`` when it renders."""
        self.gateway.plant(b"/page", Page(see))
        self.client.send(ask("/page", *lines, **keywords))
        return self.answer(keywords.get("method", "GET"))

    def test_bytes(self) -> None:
        """They are the body; the answer has the gateway's own fields, too."""
        answer = self.page(lambda request: b"hello")
        self.assertEqual((answer.status, answer.body, answer.fields["Content-Length"]), (200, b"hello", "5"))
        self.assertEqual(answer.fields["X-Own"], "yes")
        self.assertEqual(answer.fields["X-Request-ID"], self.gateway.recorded[0].id)
        self.assertEqual((self.gateway.recorded[0].status, self.gateway.recorded[0].sent), (200, 5))

    def test_status_fields_and_cookies(self) -> None:
        """They are in the head."""

        def see(request: Any) -> bytes:
            request.setResponseCode(418, b"Teapot")
            request.setHeader(b"x-thing", b"1")
            request.addCookie(b"a", b"1")
            request.addCookie(b"b", b"2", httpOnly=True)
            return b""

        answer = self.page(see)
        self.assertEqual((answer.status, answer.fields["X-Thing"]), (418, "1"))
        self.assertEqual(answer.fields.get_all("Set-Cookie"), ["a=1", "b=2; HttpOnly"])
        self.assertTrue(self.client.received.startswith(b"HTTP/1.1 418 Teapot\r\n"))

    def test_guards_fields(self) -> None:
        """What guards add stands in a resource's answer, too."""

        def see(request: Any) -> bytes:
            request.answer_fields.append(b"X-Guard: 1\r\n")
            return b""

        self.assertEqual(self.page(see).fields["X-Guard"], "1")

    def test_head(self) -> None:
        """The fields of GET, without its body."""
        answer = self.page(lambda request: b"hello", method="HEAD")
        self.assertEqual((answer.fields["Content-Length"], answer.body), ("5", b""))
        self.client.send(ask("/hand"))
        self.hand.requests[0].respond(200, b"", b"next")
        self.assertTrue(self.client.received.endswith(b"\r\n\r\nnext"))

    def test_head_of_a_stream(self) -> None:
        """Pieces are dropped, and no end of them is written."""
        request = self.asked("/hand", method="HEAD")
        request.write(b"hello")
        request.finish()
        self.assertTrue(self.client.received.endswith(b"\r\n\r\n"))
        self.assertEqual((self.answer("HEAD").body, request.sent), (b"", 0))
        self.assertNotIn(b"Transfer-Encoding", self.client.received)

    def test_a_method_it_does_not_have(self) -> None:
        """405, with those it has."""
        answer = self.page(lambda request: b"", method="POST")
        self.assertEqual((answer.status, set(answer.fields["Allow"].split(", "))), (405, {"GET", "HEAD"}))
        self.assertEqual(len(self.flushWarnings()), 1)  # twisted.web's, of its own error page

    def test_a_stream(self) -> None:
        """It goes on piece by piece, chunked, and the connection goes on after it."""
        request = self.asked()
        request.write(b"he")
        self.assertTrue(self.client.received.endswith(b"\r\n\r\n2\r\nhe\r\n"))
        request.write(b"")
        request.write(b"llo")
        request.finish()
        request.finish()
        self.assertEqual((self.answer().body, request.sent), (b"hello", 5))
        self.assertEqual(self.client.ended, "")
        self.assertEqual(self.gateway.recorded, [request])

    def test_a_stream_of_known_length(self) -> None:
        """It goes on plainly."""
        request = self.asked()
        request.setHeader(b"content-length", b"5")
        request.write(b"he")
        request.write(b"llo")
        request.finish()
        self.assertTrue(self.client.received.endswith(b"\r\n\r\nhello"))
        self.assertNotIn(b"chunked", self.client.received)

    def test_a_stream_to_http_1_0(self) -> None:
        """The end of the connection ends it."""
        request = self.asked("/hand", version="1.0")
        request.write(b"hello")
        request.finish()
        self.assertTrue(self.client.received.endswith(b"\r\n\r\nhello"))
        self.assertIn(b"Connection: close\r\n", self.client.received)
        self.assertEqual(self.client.ended, "closed")

    def test_nothing_at_all(self) -> None:
        """An empty body is an answer."""
        self.asked().finish()
        self.assertEqual((self.answer().status, self.answer().body), (200, b""))

    def test_statuses_without_a_body(self) -> None:
        """Whatever a resource writes to them is dropped."""
        for status in (204, 304):
            request = self.asked()
            request.setResponseCode(status)
            request.write(b"hello")
            request.finish()
            self.assertEqual((self.answer().status, self.answer().body), (status, b""))
        self.assertNotIn(b"hello", self.client.received)

    def test_etag(self) -> None:
        """It is in the answer, and a client that has it gets 304."""

        def see(request: Any) -> bytes:
            return b"" if request.setETag(b'"v1"') else b"hello"

        self.assertEqual(self.page(see).fields["ETag"], '"v1"')
        answer = self.page(see, 'If-None-Match: "v1"')
        self.assertEqual((answer.status, answer.body), (304, b""))

    def test_last_modified(self) -> None:
        """The same with the time of the last change."""

        def see(request: Any) -> bytes:
            return b"" if request.setLastModified(86400) else b"hello"

        self.assertEqual(self.page(see).fields["Last-Modified"], "Fri, 02 Jan 1970 00:00:00 GMT")
        answer = self.page(see, "If-Modified-Since: Fri, 02 Jan 1970 00:00:00 GMT")
        self.assertEqual((answer.status, answer.body), (304, b""))

    def test_fields_cannot_be_split(self) -> None:
        """A line end in a value does not become a field of its own."""

        def see(request: Any) -> bytes:
            request.setHeader(b"x-thing", b"1\r\nX-Injected: 1")
            return b""

        self.assertIsNone(self.page(see).fields["X-Injected"])


class LibraryTests(RequestTestCase):
    """Resources that come with twisted.web."""

    def get(self, resource: Resource, *lines: str) -> Answer:
        self.gateway.plant(b"/it", resource)
        self.client.send(ask("/it", *lines))
        return self.answer()

    def test_data(self) -> None:
        """Constant bytes."""
        answer = self.get(Data(b"hello", "text/plain"))
        self.assertEqual((answer.body, answer.fields["Content-Type"]), (b"hello", "text/plain"))

    def test_redirect(self) -> None:
        """Another place."""
        answer = self.get(Redirect(b"/elsewhere"))
        self.assertEqual((answer.status, answer.fields["Location"]), (302, "/elsewhere"))

    def test_file(self) -> None:
        """A file, whole and in part, by its own producer."""
        path = self.mktemp()
        content = bytes(range(256)) * 2000
        with open(path, "wb") as file:
            file.write(content)
        self.assertEqual(self.get(File(path)).body, content)
        part = self.get(File(path), "Range: bytes=10-19")
        self.assertEqual((part.status, part.body), (206, content[10:20]))
        unchanged = self.get(File(path), f"If-Modified-Since: {part.fields['Last-Modified']}")
        self.assertEqual((unchanged.status, unchanged.body), (304, b""))


class EndTests(RequestTestCase):
    """How requests end, and who hears of it."""

    def heard(self, request: Any) -> list[Any]:
        """What a resource is told of the end."""
        told: list[Any] = []
        request.notifyFinish().addBoth(told.append)
        return told

    def test_finished(self) -> None:
        """Whoever waits is told."""
        request = self.asked()
        told = self.heard(request)
        request.finish()
        self.assertEqual(told, [None])

    def test_client_leaves(self) -> None:
        """Whoever waits gets a failure; what is written then is dropped, and it cannot be finished."""
        request = self.asked()
        told = self.heard(request)
        request.write(b"hello")
        received = self.client.received
        self.client.leave()
        self.assertIsInstance(told[0], Failure)
        request.write(b"more")
        self.assertEqual(self.client.received, received)
        self.assertRaises(RuntimeError, request.finish)
        self.assertEqual(self.gateway.recorded, [request])

    def test_refused(self) -> None:
        """That is an end, too."""
        request = self.asked()
        told = self.heard(request)
        request.refuse(Forbidden())
        self.assertEqual((told, self.answer().code), ([None], "FORBIDDEN"))
        request.refuse(Forbidden())
        self.assertRaises(RuntimeError, request.write, b"late")
        self.assertEqual(len(read_answers(self.client.received)), 1)

    def test_refused_in_the_middle(self) -> None:
        """Once the answer has begun, only the connection can be cut."""
        request = self.asked()
        request.write(b"hello")
        request.refuse(Forbidden())
        self.gateway.clock.advance(0)
        self.assertEqual((self.client.ended, request.incomplete), ("cut", True))
        self.assertTrue(self.client.received.endswith(b"5\r\nhello\r\n"))

    def test_a_resource_that_returns_nonsense(self) -> None:
        """It is answered with 500."""
        self.gateway.plant(b"/page", Page(lambda request: None))
        self.client.send(ask("/page"))
        self.assertEqual(self.answer().status, 500)
        self.assertEqual(len(self.flushWarnings()), 1)  # twisted.web's, of its own error page

    def test_not_done_yet(self) -> None:
        """A resource may take its time."""
        self.gateway.plant(b"/page", Page(lambda request: NOT_DONE_YET))
        self.client.send(ask("/page"))
        self.gateway.clock.advance(1000)
        self.assertEqual((self.client.received, self.client.ended), (b"", ""))
