"""Tests of the frames that pass by, with Autobahn as the one who writes them and as the judge of broken ones."""

from __future__ import annotations

from itertools import pairwise
from typing import Any
from unittest.mock import patch

from autobahn.twisted.websocket import (
    WebSocketClientFactory,
    WebSocketClientProtocol,
    WebSocketServerFactory,
    WebSocketServerProtocol,
)
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.frames import (
    CLOSE,
    NO_CODE,
    PING,
    PONG,
    Ending,
    FrameReader,
    apply_mask,
    close_frame,
    control_frame,
)

KEY = b"\x01\x02\x03\x04"


def autobahn(client: bool) -> Any:
    """An Autobahn protocol past its handshake, over a StringTransport."""
    clock = Clock()
    peer: Any = WebSocketClientProtocol() if client else WebSocketServerProtocol()
    peer.factory = WebSocketClientFactory(reactor=clock) if client else WebSocketServerFactory(reactor=clock)
    peer.factory.setProtocolOptions(openHandshakeTimeout=0, failByDrop=False, utf8validateIncoming=False)
    peer.factory.setProtocolOptions(closeHandshakeTimeout=0)
    peer.makeConnection(StringTransport())
    peer.transport.clear()
    peer.unregisterProducer = lambda: None  # it never registers one
    peer.state = peer.STATE_OPEN
    peer.inside_message = False
    peer.current_frame = None
    peer.websocket_version = 13
    peer.messages = []
    peer.onMessage = lambda payload, binary: peer.messages.append((payload, binary))
    return peer


def written(client: bool, frames: list[tuple[int, bytes, bool]]) -> bytes:
    """Frames as Autobahn writes them: opcode, payload, whether final."""
    peer = autobahn(client)
    for opcode, payload, final in frames:
        peer.sendFrame(opcode, payload, fin=final)
    return bytes(peer.transport.value())


def reader(
    client: bool = True, max_message: int = 1 << 20, max_fragments: int = 1000, pong: bytes = b""
) -> FrameReader:
    return FrameReader(client, max_message, max_fragments, pong)


def chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    """``data`` cut at places that depend on ``cuts``."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[begin:end] for begin, end in pairwise(places)]


controls = st.tuples(st.sampled_from((PING, PONG)), st.binary(max_size=125), st.just(True))
sizes = st.one_of(st.integers(0, 130), st.sampled_from((65535, 65536, 70000)))


@st.composite
def messages(draw: st.DrawFn) -> list[tuple[int, bytes, bool]]:
    """The frames of some messages, in fragments, with control frames between them."""
    frames: list[tuple[int, bytes, bool]] = []
    for _ in range(draw(st.integers(0, 4))):
        fragments = draw(st.lists(sizes, min_size=1, max_size=4))
        for index, size in enumerate(fragments):
            frames += draw(st.lists(controls, max_size=1))
            opcode = draw(st.sampled_from((1, 2))) if index == 0 else 0
            frames.append((opcode, b"x" * size, index == len(fragments) - 1))
    return frames


@st.composite
def frames_like(draw: st.DrawFn) -> bytes:
    """Bytes that begin as frames do, mostly right."""
    data = b""
    for _ in range(draw(st.integers(1, 4))):
        first = draw(st.sampled_from((0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A, 0x08, 0x83, 0xC1, 0x8B)))
        size = draw(st.sampled_from((0, 1, 2, 5, 125, 126, 127)))
        masked = draw(st.sampled_from((0, 0x80)))
        extended = draw(st.integers(0, 65535)).to_bytes({126: 2, 127: 8}[size], "big") if size > 125 else b""
        data += bytes((first, masked | size)) + extended + KEY * (masked >> 7) + draw(st.binary(max_size=130))[:size]
    return data


class PassingTests(SynchronousTestCase):
    """What legal frames become: nothing else than what they were."""

    @given(st.booleans(), messages(), st.lists(st.integers(0, 1 << 20), max_size=8))
    def test_legal_frames_pass_unchanged(
        self, client: bool, frames: list[tuple[int, bytes, bool]], cuts: list[int]
    ) -> None:
        """Whatever Autobahn writes goes on byte by byte, however it is cut into reads."""
        data = written(client, frames)
        frame_reader = reader(client)
        self.assertEqual(b"".join(map(frame_reader.feed, chunks(data, cuts))), data)
        self.assertIsNone(frame_reader.broken)
        self.assertIsNone(frame_reader.closed)
        self.assertFalse(frame_reader.passing)

    @given(st.booleans(), messages(), st.lists(st.integers(0, 1 << 20), max_size=8))
    def test_own_pongs_stop(self, client: bool, frames: list[tuple[int, bytes, bool]], cuts: list[int]) -> None:
        """A pong that answers the relay's own ping is taken out, and only that."""
        mixed = [part for frame in frames for part in ((PONG, b"mine", True), frame)]
        frame_reader = reader(client, pong=b"mine")
        passed = b"".join(map(frame_reader.feed, chunks(written(client, mixed), cuts)))
        peer = autobahn(not client)
        peer.pongs = []
        peer.onPong = peer.pongs.append
        peer.dataReceived(passed)
        self.assertEqual(peer.pongs, [payload for opcode, payload, _ in frames if opcode == PONG])
        self.assertEqual(
            b"".join(payload for payload, _ in peer.messages),
            b"".join(payload for opcode, payload, _ in frames if opcode < CLOSE),
        )

    def test_whole_read_is_not_copied(self) -> None:
        """What may go on in full is the very object that came."""
        for payload in (b"", b"x" * 125, b"x" * 126, b"x" * 65535, b"x" * 65536):
            for client in (True, False):
                data = written(client, [(2, payload, True)])
                self.assertIs(reader(client).feed(data), data)

    def test_rest_of_a_frame(self) -> None:
        """While a frame has begun to pass, nothing may be written between; its rest passes as it comes."""
        frame_reader = reader()
        data = written(True, [(1, b"x" * 300, True)])
        self.assertEqual(frame_reader.feed(data[:100]), data[:100])
        self.assertTrue(frame_reader.passing)
        self.assertEqual(frame_reader.feed(data[100:200]), data[100:200])
        self.assertEqual(frame_reader.feed(data[200:-1]), data[200:-1])
        self.assertTrue(frame_reader.passing)
        self.assertEqual(frame_reader.feed(data[-1:]), data[-1:])
        self.assertFalse(frame_reader.passing)

    def test_header_passes_when_it_is_whole(self) -> None:
        """Nothing of a frame passes before its header has been read."""
        frame_reader = reader()
        data = written(True, [(1, b"x" * 300, True)])
        for index in range(7):
            self.assertEqual(frame_reader.feed(data[index : index + 1]), b"")
        self.assertFalse(frame_reader.passing)
        self.assertEqual(frame_reader.feed(data[7:9]), data[:9])


