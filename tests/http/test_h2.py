"""Connections of HTTP/2: their settings, their limits, their ends."""

from __future__ import annotations

import gc
from typing import Any
from weakref import ref

from twisted.internet.interfaces import IHandshakeListener, IProtocolNegotiationFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.core.errors import Forbidden, GatewayError, Unauthorized
from gateway.core.h2_frames import Allowance
from gateway.core.tokens import Claims
from gateway.http import h2
from gateway.http.channel import HTTPChannel
from gateway.http.h2 import SLICE, H2Channel
from gateway.http.h2_wire import STREAMS, TABLE, WINDOW, make_wire, release
from gateway.http.request import Request
from gateway.http.site import Limits
from gateway.http.sweep import PERIOD, Sweep
from gateway.http.transport import LONG
from tests.http.h2_client import Client, H2Wire, frame
from tests.http.test_h2_stream import INTERNAL_ERROR, LARGE, H2TestCase
from tests.http.wire import ByHand, Echo, Gateway, ask, read_answers

NO_ERROR, PROTOCOL_ERROR, FRAME_SIZE_ERROR, REFUSED_STREAM, ENHANCE_YOUR_CALM = 0, 1, 6, 7, 11
DATA, HEADERS, PRIORITY, RESET, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
FLOOD = h2.CONTROL_BURST + 1


class NegotiationTests(SynchronousTestCase):
    """What TLS chooses is what is spoken."""

    def connect(self, protocol: bytes | None, http2: bool = True) -> H2Wire:
        """A client's connection once TLS is set up."""
        self.gateway = Gateway(http2=http2)
        channel: Any = self.gateway.site.buildProtocol(None)
        self.assertTrue(verifyObject(IHandshakeListener, channel))
        wire = H2Wire(self.gateway.clock, channel)
        wire.negotiatedProtocol = protocol  # type: ignore[assignment]
        channel.handshakeCompleted()
        return wire

    def test_offered(self) -> None:
        """Where HTTP/2 is on it is offered first; where it is off only HTTP/1.1 is."""
        site = Gateway(http2=True).site
        self.assertTrue(verifyObject(IProtocolNegotiationFactory, site))
        self.assertEqual(site.acceptableProtocols(), [b"h2", b"http/1.1"])
        self.assertEqual(Gateway().site.acceptableProtocols(), [b"http/1.1"])

    def test_h2(self) -> None:
        """A client that chose HTTP/2 has one connection, which speaks it."""
        wire = self.connect(b"h2")
        self.assertIsInstance(wire.wrappedProtocol, h2.H2Channel)
        self.assertEqual(self.gateway.site.channels, {wire.wrappedProtocol})

    def test_others(self) -> None:
        """A client that chose HTTP/1.1, or nothing, gets that."""
        for protocol in (b"http/1.1", None):
            wire = self.connect(protocol)
            self.assertIsInstance(wire.wrappedProtocol, HTTPChannel)
            wire.send(ask("/"))
            self.assertEqual([answer.status for answer in read_answers(wire.received)], [404])

    def test_prior_knowledge(self) -> None:
        """Nobody speaks HTTP/2 on a plain connection."""
        wire = Gateway(http2=True).connect()
        wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS))
        self.assertNotIn(b" 200 ", wire.received)
        self.assertIn(wire.ended, ("closed", "half closed"))


class EndedTestCase(H2TestCase):
    """How a connection has ended."""

    def ended(self, client: Client | None = None) -> int | None:
        """The code of the GOAWAY that ended a connection; None while it goes on."""
        client = client or self.client
        client.read()
        return None if client.ended is None else client.ended.error_code

    def requests(self) -> list[Request]:
        """Those recorded, without what tells of the connection's end."""
        return [request for request in self.gateway.recorded if request.decided_by != "wire"]


