"""Connections over their life: order, retries, and what happens when one side leaves."""

from __future__ import annotations

import socket
import threading

from tests.integration.conformance.case import WireTestCase, head, post
from tests.integration.origin import close, reset

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def read_on(connection: socket.socket) -> None:
    """What an origin does that never answers: it reads until its connection ends."""
    while connection.recv(65536):
        pass


class PipeliningTests(WireTestCase):
    """Several requests before the first answer (RFC 9112 section 9.3.2)."""

    def test_answers_come_in_order(self) -> None:
        """A slow first one holds the others back, those the gateway gives itself too."""
        go = threading.Event()
        self.origin.plan((go, b"HTTP/1.1 201 Slow\r\nContent-Length: 0\r\n\r\n"))
        client = self.client()
        client.send(head("/open/1"), head("/nowhere"), post("/open/3", b"body"), head("/open/4", "Connection: close"))
        self.assertTrue(client.silent())
        self.assertEqual(len(self.origin.received), 1)
        go.set()
        self.assertEqual([client.answer().status for _ in range(4)], [201, 404, 200, 200])
        self.assertEqual(client.rest(), b"")
        paths = [request.split(b" ")[1] for request in self.origin.received]
        self.assertEqual(paths, [b"/open/1", b"/open/3", b"/open/4"])

    def test_many(self) -> None:
        """All of a thousand are answered, one after the other."""
        client = self.client()
        for _ in range(10):
            client.send(*[head("/health")] * 99, head("/open"))
        self.assertEqual({client.answer().status for _ in range(1000)}, {200})
        self.assertEqual(len(self.origin.received), 10)

    def test_malformed_request_behind_good_ones(self) -> None:
        """They are answered first; then comes the 400, and the end."""
        client = self.client()
        client.send(head("/open"), head("/open"), b"nonsense\r\n\r\n", head("/open"))
        self.assertEqual([client.answer().status for _ in range(3)], [200, 200, 400])
        self.assertEqual((client.rest(), len(self.origin.received)), (b"", 2))

    def test_connection_serves_many_requests(self) -> None:
        """One to the client and one to the origin, bodies or not."""
        self.origin.plan((CHUNKED + b"2\r\nok\r\n0\r\n\r\n",))
        client = self.client()
        for request in (head("/open"), post("/open", b"x" * 1000), head("/nowhere"), head("/open")):
            client.send(request)
            self.assertEqual(client.answer().values("Connection"), [])
        self.assertLessEqual(self.origin.connections, 1)

    def test_request_in_single_bytes(self) -> None:
        """However it is cut into reads, it is the same request."""
        client = self.client()
        for byte in head("/open/x", "X: y", "Transfer-Encoding: chunked", method="PUT") + b"2\r\nhi\r\n0\r\n\r\n":
            client.send(bytes((byte,)))
        self.assertEqual(client.answer().status, 200)
        self.assertTrue(self.origin.received[0].startswith(b"PUT /open/x "))