class WholeMessageTests(SynchronousTestCase):
    """A read that is one whole message, as most are, passes without being taken apart; nothing else does."""

    SIZES = (1, 125, 126, 255, 256, 65535)

    def taken_apart(self, data: bytes, client: bool, max_message: int = 1 << 20) -> bool:
        """Whether a reader looks for frames in what came."""
        with patch.object(FrameReader, "_walk", return_value=b"") as walk:
            reader(client, max_message).feed(data)
        return walk.called

    def messages(self) -> list[tuple[bool, int, bytes]]:
        """Who sends, of which size, and the whole frame."""
        return [
            (client, size, written(client, [(2, bytes(size), True)])) for client in (True, False) for size in self.SIZES
        ]

    def test_whole(self) -> None:
        """Up to 64 KiB, as large as a message may be."""
        for client, size, data in self.messages():
            self.assertFalse(self.taken_apart(data, client, size), size)
        self.assertFalse(self.taken_apart(written(True, [(1, b"", True)]), True))

    def test_more_or_less(self) -> None:
        """A byte more begins another frame, a byte less is not all."""
        for client, size, data in self.messages():
            self.assertTrue(self.taken_apart(data + b"\0", client), size)
            self.assertTrue(self.taken_apart(data[:-1], client), size)

    def test_larger_than_it_may_be(self) -> None:
        """It is for the rules to refuse."""
        for client, size, data in self.messages():
            self.assertTrue(self.taken_apart(data, client, size - 1), size)

    def test_masked_by_the_wrong_side(self) -> None:
        """So is that."""
        for client, size, data in self.messages():
            self.assertTrue(self.taken_apart(data, not client), size)

    def test_other_frames(self) -> None:
        """Fragments, control frames and what needs a longer header are looked at."""
        for frame in ((2, b"x", False), (0, b"x", True), (PING, b"x", True), (2, bytes(65536), True)):
            self.assertTrue(self.taken_apart(written(True, [frame]), True), frame[0])

    def test_as_many_as_it_may(self) -> None:
        """The one after that is looked at: somebody has to be asked."""
        frame_reader = FrameReader(True, 100, 100, spent=lambda: frame_reader.allow(1, 0))
        frame_reader.allow(2, 0)
        data = written(True, [(2, b"x", True)])
        with patch.object(FrameReader, "_walk", return_value=b"") as walk:
            passed = [frame_reader.feed(data) for _ in range(3)]
        self.assertEqual((passed, walk.call_count), ([data, data, b""], 1))