class ConnectionTests(EndedTestCase):
    """What clients are told, and how a conversation ends."""

    def test_settings(self) -> None:
        """The limits are announced."""
        remote = self.client.h2.remote_settings
        self.assertEqual(remote.max_concurrent_streams, STREAMS)
        self.assertEqual(remote.max_header_list_size, 32 * 1024 + 100 * 32)
        self.assertEqual((remote.max_frame_size, remote.initial_window_size), (16384, WINDOW))
        self.assertEqual(self.client.h2.outbound_flow_control_window, WINDOW * STREAMS)

    def test_not_http2(self) -> None:
        """Bytes that are not HTTP/2 end the connection."""
        for data in (ask("/"), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(DATA, 0, 1, b"x")):
            protocol: Any = self.gateway.site.buildProtocol(None)
            wire = H2Wire(self.gateway.clock, protocol)
            protocol.handshakeCompleted()
            wire.send(data, b"more")
            self.assertEqual(wire.ended, "closed")

    def test_deaf_after_the_end(self) -> None:
        """What comes behind an error is not read."""
        self.client.raw(frame(DATA, 0, 1, b"x"))
        self.assertEqual(self.ended(), PROTOCOL_ERROR)
        self.client.channel.dataReceived(b"x" * 100)
        self.assertFalse(self.gateway.site.channels)

    def test_record(self) -> None:
        """Who breaks a connection is recorded once, as for a malformed request, and who ends one is not."""
        self.connect().raw(frame(GOAWAY, 0, 0, bytes(8)))
        self.assertEqual(self.gateway.recorded, [])
        self.client.raw(frame(DATA, 0, 1, b"x"), b"more")
        [request] = self.gateway.recorded
        told = (request.remote, request.status, request.decided_by, request.incomplete)
        self.assertEqual(told, ("192.0.2.1", 400, "wire", True))
        self.assertIsNotNone(request.failure)
        self.assertEqual(request.received, self.gateway.clock.seconds())

    def test_unknown_frames(self) -> None:
        """Frames of kinds that nobody knows are ignored, and so are priorities."""
        self.client.raw(frame(0x77, 0, 0, b"x"), frame(PRIORITY, 0, 1, b"\0\0\0\0\5"), frame(PING, 0, 0, b"12345678"))
        self.assertEqual(self.client.ask(path="/e").status, 200)

    def test_unwanted(self) -> None:
        """A client that is not wanted any longer is closed after what it is in."""
        number = self.client.whole("/a")
        self.gateway.site.evict(lambda address: address == "192.0.2.1")
        self.client.read()
        self.assertTrue(self.client.last_requests)
        self.origin.wires[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self.assertEqual(self.client.answer(number).body, b"ok")
        self.assertEqual(self.client.wire.ended, "closed")

    def test_answering(self) -> None:
        """Each request that is not over can be ended by itself."""
        numbers = [self.client.whole("/a") for _ in range(2)]
        self.client.ask(path="/e")
        first, _ = self.client.channel.answering
        first.end(Forbidden())
        self.assertEqual([self.client.answer(number).status for number in numbers], [403, 0])
        self.assertEqual(len(self.client.channel.answering), 1)

    def test_answering_that_has_begun(self) -> None:
        """A stream of events is reset when it is ended, and the connection goes on with the others."""
        number = self.client.whole("/a")
        self.origin.wires[0].send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        (request,) = self.client.channel.answering
        request.end(Forbidden())
        self.assertEqual(self.client.answer(number).reset, INTERNAL_ERROR)
        self.assertTrue(request.incomplete)
        self.assertEqual((self.origin.wires[0].ended, self.client.channel.answering), ("cut", []))
        self.assertEqual(self.client.ask(path="/e").status, 200)

    def test_header_table(self) -> None:
        """The client's table of compression does not grow beyond the protocol's default."""
        self.client.h2.update_settings({1: LARGE})
        self.client.flush()
        self.assertEqual(self.client.channel._wire.encoder.header_table_size, TABLE)
        self.assertEqual(self.client.ask(path="/e").status, 200)

    def test_drain(self) -> None:
        """A gateway that stops takes no more requests, finishes those it has, and says which it took."""
        number = self.client.whole("/a")
        drained = self.gateway.site.drain()
        self.client.read()
        self.assertEqual((self.client.last_requests, self.client.wire.ended), (True, ""))
        self.origin.wires[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self.assertEqual(self.client.answer(number).body, b"ok")
        self.assertEqual(self.client.ended.last_stream_id, number)  # type: ignore[union-attr]
        self.assertEqual(self.client.wire.ended, "closed")
        self.successResultOf(drained)

    def test_many_frames_that_take_long(self) -> None:
        """They are worked off for a while, and the others when everybody had a turn; nothing is lost or reordered."""
        clock, happened = self.gateway.clock, H2Channel._happened

        def take(channel: H2Channel, event: Any, now: float) -> None:
            clock.rightNow += LONG / 10
            happened(channel, event, now)

        self.patch(H2Channel, "_happened", take)
        self.gateway.plant(b"/large", Echo())
        begun = self.client.begin(path="/large")
        for number in range(1000):
            self.client.h2.send_data(begun, b"%d," % number, end_stream=number == 999)
        sent = self.client.h2.data_to_send()
        began = clock.seconds()
        self.client.channel.dataReceived(sent[:8000])
        self.assertLess(clock.seconds() - began, LONG + SLICE / 10 * LONG / 10)
        self.client.channel.dataReceived(sent[8000:])
        self.gateway.after(5)
        self.client.read()
        expected = b"".join(b"%d," % number for number in range(1000))
        self.assertTrue(self.client.answer(begun).body.endswith(expected))

    def test_cut_with_frames_left(self) -> None:
        """What was put off is dropped with the connection."""
        self.patch(h2, "LONG", -1.0)
        begun = self.client.begin(path="/e")
        for _ in range(100):
            self.client.h2.send_data(begun, b"x")
        self.client.raw(self.client.h2.data_to_send())
        self.client.channel.abort()
        self.gateway.after(1)
        self.assertEqual(self.client.wire.ended, "cut")

    def test_chosen_while_draining(self) -> None:
        """Who agrees on HTTP/2 only then is told, too."""
        site = self.gateway.site
        site.draining = True
        self.assertTrue(Client(site, self.gateway.clock).last_requests)

    def test_drain_crossed(self) -> None:
        """What a client sends before it hears of the end is served."""
        drained = self.gateway.site.drain()
        number = self.client.whole("/a")
        self.assertEqual((self.client.last_requests, self.client.wire.ended), (True, ""))
        self.origin.wires[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self.assertEqual(self.client.answer(number).body, b"ok")
        self.assertEqual(self.client.wire.ended, "closed")
        self.successResultOf(drained)

    def test_drain_unheard(self) -> None:
        """A client that never says that it has heard is not waited for."""
        self.gateway.site.drain()
        self.gateway.after(h2.HEARD_TIMEOUT / 2)
        self.assertEqual(self.client.wire.ended, "")
        self.gateway.after(h2.HEARD_TIMEOUT)
        self.assertEqual(self.client.wire.ended, "closed")

    def test_drain_not_respected(self) -> None:
        """Who goes on asking after having heard, or after the time for it, is refused, and at last cut."""
        first = self.client.whole("/a")
        self.gateway.site.drain()
        self.client.read()
        second = self.client.whole("/a")
        self.assertEqual(self.client.answer(second).reset, REFUSED_STREAM)
        self.assertEqual((len(self.origin.wires), self.client.answer(first).reset), (1, None))
        for _ in range(h2.RESETS_BURST):
            self.client.whole("/a")
        self.assertEqual(self.ended(), ENHANCE_YOUR_CALM)

    def test_drain_idle(self) -> None:
        """A connection without requests is closed when the client has heard; one that ends already is left alone."""
        drained = self.gateway.site.drain()
        self.client.channel.close_when_idle()
        self.client.read()
        self.assertEqual(self.client.wire.ended, "closed")
        self.successResultOf(drained)

    def test_drain_reset(self) -> None:
        """A request that fails while the gateway stops ends its connection as well."""
        number = self.client.whole("/a")
        self.origin.wires[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        self.gateway.site.drain()
        self.origin.wires[0].leave()
        self.gateway.after(1)
        self.assertEqual((self.client.answer(number).reset, self.client.wire.ended), (INTERNAL_ERROR, "closed"))

    def test_many_requests(self) -> None:
        """After very many requests a client is asked to come again with a new connection."""
        self.patch(h2, "REQUESTS", 3)
        for _ in range(3):
            self.client.ask(path="/e")
        self.assertEqual((self.client.last_requests, self.ended()), (True, NO_ERROR))
        self.assertEqual(self.statuses(), [200] * 3)
        self.assertEqual(self.client.wire.ended, "closed")


class TimeoutTests(H2TestCase):
    """What is waited for, and how long."""

    def test_nothing_comes(self) -> None:
        """A client that asks nothing is closed after the time a head has."""
        self.gateway.after(9.5)
        self.assertEqual(self.client.wire.ended, "")
        self.gateway.after(1)
        self.assertEqual(self.client.wire.ended, "closed")

    def test_idle(self) -> None:
        """A client that asks no more is closed after the idle time; PING does not make it less idle."""
        self.client.ask(path="/e")
        self.gateway.after(70)
        self.client.raw(frame(PING, 0, 0, b"12345678"))
        self.assertEqual(self.client.wire.ended, "")
        self.gateway.after(6)
        self.assertEqual(self.client.wire.ended, "closed")

    def test_head(self) -> None:
        """A header block that does not end is given up, while other requests are waited for too."""
        self.client.begin(path="/a")
        self.client.raw(frame(HEADERS, 0, 3, b"\x82"))
        self.gateway.after(5)
        self.client.raw(frame(CONTINUATION, 0, 3))
        self.gateway.after(6)
        self.assertEqual(self.client.wire.ended, "closed")

    def test_head_in_time(self) -> None:
        """One that ends in time is answered."""
        self.client.wire.send(frame(HEADERS, 1, 1, b"\x82\x87"))
        self.gateway.after(9)
        self.client.wire.send(frame(CONTINUATION, 4, 1, b"\x84\x41\x01a"))
        self.gateway.after(9)
        self.assertEqual(self.statuses(), [404])

    def test_body(self) -> None:
        """A body that stops coming is given up; other requests go on."""
        self.gateway.plant(b"/large", Echo())
        number = self.client.begin(method="POST", path="/large")
        self.gateway.after(29)
        self.client.send(number, bytes(10_000))
        self.gateway.after(29)
        self.assertFalse(self.client.answer(number).status)
        self.gateway.after(2)
        self.assertEqual(self.client.answer(number).code, "REQUEST_TIMEOUT")
        self.assertEqual(self.client.ask(path="/e").status, 200)

    def test_body_in_the_exchange(self) -> None:
        """The same when the upstream has begun to read it: it must not take it for complete."""
        self.gateway.proxy(b"/slow", self.origin, first_byte_timeout=100.0)
        number = self.client.begin(method="POST", path="/slow")
        self.client.send(number, b"abc")
        self.gateway.after(15)
        self.client.send(number, b"abc")
        self.gateway.after(31)
        self.assertEqual(self.origin.wires[0].ended, "cut")
        self.assertEqual(self.client.answer(number).code, "REQUEST_TIMEOUT")

    def test_body_that_is_not_wanted_yet(self) -> None:
        """What is not read cannot be late."""
        self.gateway.plant(b"/h", ByHand())
        number = self.client.begin(method="POST", path="/h")
        self.client.send(number, b"abc")
        self.gateway.after(60)
        self.assertFalse(self.client.answer(number).status)

    def test_upstream(self) -> None:
        """An upstream that does not answer in time is given up."""
        number = self.client.whole("/a")
        self.gateway.after(21)
        self.assertEqual(self.client.answer(number).code, "UPSTREAM_TIMEOUT")

    def test_zero_window(self) -> None:
        """A client that opens its window no more loses its stream, and its upstream is free."""
        self.gateway.proxy(b"/long", self.origin, idle_timeout=1000.0)
        client = self.client = self.connect(takes=False)
        for path in ("/long", "/long/whole"):
            number = client.whole(path)
            size = LARGE if path == "/long" else WINDOW + 1000
            self.origin.wires[-1].send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size, b"x" * size)
            client.open_window(WINDOW)
            self.gateway.after(25)
            self.assertIsNone(client.answer(number).reset)
            self.gateway.after(10)
            self.assertEqual((client.answer(number).ended, client.answer(number).reset), (False, 2))
        self.assertEqual([request.gone for request in self.gateway.recorded], [True, False])
        self.assertFalse(client.channel._streams)

    def test_connection_that_keeps_up(self) -> None:
        """One that takes what it gets slowly, but faster than it must, is waited for, and so are its streams."""
        hand = ByHand()
        self.gateway.plant(b"/hand", hand)
        self.client.open_window(10_000_000)
        begun = self.client.begin(method="GET", path="/hand")
        self.client.open_window(10_000_000, begun)
        self.client.wire.stop_taking()
        hand.requests[0].respond(200, b"", bytes(100_000))
        for _ in range(200):
            self.client.wire.take_some(300)
            self.gateway.after(1)
            self.assertEqual(self.client.wire.ended, "")
        self.client.wire.take_again()
        self.client.read()
        self.assertEqual(len(self.client.answer(begun).body), 100_000)

    def test_slow_connection(self) -> None:
        """A client that takes no bytes at all is cut."""
        self.client.h2.update_settings({4: LARGE})
        self.client.open_window(LARGE)
        self.gateway.proxy(b"/long", self.origin, idle_timeout=1000.0)
        self.client.whole("/long")
        self.client.wire.stop_taking()
        self.origin.wires[-1].send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE, b"x" * LARGE)
        self.gateway.after(25)
        self.assertEqual(self.client.wire.ended, "")
        self.gateway.after(10)
        self.assertEqual(self.client.wire.ended, "cut")

    def test_end_that_is_not_taken(self) -> None:
        """A client that does not take its last bytes is cut, too."""
        self.client.wire.stop_taking()
        self.client.raw(frame(DATA, 0, 1, b"x"))
        self.gateway.after(25)
        self.assertEqual(self.client.wire.ended, "")
        self.gateway.after(10)
        self.assertEqual(self.client.wire.ended, "cut")


class FloodTests(EndedTestCase):
    """Clients that mean harm. Each of these ends the connection, and nothing is left of it."""

    def tearDown(self) -> None:
        self.assertFalse(self.client.channel._streams)
        super().tearDown()

    def flood(self, data: bytes, code: int = ENHANCE_YOUR_CALM, times: int = FLOOD) -> None:
        """Send something very often, in reads of a few KiB, and see the connection end with ``code``."""
        whole = data * times
        self.client.raw(*(whole[at : at + 4096] for at in range(0, len(whole), 4096)))
        self.assertEqual(self.ended(), code)
        self.assertEqual(self.client.wire.ended, "closed")

    def test_rapid_reset(self) -> None:
        """Requests that are left as soon as they are made, again and again (CVE-2023-44487)."""
        for _ in range(h2.RESETS_BURST + 1):
            self.client.reset(self.client.begin(path="/a"))
            if self.client.ended:
                break
        self.assertEqual(self.ended(), ENHANCE_YOUR_CALM)
        self.assertEqual(len(self.requests()), h2.RESETS_BURST + 1)

    def test_rapid_reset_at_once(self) -> None:
        """The same in very few reads: what stands behind the one too many is not begun."""
        wire = self.client.h2
        for number in range(1, 1001, 2):
            wire.send_headers(
                number, [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a"), (b":path", b"/a")]
            )
            wire.reset_stream(number)
        self.client.flush()
        self.assertEqual(self.ended(), ENHANCE_YOUR_CALM)
        self.assertEqual(len(self.requests()), h2.RESETS_BURST + 1)

    def test_resets_in_time(self) -> None:
        """A client that leaves a page now and then is no attacker."""
        for _ in range(5):
            for _ in range(h2.RESETS_BURST // 2):
                self.client.reset(self.client.begin(path="/a"))
            self.gateway.after(5)
        self.assertIsNone(self.ended())

    def test_provoked_resets(self) -> None:
        """Requests whose frames make the gateway reset them, again and again (CVE-2025-8671)."""
        for _ in range(h2.RESETS_BURST + 1):
            number = self.client.whole("/a")
            self.client.raw(frame(DATA, 0, number, b"x"))
            if self.client.ended:
                break
        self.assertEqual(self.ended(), ENHANCE_YOUR_CALM)

    def test_too_many_streams(self) -> None:
        """More requests at once than were allowed."""
        self.gateway.plant(b"/h", ByHand())
        for _ in range(STREAMS):
            self.client.begin(path="/h")
        self.client.h2.remote_settings.update({3: 1000})
        self.client.h2.remote_settings.acknowledge()
        self.client.begin(path="/h")
        self.assertEqual(self.ended(), PROTOCOL_ERROR)
        self.assertEqual([request.gone for request in self.requests()], [True] * STREAMS)

    def test_continuation(self) -> None:
        """A header block that goes on and on, in large pieces or small (CVE-2024-27316)."""
        self.client.raw(frame(HEADERS, 0, 1, b"\x82"))
        self.flood(frame(CONTINUATION, 0, 1, b"\0\1a\1b" * 800), times=64)

    def test_continuation_of_nothing(self) -> None:
        """The same with pieces of no bytes, which the library counts."""
        self.client.raw(frame(HEADERS, 0, 1, b"\x82"))
        self.flood(frame(CONTINUATION, 0, 1), PROTOCOL_ERROR, times=200)

    def test_header_bomb(self) -> None:
        """A small block that is large once it is decoded (CVE-2016-6581)."""
        head = b"\x82\x87\x84\x41\x01a" + b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4000
        self.client.raw(frame(HEADERS, 5, 1, head + b"\xbe" * 500))
        self.assertEqual(self.ended(), ENHANCE_YOUR_CALM)
        self.assertFalse(self.requests())

    def test_large_frame(self) -> None:
        """A frame larger than was allowed is not waited for."""
        self.client.raw(frame(DATA, 0, 1, bytes(16385))[:9])
        self.assertEqual(self.ended(), FRAME_SIZE_ERROR)

    def test_control_frames(self) -> None:
        """PING, SETTINGS, PRIORITY and others without end (CVE-2019-9512, -9515, -9513)."""
        self.client.begin(path="/a")
        for flood in (
            frame(PING, 0, 0, b"12345678"),
            frame(SETTINGS),
            frame(PRIORITY, 0, 1, b"\0\0\0\0\5"),
            frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
            frame(RESET, 0, 1, b"\0\0\0\0"),
            frame(0x77),
        ):
            self.flood(flood)
            self.client = self.connect()
            self.client.begin(path="/a")
        self.client.wire.leave()

    def test_many_settings(self) -> None:
        """Few frames with very many settings (CVE-2020-11080)."""
        self.flood(frame(SETTINGS, 0, 0, b"\x77\x77\0\0\0\1" * 2700), times=8)

    def test_empty_data(self) -> None:
        """DATA of no bytes, without end (CVE-2019-9518)."""
        number = self.client.begin(method="POST", path="/a")
        self.flood(frame(DATA, 0, number))

    def test_control_frames_in_time(self) -> None:
        """As many of them in a longer time are no flood."""
        for _ in range(20):
            self.client.raw(frame(PING, 0, 0, b"12345678") * 100)
            self.gateway.after(1.1)
            self.client.ask(path="/e")
        self.assertIsNone(self.ended())

    def test_download(self) -> None:
        """Who reads a very large answer opens windows as often as that takes."""
        number = self.client.whole("/a")
        self.client.channel._meter.allowance = Allowance(20, 0, 0)
        size = 4 * LARGE
        self.origin.wires[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        self.origin.wires[0].send(bytes(size))
        self.client.wait_until(lambda: self.client.answer(number).ended)
        self.assertIsNone(self.ended())

    def test_limits(self) -> None:
        """Limits of the configuration hold the header list too."""
        gateway = Gateway(Limits(head=1000, fields=10), http2=True)
        client = Client(gateway.site, gateway.clock)
        self.assertEqual(client.ask((b"x", b"a" * 1100)).code, "HEADERS_TOO_LARGE")
        client.headers([(b":method", b"GET"), (b"x", b"a" * 2700)])
        self.assertEqual(self.ended(client), ENHANCE_YOUR_CALM)


class RevokedTests(H2TestCase):
    """Streams of one connection whose tokens were revoked."""

    def test_they_end(self) -> None:
        """One that has begun is reset, one that has not gets 401; others on the connection go on."""

        def refusal(claims: Claims) -> GatewayError | None:
            return Unauthorized() if claims.subject == "ann" else None

        sweep = Sweep(self.gateway.clock, refusal)
        sweep.channels = self.gateway.site.channels
        begun, waiting, other = (self.client.whole(f"/a/{number}") for number in range(3))
        for request, subject in zip(self.client.channel.answering, ("ann", "ann", "bob"), strict=True):
            request.claims = Claims(subject, "user", "", 0.0, 1e9)
        self.origin.wires[0].send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        self.assertEqual(self.client.answer(begun).body, b"hello")
        sweep.soon()
        self.gateway.after(PERIOD)
        self.assertEqual((self.client.answer(begun).reset, self.client.answer(begun).ended), (INTERNAL_ERROR, False))
        self.assertEqual(self.client.answer(waiting).status, 401)
        self.assertEqual([wire.ended for wire in self.origin.wires], ["cut", "cut", ""])
        self.origin.wires[2].send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self.assertEqual((self.client.answer(other).status, self.client.answer(other).body), (200, b"ok"))


class MemoryTests(SynchronousTestCase):
    """What the library held for a connection is let go with it, and does not wait until garbage is collected."""

    def test_released(self) -> None:
        """It knows its own methods until then."""
        gc.disable()
        self.addCleanup(gc.enable)
        wire = make_wire(1000)
        known = ref(wire)
        release(wire)
        del wire
        self.assertIsNone(known())