class DeathTests(WireTestCase):
    """Origins that die, or cannot be had (RFC 9110 section 15.6)."""

    def test_before_the_head(self) -> None:
        """502, however it ends, and whatever it had begun to say."""
        for steps in ((close,), (reset,), (b"HTTP/1.1 2", close), (b"HTTP/1.1 200 OK\r\nX: 1\r\n", reset)):
            self.origin.plan(steps)
            answer = self.ask(post("/open", b"x"))
            self.assertEqual((answer.status, answer.values("Connection")), (502, []), steps)

    def test_in_the_body(self) -> None:
        """The client's connection is cut: no final chunk, no clean end; and the log knows."""
        for number, (start, end) in enumerate(
            (
                (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", close),
                (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", reset),
                (CHUNKED + b"4\r\nhalf\r\n", close),
                (CHUNKED + b"4\r\nhalf\r\n5\r\nha", close),
                (b"HTTP/1.1 200 OK\r\n\r\nhalf", reset),
            )
        ):
            go, path = threading.Event(), f"/open/death/{number}"
            self.origin.plan((start, go, end))
            client = self.client()
            client.send(head(path))
            seen = client.until(b"half")
            go.set()
            with self.assertRaises(ConnectionResetError):
                while piece := client.socket.recv(65536):
                    seen += piece
            self.assertNotIn(b"\r\n0\r\n", seen)
            entry = self.logged(path)
            self.assertEqual((entry["status"], entry["complete"]), (200, False))

    def test_nonsense_in_the_body(self) -> None:
        """Chunks that cannot be read end it as death does."""
        go = threading.Event()
        self.origin.plan((CHUNKED + b"4\r\nhalf\r\n", go, b"nonsense\r\n0\r\n\r\n"))
        client = self.client()
        client.send(head("/open"))
        client.until(b"half\r\n")
        go.set()
        with self.assertRaises(ConnectionResetError):
            client.rest()

    def test_complete_answers_are_logged_as_such(self) -> None:
        """So the log's ``complete`` means something."""
        self.ask(head("/open/complete"))
        entry = self.logged("/open/complete")
        self.assertEqual((entry["status"], entry["complete"], entry["bytes"]), (200, True, 2))

    def test_connections_that_are_refused_or_not_taken(self) -> None:
        """502 at once, 504 after the time that is allowed; any method."""
        for method in ("GET", "POST"):
            self.assertEqual(self.ask(head("/gone", method=method)).status, 502)
            self.assertEqual(self.ask(head("/full", method=method)).status, 504)

    def test_answers_that_do_not_come(self) -> None:
        """504, and the origin's request is cut off."""
        self.origin.plan((read_on,))
        self.assertEqual(self.ask(head("/hasty")).status, 504)
        self.assertTrue(self.origin.closed.wait(5))

    def test_answers_that_stop(self) -> None:
        """They are cut off on both sides."""
        self.origin.plan((CHUNKED + b"4\r\nhalf\r\n", read_on))
        client = self.client()
        client.send(head("/hasty"))
        client.until(b"half\r\n")
        with self.assertRaises(ConnectionResetError):
            client.rest()
        self.assertTrue(self.origin.closed.wait(5))


class LeavingTests(WireTestCase):
    """Clients that leave take their request along."""

    def assertAborted(self, path: str, status: int) -> None:
        """The origin's connection ends at once, and the log says that the answer was not complete."""
        self.assertTrue(self.origin.closed.wait(2))
        entry = self.logged(path)
        self.assertEqual((entry["status"], entry["complete"]), (status, False))

    def test_before_the_head(self) -> None:
        """The origin need not go on with what nobody will read."""
        self.origin.plan((read_on,))
        client = self.client()
        client.send(head("/open/left/1"))
        self.until_received()
        client.close()
        self.assertAborted("/open/left/1", 499)

    def test_in_the_answer(self) -> None:
        """The same while it streams."""
        self.origin.plan((CHUNKED + b"4\r\nhalf\r\n", read_on))
        client = self.client()
        client.send(head("/open/left/2"))
        client.until(b"half\r\n")
        client.close()
        self.assertAborted("/open/left/2", 200)

    def test_in_its_body(self) -> None:
        """Half a request is never ended as if it were whole."""
        for number, framing in enumerate(("Content-Length: 20", "Transfer-Encoding: chunked"), 3):
            self.origin.reset()
            self.origin.whole = False
            self.origin.plan((read_on,))
            client = self.client()
            client.send(head(f"/open/left/{number}", framing, method="POST"), b"4\r\nhalf\r\n")
            self.until_received()
            client.close()
            self.assertAborted(f"/open/left/{number}", 499)
            self.assertNotIn(b"0\r\n\r\n", b"".join(self.origin.received))

    def test_while_connecting(self) -> None:
        """An attempt whose client has gone is given up; the log has its line."""
        client = self.client()
        client.send(head("/full/left"))
        self.assertTrue(client.silent(0.05))
        client.close()
        self.assertEqual(self.logged("/full/left")["status"], 499)


class RetryTests(WireTestCase):
    """Requests that may be sent once more (RFC 9110 section 9.2.2)."""

    def use_a_pooled_connection(self, *steps: bytes) -> None:
        """The next request finds a connection in the pool; its origin does ``steps`` and dies."""
        self.ask(head("/open/first"))
        self.origin.received.clear()
        self.origin.plan((*steps, close))

    def test_get_is_retried_once(self) -> None:
        """A pooled connection that was dead is replaced by a new one."""
        for method in ("GET", "HEAD", "OPTIONS", "DELETE", "PUT"):
            self.use_a_pooled_connection()
            answer = self.ask(head("/open/again", method=method), bodiless=method == "HEAD")
            self.assertEqual((answer.status, len(self.origin.received)), (200, 2), method)
            self.assertEqual(self.origin.received[0], self.origin.received[1])

    def test_get_is_not_retried_for_ever(self) -> None:
        """The second time it is 502."""
        self.use_a_pooled_connection()
        self.origin.plan((close,))
        self.assertEqual((self.ask(head("/open")).status, len(self.origin.received)), (502, 2))

    def test_post_is_never_retried(self) -> None:
        """Nor PATCH."""
        for request in (
            post("/open", b""),
            post("/open", b"x"),
            head("/open", method="PATCH"),
            head("/open", method="POST"),
        ):
            self.use_a_pooled_connection()
            self.assertEqual((self.ask(request).status, len(self.origin.received)), (502, 1), request[:20])

    def test_body_in_hand(self) -> None:
        """PUT is retried with its body when that is still whole, and as it was."""
        self.use_a_pooled_connection()
        put = head("/open", "Content-Length: 4", method="PUT") + b"body"
        self.assertEqual((self.ask(put).status, len(self.origin.received)), (200, 2))
        self.assertEqual(self.origin.received[0], self.origin.received[1])
        self.assertTrue(self.origin.received[0].endswith(b"body"))

    def test_rest_of_the_answer_before(self) -> None:
        """What is no answer, on a pooled connection, is no answer to this request: it is retried."""
        self.use_a_pooled_connection(b"rest\r\n\r\n")
        self.assertEqual((self.ask(head("/open")).status, len(self.origin.received)), (200, 2))

    def test_nothing_is_retried_that_was_answered(self) -> None:
        """Not after half a head, nor an interim answer."""
        for said in (b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 102 Processing\r\n\r\n"):
            self.use_a_pooled_connection(said)
            client = self.client()
            client.send(head("/open"))
            status = client.answer().status
            if status == 102:
                status = client.answer().status
            self.assertEqual((status, len(self.origin.received)), (502, 1), said)

    def test_fresh_connection_is_not_retried(self) -> None:
        """An origin that took the request on a new connection and died may have done it."""
        self.origin.plan((b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", close), (close,))
        self.origin.closed.clear()
        self.ask(head("/open"))
        self.assertTrue(self.origin.closed.wait(5))
        before = self.origin.connections
        self.assertEqual(self.ask(head("/open")).status, 502)
        self.assertEqual((len(self.origin.received), self.origin.connections - before), (2, 1))
