"""Bodies on their way: event by event, and never more of them in the gateway than fits."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

from tests.integration.conformance.case import WireTestCase, head
from tests.integration.origin import OK

MIB = 1024 * 1024
SIZE = 100 * MIB
ROOM = 8 * MIB
"""How much the gateway may grow while a large body passes."""

PIECE = b"x" * 65536


class EventStreamTests(WireTestCase):
    """Server-sent events."""

    def test_each_event_arrives_while_the_origin_goes_on(self) -> None:
        """None is held back until there are more, chunked or until the end of the connection."""
        for framing in (b"Transfer-Encoding: chunked\r\n", b""):
            first, second = threading.Event(), threading.Event()
            events = [b"data: %d\n\n" % number for number in range(3)]
            sent = [b"%x\r\n%b\r\n" % (len(event), event) if framing else event for event in events]
            start = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + framing + b"\r\n"
            self.origin.plan((start, sent[0], first, sent[1], second, sent[2]))
            client = self.client()
            client.send(head("/open", "Accept: text/event-stream"))
            for event, go in zip(events, (first, second, None), strict=True):
                client.until(event + b"\r\n")
                self.assertTrue(client.silent(0.05))
                if go is not None:
                    go.set()

    def test_head_arrives_before_the_first_event(self) -> None:
        """A page learns that its stream is open."""
        go = threading.Event()
        self.origin.plan((b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", go))
        client = self.client()
        client.send(head("/open"))
        self.assertIn(b"Content-Type: text/event-stream\r\n", client.until(b"\r\n\r\n"))
        go.set()

    def test_uploads_pass_piece_by_piece(self) -> None:
        """The origin gets each before the next has come."""
        pieces = [b"%d" % number for number in range(5)]
        got = [threading.Event() for _ in pieces]

        def receive(connection: socket.socket) -> None:
            for piece, event in zip(pieces, got, strict=True):
                while not seen(connection, piece):
                    pass
                event.set()

        self.origin.whole = False
        self.origin.plan((receive, OK))
        client = self.client()
        client.send(head("/open", "Transfer-Encoding: chunked", method="POST"))
        self.until_received()
        for piece, event in zip(pieces, got, strict=True):
            client.send(b"1\r\n" + piece + b"\r\n")
            self.assertTrue(event.wait(5))
        client.send(b"0\r\n\r\n")
        self.assertEqual(client.answer().status, 200)


def seen(connection: socket.socket, piece: bytes) -> bool:
    """Whether the next bytes of a chunked body hold ``piece``."""
    return b"\r\n" + piece + b"\r\n" in connection.recv(65536)


class SlowReaderTests(WireTestCase):
    """Back-pressure: who reads slowly makes the other side wait, and the gateway stays as it is."""

    def resident(self) -> int:
        """Bytes of memory that the gateway's process has."""
        status = Path(f"/proc/{self.gateway.child.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def assertStalls(self, moved: list[int]) -> None:
        """Whoever sends comes to rest long before the end, because nobody reads."""
        before, now = -1, 0
        while now != before:
            time.sleep(0.2)
            before, now = now, moved[0]
        self.assertGreater(now, 0)
        self.assertLess(now, SIZE // 2)

    def test_download(self) -> None:
        """100 MiB for a client that stops, then reads: the origin waits, and the gateway does not grow."""
        moved = [0]

        def send(connection: socket.socket) -> None:
            while moved[0] < SIZE:
                connection.sendall(PIECE)
                moved[0] += len(PIECE)

        self.origin.plan((b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE, send))
        client = self.client()
        usual = self.resident()
        client.send(head("/open"))
        client.until(b"\r\n\r\n")
        self.assertStalls(moved)
        largest, missing = self.resident(), SIZE
        while missing:
            missing -= len(client.some(missing))
            largest = max(largest, self.resident())
        self.assertLess(largest - usual, ROOM)

    def test_upload(self) -> None:
        """100 MiB for an origin that stops, then reads: the client waits, and the gateway does not grow."""
        moved, go, received = [0], threading.Event(), [0]

        def receive(connection: socket.socket) -> None:
            go.wait(10)
            while received[0] < SIZE:
                received[0] += len(connection.recv(MIB))

        def send() -> None:
            while moved[0] < SIZE:
                client.send(PIECE)
                moved[0] += len(PIECE)

        self.origin.whole = False
        self.origin.plan((receive, OK))
        client = self.client()
        usual = self.resident()
        client.send(head("/open", f"Content-Length: {SIZE}", method="POST"))
        self.until_received()
        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        self.assertStalls(moved)
        largest = self.resident()
        go.set()
        while sender.is_alive():
            sender.join(0.01)
            largest = max(largest, self.resident())
        self.assertEqual(client.answer().status, 200)
        self.assertEqual(received[0], SIZE)
        self.assertLess(largest - usual, ROOM)

    def test_body_that_waits_for_its_origin(self) -> None:
        """While a connection is made, what comes of a body is bounded too; and so are pipelined requests."""
        for request in (
            head("/full", f"Content-Length: {SIZE}", method="POST"),
            head("/full") + head("/open", f"Content-Length: {SIZE}", method="POST"),
        ):
            client, moved = self.client(), 0
            client.send(request)
            client.socket.setblocking(False)
            deadline = time.monotonic() + 0.15
            while moved < SIZE and time.monotonic() < deadline:
                try:
                    moved += client.socket.send(PIECE)
                except BlockingIOError:
                    time.sleep(0.01)
            self.assertLess(moved, SIZE // 2)
            client.close()