class MutingTests(SynchronousTestCase):
    """A direction that has been closed by the relay."""

    def test_frame_under_way_is_finished(self) -> None:
        """Muted in the midst of a frame, the reader lets its rest pass, and nothing after it."""
        frame_reader = reader()
        data = written(True, [(1, b"x" * 300, True)])
        frame_reader.feed(data[:100])
        frame_reader.mute()
        self.assertTrue(frame_reader.passing)
        self.assertEqual(frame_reader.feed(data[100:] + data), data[100:])
        self.assertEqual(frame_reader.feed(data), b"")

    def test_close_is_seen_after_frames_that_do_not_pass(self) -> None:
        """A muted reader still follows the frames, in pieces too, up to the close frame."""
        frame_reader = reader()
        frame_reader.mute()
        data = written(True, [(1, b"x" * 300, True), (PING, b"", True)])
        for piece in (data[:50], data[50:100], data[100:], close_frame(Ending(1000, "bye"), KEY)):
            self.assertEqual(frame_reader.feed(piece), b"")
            self.assertFalse(frame_reader.passing)
        self.assertEqual(frame_reader.closed, Ending(1000, "bye"))


class ClosingTests(SynchronousTestCase):
    """Close frames."""

    def test_close_frame_passes_and_ends(self) -> None:
        """It goes on as it came; what follows it is ignored."""
        codes = (*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4999)
        for ending in (Ending(1000, "é"), *(Ending(code, "bye") for code in codes)):
            frame_reader = reader()
            data = close_frame(ending, KEY)
            self.assertEqual(frame_reader.feed(b"".join((data, data))), data)
            self.assertEqual(frame_reader.closed, ending)
            self.assertEqual(frame_reader.feed(data), b"")
            self.assertIsNone(frame_reader.broken)

    def test_close_frame_that_stops(self) -> None:
        """On demand everything passes but the close frame, which is still told."""
        for cut in (3, 7, 20):
            frame_reader = reader(False)
            frame_reader.stop_close()
            before = written(False, [(1, b"before", True), (PING, b"", True)])
            data = before + close_frame(Ending(1000, "bye"))
            self.assertEqual(frame_reader.feed(data[:cut]) + frame_reader.feed(data[cut:]), before)
            self.assertEqual(frame_reader.closed, Ending(1000, "bye"))

    def test_close_frame_without_a_code(self) -> None:
        """It stands for 1005, which is never sent."""
        frame_reader = reader(False)
        self.assertEqual(frame_reader.feed(b"\x88\x00"), b"\x88\x00")
        self.assertEqual(frame_reader.closed, Ending(NO_CODE, ""))

    def test_close_frame_in_pieces(self) -> None:
        """It passes when it is whole: half a close frame could not be taken back."""
        frame_reader = reader(False)
        self.assertEqual(frame_reader.feed(b"\x88\x02\x03"), b"")
        self.assertEqual(frame_reader.feed(b"\xe8"), b"\x88\x02\x03\xe8")

    def test_codes_that_may_not_be_sent(self) -> None:
        """Reserved codes, half a code and a reason that is not UTF-8 break the protocol."""
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2999, 5000, 65535):
            frame_reader = reader(False)
            self.assertEqual(frame_reader.feed(control_frame(CLOSE, code.to_bytes(2, "big"))), b"")
            self.assertEqual(frame_reader.broken, Ending(1002, "a close code that may not be sent"), code)
        frame_reader = reader(False)
        frame_reader.feed(control_frame(CLOSE, b"\x03"))
        self.assertEqual(frame_reader.broken, Ending(1002, "a close code that may not be sent"))
        frame_reader = reader(False)
        self.assertEqual(frame_reader.feed(control_frame(CLOSE, b"\x03\xe8\xff")), b"")
        self.assertEqual(frame_reader.broken, Ending(1007, "a close reason that is not UTF-8"))


