"""Tests of all bridges together: how many they are, and how they are closed when the gateway stops."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway.resources.bridge import Bridge
from gateway.resources.bridges import CLOSE_TIMEOUT, CLOSED_PER_SECOND, Bridges
from tests.resources.wires import PING, Wire, close, code


class BridgesTests(SynchronousTestCase):
    """Some bridges, each between two wires."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.bridges = Bridges(self.clock, 1000, 30)
        self.wires: list[tuple[Wire, Wire]] = []
        self.over: list[Bridge] = []

    def join(self, count: int) -> None:
        for _ in range(count):
            pair = Wire(), Wire()
            self.wires.append(pair)
            self.bridges.join(*pair, self.over.append)

    def closed(self) -> int:
        """How many clients were sent a close frame."""
        return sum(1 for client, _ in self.wires if client.value())

    def test_open_bridges_are_counted(self) -> None:
        """A bridge counts until both its connections have ended."""
        self.join(3)
        self.assertEqual(len(self.bridges), 3)
        client, upstream = self.wires[0]
        client.lose()
        self.assertEqual(len(self.bridges), 3)
        upstream.lose()
        self.assertEqual((len(self.bridges), len(self.over)), (2, 1))

    def test_stopping_says_1012(self) -> None:
        """Clients are told to come back, upstreams that their clients go away."""
        self.join(2)
        self.bridges.close_all()
        for client, upstream in self.wires:
            self.assertEqual(list(map(code, client.taken_frames())), [1012])
            self.assertEqual(list(map(code, upstream.taken_frames())), [1001])

    def test_stopping_is_spread(self) -> None:
        """Over the time there is, evenly, so that not all clients connect again at once."""
        self.join(1000)
        self.bridges.close_all(1)
        self.assertEqual(self.closed(), 1)
        self.clock.advance(0.5)
        self.assertIn(self.closed(), range(499, 503))
        self.clock.advance(0.5)
        self.assertEqual(self.closed(), 1000)

    def test_few_bridges_need_not_take_long(self) -> None:
        """A few are closed at the usual pace, however much time there is."""
        self.join(10)
        self.bridges.close_all(3600)
        self.clock.advance(10 / CLOSED_PER_SECOND)
        self.assertEqual(self.closed(), 10)

    def test_bridge_that_ends_before_its_turn(self) -> None:
        """It is left alone, and its ending stays what it was."""
        self.join(2)
        self.bridges.close_all(3600)
        client, upstream = self.wires[1]
        client.receive(close(3000, masked=True))
        client.lose()
        upstream.lose()
        client.taken()
        self.clock.advance(10)
        self.assertEqual(client.taken(), b"")
        self.assertEqual([bridge.ending and bridge.ending.code for bridge in self.over], [3000])

    def test_nothing_to_close(self) -> None:
        """Stopping without a bridge is nothing."""
        self.bridges.close_all(10)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_late_bridge_is_closed_at_once(self) -> None:
        """An upgrade that was under way when the gateway was told to stop."""
        self.bridges.close_all(10)
        self.join(1)
        self.assertEqual(list(map(code, self.wires[0][0].taken_frames())), [1012])

    def test_close_timeout_runs_once(self) -> None:
        """It counts from the first close frame, whatever is sent after it."""
        self.join(1)
        client, upstream = self.wires[0]
        client.receive(close(1000, masked=True))
        self.clock.advance(CLOSE_TIMEOUT - 1)
        self.bridges.close_all()
        upstream.receive(close(1000))
        self.clock.advance(1)
        self.assertTrue(client.aborted and upstream.aborted)

    def test_ended_bridges_leave_no_timer(self) -> None:
        """When the last has ended, whatever was armed runs out."""
        self.join(5)
        for client, upstream in self.wires:
            client.receive(close(1000, masked=True))
            upstream.receive(close(1000))
            upstream.lose()
            client.lose()
        self.clock.pump([1] * 60)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertFalse(any(client.aborted or upstream.aborted for client, upstream in self.wires))

    def test_each_bridge_is_pinged_by_its_own_time(self) -> None:
        """One timer serves all, and each has its own period."""
        self.join(1)
        self.clock.pump([1] * 10)
        self.join(1)
        self.clock.pump([1] * 35)
        pinged = [[found.opcode for found in client.taken_frames()] for client, _ in self.wires]
        self.assertEqual(pinged, [[PING], []])
