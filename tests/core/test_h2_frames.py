"""What an HTTP/2 client may cost, counted by the heads of its frames."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.h2_frames import Allowance, FrameMeter

# RFC 9113 sections 3.4 and 7
PREFACE = 24
FRAME_SIZE_ERROR, ENHANCE_YOUR_CALM = 6, 11

DATA, HEADERS, PRIORITY, RESET, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 8, 9


def frame(kind: int, length: int = 0, flags: int = 0, stream: int = 1) -> bytes:
    """A frame of zeros."""
    return length.to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + bytes(length)


class AllowanceTests(SynchronousTestCase):
    """A token bucket."""

    def test_burst(self) -> None:
        """As much as the burst at once, and no more."""
        allowance = Allowance(2, 1, 0)
        self.assertEqual([allowance.take(1, 0) for _ in range(3)], [True, True, False])

    def test_rate(self) -> None:
        """What was taken comes back with the time, up to the burst."""
        allowance = Allowance(2, 1, 0)
        allowance.take(2, 0)
        self.assertEqual(
            [allowance.take(amount, now) for amount, now in ((1, 1), (1, 1), (2, 9), (1, 9))],
            [True, False, True, False],
        )

    def test_parts_of_seconds(self) -> None:
        """Half a second counts as half."""
        allowance = Allowance(1, 2, 0.25)
        self.assertEqual([allowance.take(1, now) for now in (0.25, 0.75, 1.0)], [True, True, False])

    def test_clock_set_back(self) -> None:
        """A clock that jumps back takes nothing away."""
        allowance = Allowance(2, 1, 100)
        self.assertTrue(allowance.take(2, 0))

    def test_earn(self) -> None:
        """What is earned counts, up to the burst."""
        allowance = Allowance(2, 0, 0)
        allowance.take(2, 0)
        allowance.earn(100)
        self.assertEqual([allowance.take(2, 0), allowance.take(1, 0)], [True, False])

    def test_earn_little(self) -> None:
        """What is earned is added to what is left."""
        allowance = Allowance(3, 0, 0)
        allowance.take(2, 0)
        allowance.earn(1)
        self.assertEqual([allowance.take(2, 0), allowance.take(1, 0)], [True, False])


class FrameMeterTests(SynchronousTestCase):
    """Which frames cost, and what ends the connection."""

    def setUp(self) -> None:
        self.meter = self.new()

    def new(self) -> FrameMeter:
        self.open = {1}
        meter = FrameMeter(100, Allowance(10, 0, 0), self.open)
        meter.read(bytes(PREFACE), 0)
        return meter

    def allowed(self, of: bytes | Callable[[int], bytes]) -> int:
        """How many times these frames, of one stream or of a new one each time, may come on a new connection; 50 is as
        often as they like.
        """
        meter = self.new()
        frames = (of if isinstance(of, bytes) else of(2 * number + 1) for number in range(50))
        return next((count for count, each in enumerate(frames) if meter.read(each, 0)), 50)

    def test_requests(self) -> None:
        """Requests and their bodies cost nothing here."""
        self.assertEqual(
            self.allowed(lambda stream: frame(HEADERS, 50, 4, stream) + frame(DATA, 1000) + frame(DATA, 0, 1)), 50
        )

    def test_streams_that_are_not_new(self) -> None:
        """HEADERS for one that there is, or was, cost."""
        self.assertEqual(self.allowed(frame(HEADERS, 3, 5)), 11)
        self.meter.read(frame(HEADERS, 3, 5, 3), 0)
        self.assertEqual([self.meter.read(frame(HEADERS, 3, 5, 2), 0) for _ in range(11)], [0] * 10 + [11])

    def test_streams_that_have_ended(self) -> None:
        """DATA for one costs, but not for one that is open, or begins in the same read."""
        self.meter.read(frame(HEADERS, 3, 4), 0)
        self.open.clear()
        self.assertEqual([self.meter.read(frame(DATA, 9), 0) for _ in range(11)], [0] * 10 + [11])
        for before, stream in ((frame(HEADERS, 3, 4), 1), (frame(HEADERS, 3, 4) + frame(HEADERS, 3, 4, 3), 3)):
            meter = self.new()
            self.open.clear()
            self.assertEqual(meter.read(before + frame(DATA, 9, 0, stream) * 50, 0), 0)

    def test_how_many(self) -> None:
        """It tells how many frames began in a read."""
        for data, expected in ((frame(DATA, 9) * 3, 3), (frame(DATA, 9)[:12], 1), (b"", 0)):
            meter = self.new()
            meter.read(data, 0)
            self.assertEqual(meter.frames, expected)

    def test_control_frames(self) -> None:
        """Frames of any other kind cost one each, however large, those nobody knows too."""
        for kind in (PRIORITY, RESET, PING, WINDOW_UPDATE, 0x77):
            self.assertEqual([self.allowed(frame(kind, length)) for length in (4, 1000)], [10, 10], kind)

    def test_empty_data(self) -> None:
        """DATA that carries nothing costs, with padding too, but not where it ends a body."""
        self.assertEqual(self.allowed(frame(DATA)), 10)
        self.assertEqual(self.allowed(frame(DATA, 9, 8)), 10)

    def test_flags_without_meaning(self) -> None:
        """DATA that carries something costs nothing, whatever other flags it has."""
        self.assertEqual(self.allowed(frame(DATA, 9, 0xFF & ~0x08)), 50)
        self.assertEqual(self.allowed(frame(DATA, 9, 0xFF & ~0x09)), 50)

    def test_many_settings(self) -> None:
        """A frame with many settings costs more, about one for each ten."""
        self.assertEqual([self.allowed(frame(SETTINGS, 6 * count)) for count in (0, 9, 40, 100)], [10, 10, 2, 1])

    def test_continuation(self) -> None:
        """Each CONTINUATION costs, however small it is (CVE-2024-27316)."""
        self.assertEqual(self.allowed(lambda stream: frame(HEADERS, 1, 0, stream) + frame(CONTINUATION, 0, 4)), 10)
        self.assertEqual(self.allowed(frame(CONTINUATION)), 10)

    def test_block(self) -> None:
        """A header block is too large before its end has come, and before its bytes have."""
        self.assertEqual(self.meter.read(frame(HEADERS, 60), 0), 0)
        self.assertTrue(self.meter.in_block)
        self.assertEqual(self.meter.read(frame(CONTINUATION, 41)[:9], 0), ENHANCE_YOUR_CALM)

    def test_largest_block(self) -> None:
        """A header block may be as large as the limit, in one frame or in several, its beginning missing or not."""
        several = frame(HEADERS, 40) + frame(CONTINUATION, 30) + frame(CONTINUATION, 30)
        for block in (frame(HEADERS, 100), several, frame(CONTINUATION, 100)):
            self.assertEqual(self.new().read(block, 0), 0)
            self.assertEqual(self.new().read(block + frame(CONTINUATION, 1), 0), ENHANCE_YOUR_CALM)

    def test_blocks(self) -> None:
        """Each block is measured alone."""
        self.assertEqual(self.allowed(lambda stream: frame(HEADERS, 100, 4, stream)), 50)

    def test_end_of_block(self) -> None:
        """A block has ended with the flag that says so, and no other; before the first there is none."""
        self.assertFalse(self.meter.in_block)
        self.meter.read(frame(HEADERS, 1, 0xFF & ~0x04), 0)
        self.assertTrue(self.meter.in_block)
        self.meter.read(frame(CONTINUATION, 1, 4), 0)
        self.assertFalse(self.meter.in_block)

    def test_large_frame(self) -> None:
        """A frame that is larger than allowed is refused before anybody waits for it."""
        for length in (16385, 65536, 2**24 - 1):
            self.assertEqual(self.new().read(frame(DATA, length)[:9], 0), FRAME_SIZE_ERROR)
        self.assertEqual(self.new().read(frame(DATA, 16384)[:9], 0), 0)

    def test_time(self) -> None:
        """What was taken comes back with the time."""
        meter = FrameMeter(100, Allowance(1, 1, 0), {1})
        meter.read(bytes(PREFACE), 0)
        self.assertEqual([meter.read(frame(PING, 8), now) for now in (0, 0, 5)], [0, ENHANCE_YOUR_CALM, 0])

    @given(
        st.lists(
            st.tuples(
                st.sampled_from((DATA, HEADERS, PING, CONTINUATION)), st.integers(0, 30), st.sampled_from((0, 1, 4))
            )
        ),
        st.lists(st.integers(1, 40), min_size=1),
    )
    def test_pieces(self, frames: list[tuple[int, int, int]], sizes: list[int]) -> None:
        """In whatever pieces the bytes come, the same frames are refused."""
        data = bytes(PREFACE) + b"".join(frame(*each) for each in frames)
        whole, parts = (FrameMeter(50, Allowance(5, 0, 0), {1}) for _ in range(2))
        refused = 0
        at, turn = 0, 0
        while at < len(data) and not refused:
            size = sizes[turn % len(sizes)]
            refused = parts.read(data[at : at + size], 0)
            at, turn = at + size, turn + 1
        self.assertEqual(refused, whole.read(data, 0))