class BreakingTests(SynchronousTestCase):
    """Frames that break a rule: they do not pass, and what came before them does."""

    SECOND = ("a message within a message",)
    """Rules that take two frames to break, the first of which passes."""

    @given(st.booleans(), st.one_of(st.binary(max_size=40), frames_like()))
    def test_autobahn_finds_the_same(self, client: bool, data: bytes) -> None:
        """For any bytes: broken here means broken, or not yet read, there; and the other way round."""
        frame_reader = reader(client, max_message=1 << 62)
        frame_reader.feed(data)
        judge = autobahn(not client)
        judge.dataReceived(data)
        failed_at_once = judge.failedByMe
        for peer in (frame_reader.feed, judge.dataReceived):  # each may look at a header only when all of it is there
            peer(bytes(20))
        if failed_at_once:
            self.assertIsNotNone(frame_reader.broken)
        if frame_reader.broken is not None:
            self.assertTrue(judge.failedByMe)

    def test_rules(self) -> None:
        """Each rule of section 5 on its own."""
        cases = {
            b"\x81\x00": "a client's frames must be masked, a server's must not",
            b"\xc1\x80" + KEY: "no extension was agreed on",
            b"\x83\x80" + KEY: "an unknown opcode",
            b"\x8b\x80" + KEY: "an unknown opcode",
            b"\x09\x80" + KEY: "control frames are short and whole",
            b"\x89\xfe\x00\x7e" + KEY: "control frames are short and whole",
            b"\x80\x80" + KEY: "a continuation of nothing",
            b"\x01\x80" + KEY + b"\x81\x80" + KEY: "a message within a message",
            b"\x82\xfe\x00\x7d" + KEY: "a length must take the fewest bytes",
            b"\x82\xff" + (65535).to_bytes(8, "big") + KEY: "a length must take the fewest bytes",
            b"\x82\xff" + (1 << 63).to_bytes(8, "big") + KEY: "a length must take the fewest bytes",
        }
        for data, reason in cases.items():
            frame_reader = reader()
            before = written(True, [(2, b"before", True)])
            self.assertEqual(frame_reader.feed(before + data), before + data[: -6 if reason in self.SECOND else 0])
            self.assertEqual(frame_reader.broken, Ending(1002, reason))
            self.assertFalse(frame_reader.passing)
            self.assertEqual(frame_reader.feed(before), b"")

    def test_server_must_not_mask(self) -> None:
        """A masked frame of an upstream breaks the protocol as well."""
        frame_reader = reader(False)
        self.assertEqual(frame_reader.feed(b"\x82\x80" + KEY), b"")
        self.assertEqual(frame_reader.broken, Ending(1002, "a client's frames must be masked, a server's must not"))

    def test_short_reads_are_no_whole_messages(self) -> None:
        """Two bytes whose second looks like a size are a header's beginning, not a message."""
        for data in (b"\x82\x7c", b"\x82\x7d\x00", b"\x82\xfe" + bytes(130)):
            frame_reader = reader()
            self.assertEqual(frame_reader.feed(data), b"")
            self.assertIsNotNone(frame_reader.broken)


class LimitTests(SynchronousTestCase):
    """How large a message may be."""

    def test_message_too_large(self) -> None:
        """A header that announces more than the limit is stopped before anything of its frame passes."""
        for limit in (10, 1000, 70000):
            frame_reader = reader(max_message=limit)
            right = written(True, [(2, bytes(limit), True)])
            self.assertEqual(frame_reader.feed(right), right)
            self.assertEqual(frame_reader.feed(written(True, [(2, bytes(limit + 1), True)])[:14]), b"")
            self.assertEqual(frame_reader.broken, Ending(1009, f"a message may have {limit} bytes"))

    def test_fragments_count_together(self) -> None:
        """The fragment that exceeds the limit is stopped; those before it have passed."""
        frame_reader = reader(max_message=1000)
        first = written(True, [(2, bytes(600), False)])
        self.assertEqual(frame_reader.feed(first + written(True, [(0, bytes(401), True)])), first)
        self.assertEqual(frame_reader.broken, Ending(1009, "a message may have 1000 bytes"))

    def test_messages_count_alone(self) -> None:
        """The next message starts from zero."""
        frame_reader = reader(max_message=1000)
        message = written(True, [(2, bytes(600), False), (0, bytes(400), True)])
        self.assertEqual(frame_reader.feed(message * 3), message * 3)
        self.assertIsNone(frame_reader.broken)

    def test_fragments_without_end(self) -> None:
        """Empty fragments, which have no bytes to count, are counted themselves."""
        frame_reader = reader(max_fragments=3)
        frame_reader.feed(written(True, [(2, b"", False)] + [(0, b"", False)] * 2))
        self.assertIsNone(frame_reader.broken)
        frame_reader.feed(written(True, [(0, b"", True)]))
        self.assertEqual(frame_reader.broken, Ending(1009, "a message may come in 3 frames"))


class WritingTests(SynchronousTestCase):
    """The relay's own frames, read by Autobahn."""

    @given(st.booleans(), st.binary(max_size=200))
    def test_ping(self, client: bool, payload: bytes) -> None:
        """A ping arrives with its payload, at most 125 bytes of it."""
        peer = autobahn(not client)
        pings: list[bytes] = []
        peer.onPing = pings.append
        peer.dataReceived(control_frame(PING, payload, KEY if client else b""))
        self.assertEqual(pings, [payload[:125]])

    @given(st.booleans(), st.text(max_size=130))
    def test_close(self, client: bool, reason: str) -> None:
        """A close frame arrives with its code, and with as much of its reason as fits, whole characters."""
        peer = autobahn(not client)
        peer.dataReceived(close_frame(Ending(1008, reason), KEY if client else b""))
        self.assertEqual(peer.remoteCloseCode, 1008)
        self.assertFalse(peer.failedByMe)
        arrived = peer.remoteCloseReason or ""
        self.assertTrue(reason.startswith(arrived))
        self.assertGreaterEqual(len(arrived.encode()), min(len(reason.encode()), 120))

    def test_long_reason(self) -> None:
        """It is cut after the last whole character of which there is room for all: 123 bytes are there."""
        for reason, left in (("x" * 124, "x" * 123), ("é" * 62, "é" * 61), ("x" + "é" * 62, "x" + "é" * 61)):
            payload = close_frame(Ending(1000, reason))[4:]
            self.assertEqual(payload.decode(), left)

    @given(st.binary(min_size=4, max_size=4), st.binary(max_size=300))
    def test_mask_is_its_own_inverse(self, key: bytes, payload: bytes) -> None:
        """Masking twice gives the payload back."""
        self.assertEqual(apply_mask(key, apply_mask(key, payload)), payload)


class AllowanceTests(SynchronousTestCase):
    """A peer that may send three messages and two control frames until it is allowed more."""

    def setUp(self) -> None:
        self.refills = 0
        self.asked = 0
        self.reader = FrameReader(False, 1 << 20, 1000, spent=self.spent)
        self.reader.allow(3, 2)

    def spent(self) -> None:
        self.asked += 1
        if self.refills:
            self.refills -= 1
            self.reader.allow(3, 2)

    def passed(self, *frames: tuple[int, bytes, bool]) -> int:
        """How many of the frames go on."""
        return sum(bool(self.reader.feed(written(False, [frame]))) for frame in frames)

    def test_messages(self) -> None:
        """A fourth is stopped, and closes with 1008."""
        self.assertEqual(self.passed(*[(1, b"x", True)] * 5), 3)
        self.assertEqual(self.reader.broken, Ending(1008, "too many messages a second"))

    def test_messages_in_one_read(self) -> None:
        """What comes before it passes."""
        one = written(False, [(1, b"x", True)])
        self.assertEqual(self.reader.feed(one * 5), one * 3)

    def test_more(self) -> None:
        """Whoever counts is only asked when all is spent."""
        self.refills = 1
        self.assertEqual(self.passed(*[(1, b"x", True)] * 6), 6)
        self.assertEqual((self.asked, self.reader.broken), (1, None))

    def test_control_frames(self) -> None:
        """They have a count of their own."""
        self.assertEqual(self.passed((9, b"", True), (1, b"x", True), (10, b"", True), (9, b"", True)), 3)
        self.assertEqual(self.reader.broken, Ending(1008, "too many control frames a second"))

    def test_small_fragments(self) -> None:
        """Each counts as a message: it costs as much."""
        self.assertEqual(self.passed((1, b"a", False), *[(0, b"b", False)] * 5), 3)
        self.assertEqual(self.reader.broken, Ending(1008, "too many messages a second"))

    def test_large_fragments(self) -> None:
        """A message in many large pieces counts as one."""
        self.assertEqual(self.passed((1, bytes(1024), False), *[(0, bytes(5000), False)] * 9, (0, b"", True)), 11)

    def test_fragments_that_are_not_quite_large(self) -> None:
        """A fragment of a byte less than 1 KiB counts as a message."""
        self.assertEqual(self.passed((1, bytes(1023), False), *[(0, bytes(1023), False)] * 9), 3)

    def test_as_many_as_they_like(self) -> None:
        """A peer nobody counts for may send without end."""
        self.reader = FrameReader(False, 1 << 20, 1000)
        self.assertEqual(self.passed(*[(1, b"x", True), (9, b"", True)] * 100), 200)
