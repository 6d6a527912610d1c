"""Tests of two WebSocket connections joined, over transports in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.frames import NO_CODE
from gateway.resources import bridges
from gateway.resources.bridge import CONTROLS, OWN_PING, Bridge
from gateway.resources.bridges import CLOSE_TIMEOUT, Bridges
from tests.resources.wires import BINARY, CLOSE, PING, PONG, TEXT, Frame, Wire, close, code, frame, frames, wrapped

LIMIT = 1000


class BridgeCase(SynchronousTestCase):
    """A bridge between two wires, with a ping after 30 idle seconds and messages of 1000 bytes at most."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.bridges = Bridges(self.clock, LIMIT, 30)
        self.over: list[Bridge] = []
        self.client, self.upstream = Wire(), Wire()
        self.bridge = self.bridges.join(self.client, self.upstream, self.over.append)

    def code_logged(self) -> int:
        """The code that the bridge gives for its end."""
        assert self.bridge.ending is not None
        return self.bridge.ending.code


class PassingTests(BridgeCase):
    """What goes by."""

    def test_frames_pass_as_they_came(self) -> None:
        """Text, binary, fragments, pings and pongs reach the other side byte by byte, masks included."""
        for masked, sender, receiver in ((True, self.client, self.upstream), (False, self.upstream, self.client)):
            for data in (
                frame(TEXT, b"hello", masked),
                frame(BINARY, bytes(range(256)), masked),
                frame(TEXT, b"one", masked, final=False) + frame(0, b"two", masked),
                frame(PING, b"?", masked),
                frame(PONG, b"!", masked),
                frame(TEXT, b"\xff not UTF-8: the receiver's verdict", masked),
            ):
                sender.receive(data)
                self.assertEqual(receiver.taken(), data)

    def test_frame_may_come_in_pieces(self) -> None:
        """A byte at a time, everything arrives."""
        data = frame(BINARY, bytes(300), masked=True)
        for index in range(len(data)):
            self.client.receive(data[index : index + 1])
        self.assertEqual(self.upstream.taken(), data)

    def test_received_bytes_are_counted(self) -> None:
        """Each side knows how much came, headers included."""
        self.client.receive(frame(TEXT, b"hello", masked=True))
        self.upstream.receive(frame(TEXT, b"hello"))
        self.assertEqual((self.bridge.client.received, self.bridge.upstream.received), (11, 7))

    def test_wrapped_transports(self) -> None:
        """A TLS connection, which wraps its transport, is joined as well."""
        client, upstream = Wire(), Wire()
        self.bridges.join(wrapped(client), wrapped(upstream), self.over.append)
        client.receive(frame(TEXT, b"hello", masked=True))
        self.assertEqual(upstream.taken_frames(), [Frame(TEXT, b"hello", True, True)])


class BackPressureTests(BridgeCase):
    """A peer that reads slowly."""

    def test_slow_reader_pauses_the_other_side(self) -> None:
        """While one peer's buffer is full nothing is read from the other, in both directions."""
        for slow, source in ((self.client, self.upstream), (self.upstream, self.client)):
            slow.producer.pauseProducing()
            self.assertEqual((source.paused, slow.paused), (True, False))
            slow.producer.resumeProducing()
            self.assertFalse(source.paused)

    def test_resume_without_pause(self) -> None:
        """A transport that resumes what was never paused changes nothing."""
        self.client.producer.resumeProducing()
        self.assertFalse(self.upstream.paused)

    def test_transport_that_stops_its_producer(self) -> None:
        """It means that the connection is lost, which is told separately."""
        self.client.producer.stopProducing()
        self.assertEqual(self.over, [])

    def test_closing_reads_on(self) -> None:
        """A bridge that is closed reads from both peers again: their close frames must be seen."""
        self.client.producer.pauseProducing()
        self.bridges.close_all()
        self.assertFalse(self.upstream.paused)
        self.client.producer.pauseProducing()  # the close frame did not fit either
        self.assertFalse(self.upstream.paused)

    def test_lost_slow_reader(self) -> None:
        """When the slow peer is gone the other one is read again."""
        self.client.producer.pauseProducing()
        self.client.lose()
        self.assertFalse(self.upstream.paused)


class ClosingTests(BridgeCase):
    """Peers that close."""

    def test_client_closes(self) -> None:
        """Its code reaches the upstream and the answer comes back; the gateway ends the client's connection."""
        self.client.receive(close(3001, b"bye", masked=True))
        self.assertEqual(self.upstream.taken(), close(3001, b"bye", masked=True))
        self.assertFalse(self.client.half_closed)
        self.upstream.receive(close(3001, b"bye"))
        self.assertEqual(self.client.taken(), close(3001, b"bye"))
        self.assertTrue(self.client.half_closed)
        self.assertFalse(self.upstream.half_closed)  # servers end their connections themselves
        self.upstream.lose()
        self.client.lose()
        self.assertEqual((self.over, self.code_logged()), ([self.bridge], 3001))
        self.assertEqual((self.client.taken(), self.upstream.taken()), (b"", b""))

    def test_upstream_closes(self) -> None:
        """The same the other way round."""
        self.upstream.receive(close(1000))
        self.assertEqual(self.client.taken(), close(1000))
        self.client.receive(close(1000, masked=True))
        self.assertEqual(self.upstream.taken(), close(1000, masked=True))
        self.assertTrue(self.client.half_closed)
        self.client.lose()
        self.assertEqual(self.over, [])
        self.upstream.lose()
        self.assertEqual((self.over, self.code_logged()), ([self.bridge], 1000))

    def test_close_frame_without_a_code(self) -> None:
        """It passes as it is, and is logged as 1005."""
        self.client.receive(frame(CLOSE, masked=True))
        self.assertEqual(self.upstream.taken_frames(), [Frame(CLOSE, b"", True, True)])
        self.assertEqual(self.code_logged(), NO_CODE)

    def test_both_close_at_once(self) -> None:
        """Each gets the other's close frame, and nothing after it."""
        self.client.receive(close(3001, masked=True))
        self.upstream.receive(close(3002))
        self.assertEqual(list(map(code, self.upstream.taken_frames())), [3001])
        self.assertEqual(list(map(code, self.client.taken_frames())), [3002])
        self.assertTrue(self.client.half_closed)
        self.assertEqual(self.code_logged(), 3001)

    def test_nothing_passes_after_a_close_frame(self) -> None:
        """What a peer sends after its close frame goes nowhere."""
        self.client.receive(close(1000, masked=True) + frame(TEXT, b"late", masked=True))
        self.client.receive(frame(TEXT, b"later", masked=True))
        self.assertEqual(list(map(code, self.upstream.taken_frames())), [1000])

    def test_messages_still_come_until_the_answer(self) -> None:
        """A peer that has not closed yet may finish what it was saying."""
        self.client.receive(close(1000, masked=True))
        self.upstream.receive(frame(TEXT, b"last words") + close(1000))
        self.assertEqual([found.opcode for found in self.client.taken_frames()], [TEXT, CLOSE])

    def test_peer_that_never_answers_is_cut(self) -> None:
        """Five seconds after the first close frame both connections are cut."""
        self.client.receive(close(1000, masked=True))
        self.clock.advance(CLOSE_TIMEOUT - 0.1)
        self.assertFalse(self.upstream.aborted)
        self.clock.advance(0.2)
        self.assertTrue(self.upstream.aborted and self.client.aborted)

    def test_client_of_a_wrapped_transport(self) -> None:
        """TLS has no half-closed connections: the client's is closed."""
        client, upstream = Wire(), Wire()
        self.bridges.join(wrapped(client), upstream, self.over.append)
        client.receive(close(1000, masked=True))
        upstream.receive(close(1000))
        self.assertTrue(client.disconnecting)


class LostTests(BridgeCase):
    """Connections that end without a close frame."""

    def test_client_is_lost(self) -> None:
        """The upstream is told that it goes away, and so is the log."""
        self.client.lose()
        [farewell] = self.upstream.taken_frames()
        self.assertEqual((code(farewell), farewell.masked), (1001, True))
        self.upstream.receive(close(1000))
        self.upstream.lose()
        self.assertEqual((self.over, self.code_logged()), ([self.bridge], 1001))

    def test_upstream_is_lost(self) -> None:
        """The client is told to try again later, and its connection is ended when it has answered."""
        self.upstream.lose()
        [farewell] = self.client.taken_frames()
        self.assertEqual((code(farewell), farewell.masked), (1013, False))
        self.client.receive(close(1000, masked=True))
        self.assertTrue(self.client.half_closed)
        self.client.lose()
        self.assertEqual((self.over, self.code_logged()), ([self.bridge], 1013))

    def test_peer_that_does_not_notice_is_cut(self) -> None:
        """The other side has five seconds to end as well."""
        self.upstream.lose()
        self.clock.advance(CLOSE_TIMEOUT)
        self.assertTrue(self.client.aborted)
        self.assertFalse(self.upstream.aborted)

    def test_lost_within_a_frame(self) -> None:
        """Half a frame is never made to look whole: the other connection is cut."""
        self.upstream.receive(frame(BINARY, bytes(500))[:100])
        self.upstream.lose()
        self.assertTrue(self.client.aborted)
        self.assertEqual(len(self.client.taken()), 100)
        self.client.lose()
        self.assertEqual((self.over, self.code_logged()), ([self.bridge], 1013))

    def test_lost_within_a_header(self) -> None:
        """Nothing of that frame has passed, so there is room for a close frame."""
        self.upstream.receive(frame(BINARY, bytes(500))[:3])
        self.upstream.lose()
        self.assertEqual(list(map(code, self.client.taken_frames())), [1013])

    def test_lost_after_its_close_frame(self) -> None:
        """The close frame went by, and no second one follows."""
        self.upstream.receive(close(1000))
        self.upstream.lose()
        self.assertEqual(list(map(code, self.client.taken_frames())), [1000])
        self.client.receive(close(1000, masked=True))
        self.assertTrue(self.client.half_closed)

    def test_answer_to_one_who_is_gone(self) -> None:
        """What a peer still says goes nowhere."""
        self.client.receive(close(1000, masked=True))
        self.client.lose()
        self.upstream.receive(frame(TEXT, b"late") + close(1000))
        self.upstream.lose()
        self.assertEqual(self.over, [self.bridge])


class BreakingTests(BridgeCase):
    """Peers that break a rule."""

    def test_client_breaks_the_protocol(self) -> None:
        """Its frame goes no further, the upstream hears that it is gone, and it gets 1002."""
        self.client.receive(frame(TEXT, b"not masked"))
        self.assertEqual(list(map(code, self.upstream.taken_frames())), [1001])
        self.upstream.receive(close(1001))
        self.assertEqual(list(map(code, self.client.taken_frames())), [1002])
        self.assertTrue(self.client.half_closed)
        self.assertFalse(self.upstream.half_closed)
        self.assertEqual(self.code_logged(), 1002)

    def test_upstream_breaks_the_protocol(self) -> None:
        """It gets 1002, and the client 1013."""
        self.upstream.receive(frame(TEXT, b"masked", masked=True))
        self.assertEqual(list(map(code, self.client.taken_frames())), [1013])
        self.client.receive(close(1013, masked=True))
        [farewell] = self.upstream.taken_frames()
        self.assertEqual((code(farewell), farewell.masked), (1002, True))
        self.assertTrue(self.upstream.half_closed and self.client.half_closed)
        self.assertEqual(self.code_logged(), 1002)

    def test_what_came_before_is_answered_first(self) -> None:
        """As without a gateway, the answers to right messages arrive before the verdict on a wrong one."""
        self.client.receive(frame(TEXT, b"right", masked=True) + frame(TEXT, b"not masked"))
        self.upstream.receive(frame(TEXT, b"answer"))
        self.upstream.receive(frame(TEXT, b"more") + close(1001))
        *answers, verdict = self.client.taken_frames()
        self.assertEqual([found.payload for found in answers], [b"answer", b"more"])
        self.assertEqual(code(verdict), 1002)

    def test_upstream_that_does_not_answer_the_loss(self) -> None:
        """Nobody waits for it longer than for any close frame."""
        self.client.receive(frame(TEXT, b"not masked"))
        self.clock.advance(CLOSE_TIMEOUT)
        self.assertTrue(self.client.aborted and self.upstream.aborted)

    def test_upstream_is_lost_meanwhile(self) -> None:
        """Then the verdict comes at once, and is still the client's own."""
        self.client.receive(frame(TEXT, b"not masked"))
        self.upstream.lose()
        self.assertEqual(list(map(code, self.client.taken_frames())), [1002])
        self.assertTrue(self.client.half_closed)

    def test_upstream_was_lost_before(self) -> None:
        """The client has been told so, and breaks a rule instead of answering."""
        self.upstream.lose()
        self.client.receive(frame(TEXT, b"not masked"))
        self.assertEqual(list(map(code, self.client.taken_frames())), [1013])
        self.assertTrue(self.client.half_closed)

    def test_both_break_the_protocol(self) -> None:
        """Each hears of its own fault."""
        self.client.receive(frame(TEXT, b"not masked"))
        self.upstream.taken()
        self.upstream.receive(frame(TEXT, b"masked", masked=True))
        self.assertEqual(list(map(code, self.client.taken_frames())), [1002])
        self.assertTrue(self.client.half_closed and self.upstream.half_closed)

    def test_message_over_the_limit(self) -> None:
        """1009, and nothing of the frame that is too much has passed."""
        self.client.receive(frame(BINARY, bytes(LIMIT), masked=True))
        self.upstream.taken()
        self.client.receive(frame(BINARY, bytes(LIMIT + 1), masked=True)[:8])
        self.assertEqual(list(map(code, self.upstream.taken_frames())), [1001])
        self.upstream.receive(close(1001))
        self.assertEqual(list(map(code, self.client.taken_frames())), [1009])

    def test_fragments_over_the_limit(self) -> None:
        """Fragments count together."""
        self.upstream.receive(frame(BINARY, bytes(600), final=False) + frame(0, bytes(401)))
        self.assertEqual([found.opcode for found in self.client.taken_frames()], [BINARY, CLOSE])
        self.client.receive(close(1013, masked=True))
        self.assertEqual(list(map(code, self.upstream.taken_frames())), [1009])

    def test_what_follows_is_read_and_dropped(self) -> None:
        """The rest of a broken peer's bytes goes nowhere, but is taken, so that no reset overtakes the close frame."""
        self.client.receive(frame(TEXT, b"not masked"))
        self.upstream.receive(close(1001))
        self.upstream.taken()
        self.client.receive(frame(TEXT, b"masked", masked=True) * 100)
        self.assertEqual(self.upstream.taken(), b"")
        self.assertFalse(self.client.aborted or self.client.paused)

    def test_rule_broken_while_closing(self) -> None:
        """One who breaks a rule instead of answering a close frame is not waited for."""
        self.bridges.close_all()
        self.client.receive(frame(TEXT, b"not masked"))
        self.assertTrue(self.client.half_closed)
        self.assertEqual(self.code_logged(), 1012)
        self.assertEqual(len(self.client.taken_frames()), 1)

    def test_rule_broken_instead_of_answering(self) -> None:
        """The same when it is the other peer that closes."""
        self.upstream.receive(close(1000))
        self.client.receive(frame(TEXT, b"not masked"))
        self.assertEqual(list(map(code, self.client.taken_frames())), [1000])
        self.assertEqual(list(map(code, self.upstream.taken_frames())), [1001])
        self.assertTrue(self.client.half_closed)

    def test_stop_while_the_verdict_waits(self) -> None:
        """A gateway that stops still tells the broken peer what it broke."""
        self.client.receive(frame(TEXT, b"not masked"))
        self.bridges.close_all()
        self.assertEqual(list(map(code, self.client.taken_frames())), [1002])

    def test_close_code_that_may_not_be_sent(self) -> None:
        """It is not passed on: 1002."""
        self.client.receive(close(1006, masked=True))
        self.assertEqual(list(map(code, self.upstream.taken_frames())), [1001])
        self.upstream.receive(close(1001))
        self.assertEqual(list(map(code, self.client.taken_frames())), [1002])


class OwnClosingTests(BridgeCase):
    """Bridges that the gateway closes."""

    def test_token_expires(self) -> None:
        """1008 for the client, 1001 for the upstream, when the time has come."""
        self.bridge.expire_in(60)
        self.alive(59.9)
        self.assertEqual((self.client.taken(), self.upstream.taken()), (b"", b""))
        self.clock.advance(0.2)
        self.assertEqual(list(map(code, self.client.taken_frames())), [1008])
        self.assertEqual(list(map(code, self.upstream.taken_frames())), [1001])
        self.client.receive(close(1008, masked=True))
        self.upstream.receive(close(1001))
        self.client.lose()
        self.upstream.lose()
        self.assertEqual((self.over, self.code_logged()), ([self.bridge], 1008))

    def test_expiry_of_an_ended_bridge(self) -> None:
        """A socket that is gone leaves no timer behind."""
        self.bridge.expire_in(3600)
        self.client.lose()
        self.upstream.lose()
        self.clock.advance(60)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close_waits_for_the_frame_under_way(self) -> None:
        """A close frame never stands within another frame, and nothing follows it."""
        data = frame(BINARY, bytes(500))
        self.upstream.receive(data[:100])
        self.bridges.close_all()
        self.assertEqual(self.client.taken(), data[:100])
        self.bridges.close_all()  # once is enough
        self.upstream.receive(data[100:] + frame(TEXT, b"late"))
        whole = data[:100] + self.client.taken()
        self.assertEqual(whole[: len(data)], data)
        self.assertEqual(list(map(code, frames(whole[len(data) :]))), [1012])

    def test_close_frame_of_the_peer_after_the_frame_under_way(self) -> None:
        """When the peer closes right behind that frame, the gateway's own close frame still is the only one."""
        data = frame(BINARY, bytes(500))
        self.upstream.receive(data[:100])
        self.bridges.close_all()
        self.client.taken()
        self.upstream.receive(data[100:] + close(1000))
        self.assertEqual(self.client.taken().count(b"\x88"), 1)

    def test_frame_under_way_that_is_never_finished(self) -> None:
        """The close timeout ends it."""
        self.upstream.receive(frame(BINARY, bytes(500))[:100])
        self.bridges.close_all()
        self.clock.advance(CLOSE_TIMEOUT)
        self.assertTrue(self.client.aborted and self.upstream.aborted)

    def alive(self, seconds: float) -> None:
        """Time passes, and both peers answer each ping."""
        for _ in range(int(seconds * 10)):
            self.clock.advance(0.1)
            for masked, wire in ((True, self.client), (False, self.upstream)):
                for found in wire.taken_frames():
                    wire.receive(frame(PONG, found.payload, masked))


class IdleTests(BridgeCase):
    """Silence, and peers that are gone without a word."""

    def pings(self, wire: Wire) -> list[Frame]:
        """The pings that were written."""
        return [found for found in wire.taken_frames() if found.opcode == PING]

    def test_silent_peers_are_pinged(self) -> None:
        """After 30 s of silence, half as much again at most; a client's frame is not masked, an upstream's is."""
        self.clock.pump([1] * 29)
        self.assertEqual((self.pings(self.client), self.pings(self.upstream)), ([], []))
        self.clock.pump([1] * 16)
        self.assertEqual(self.pings(self.client), [Frame(PING, OWN_PING, False, True)])
        self.assertEqual(self.pings(self.upstream), [Frame(PING, OWN_PING, True, True)])

    def test_own_pong_goes_no_further(self) -> None:
        """The answer to the gateway's ping keeps its connection alive, and the other peer never sees it."""
        for _ in range(300):
            self.clock.advance(1)
            for masked, wire in ((True, self.client), (False, self.upstream)):
                for found in wire.taken_frames():
                    self.assertEqual(found.opcode, PING)
                    wire.receive(frame(PONG, found.payload, masked))
        self.assertFalse(self.client.aborted or self.upstream.aborted)

    def test_dead_peer(self) -> None:
        """One who does not answer within 30 s is cut, and the other is told."""
        for _ in range(76):
            self.clock.advance(1)
            self.upstream.receive(frame(PONG))
        self.assertTrue(self.client.aborted)
        self.client.lose()
        self.assertEqual(list(map(code, self.upstream.taken_frames())), [1001])

    def test_peer_that_talks_is_not_pinged(self) -> None:
        """Any byte is a sign of life."""
        for _ in range(100):
            self.clock.advance(1)
            self.client.receive(frame(TEXT, b"a", masked=True))
        self.assertEqual(self.pings(self.client), [])
        self.assertFalse(self.client.aborted)

    def test_peer_that_takes_what_it_is_sent_is_alive(self) -> None:
        """A transport that has room again is one, too."""
        for _ in range(10):
            self.clock.advance(10)
            self.client.producer.pauseProducing()
            self.client.producer.resumeProducing()
        self.assertEqual(self.pings(self.client), [])

    def test_peer_that_is_not_read_from_is_not_judged(self) -> None:
        """The silence of one who is paused, because the other reads slowly, says nothing."""
        self.upstream.producer.pauseProducing()
        for _ in range(100):
            self.clock.advance(1)
            self.upstream.receive(frame(PONG))
        self.assertEqual(self.pings(self.client), [])
        self.assertFalse(self.client.aborted)

    def test_no_ping_within_a_frame(self) -> None:
        """While a frame passes to a peer it cannot be pinged, so it is not taken for dead either."""
        data = frame(BINARY, bytes(500))
        self.upstream.receive(data[:100])
        for index in range(200):
            self.clock.advance(1)
            self.upstream.receive(data[100 + index : 101 + index])
        self.assertEqual(self.client.taken(), data[:300])
        self.assertFalse(self.client.aborted)
        self.upstream.receive(data[300:])
        self.clock.pump([1] * 15)
        self.assertEqual(self.client.taken(), data[300:] + frame(PING, OWN_PING))

    def test_closing_bridge_is_not_pinged(self) -> None:
        """Nothing follows a close frame."""
        self.clock.pump([1] * 42)
        self.bridges.close_all()
        self.client.taken()
        self.clock.pump([1] * 4)  # the ping was due within these
        self.assertEqual(self.client.taken(), b"")

    def test_pings_can_be_turned_off(self) -> None:
        """With 0 nobody is pinged, and nobody is dead."""
        client: Any = Wire()
        clock = Clock()
        Bridges(clock, LIMIT, 0).join(client, Wire(), self.over.append)
        clock.advance(10_000)
        self.assertEqual((client.taken(), client.aborted), (b"", False))


class AbuseTests(BridgeCase):
    """Peers that send too fast, or do not read."""

    def setUp(self) -> None:
        super().setUp()
        self.bridges.max_messages = 3

    def test_too_many_messages(self) -> None:
        """The client gets 1008, the upstream what came before and that its client goes."""
        self.client.receive(frame(TEXT, b"x", masked=True) * 4)
        *passed, end = self.upstream.taken_frames()
        self.assertEqual(([each.payload for each in passed], code(end)), ([b"x"] * 3, 1001))
        self.upstream.receive(close(1001))
        self.assertEqual([code(each) for each in self.client.taken_frames()], [1008])
        self.assertEqual(self.code_logged(), 1008)

    def test_messages_over_time(self) -> None:
        """As many are allowed in the next second."""
        for _ in range(5):
            self.client.receive(frame(TEXT, b"x", masked=True) * 3)
            self.clock.advance(1)
        self.assertEqual(len(self.upstream.taken_frames()), 15)

    def test_pings(self) -> None:
        """A flood of them ends with 1008; a few are no flood."""
        self.client.receive(frame(PING, b"", masked=True) * CONTROLS)
        self.assertEqual(len(self.upstream.taken_frames()), CONTROLS)
        self.client.receive(frame(PING, b"", masked=True))
        self.assertEqual(([code(each) for each in self.upstream.taken_frames()], self.code_logged()), ([1001], 1008))

    def test_an_upstream_may_send_as_it_likes(self) -> None:
        """It is the platform's own."""
        self.upstream.receive(frame(TEXT, b"x") * 1000 + frame(PING) * 1000)
        self.assertEqual(len(self.client.taken_frames()), 2000)

    def test_a_client_that_takes_nothing(self) -> None:
        """It is cut after half a minute, whatever it sends meanwhile; the upstream hears that it is gone."""
        self.bridge.client.pauseProducing()
        for _ in range(29):
            self.clock.advance(1)
            self.client.receive(frame(TEXT, b"x", masked=True))
        self.assertFalse(self.client.aborted)
        self.clock.advance(1)
        self.assertTrue(self.client.aborted)
        self.client.lose()
        self.assertEqual(code(self.upstream.taken_frames()[-1]), 1001)

    def test_a_client_that_takes_little(self) -> None:
        """As long as it is 240 bytes a second it is waited for."""
        left = 20_000
        self.patch(bridges, "unsent", lambda _: left)
        self.bridge.client.pauseProducing()
        for _ in range(60):
            left -= 240
            self.clock.advance(1)
            self.client.receive(frame(PONG, OWN_PING, masked=True))
        self.assertFalse(self.client.aborted)
        left += 1
        self.clock.pump([1] * 30)
        self.assertTrue(self.client.aborted)

    def test_a_client_that_reads_again(self) -> None:
        """What was held against it is forgotten, and nothing is left of it."""
        self.bridge.client.pauseProducing()
        self.clock.advance(29)
        self.bridge.client.resumeProducing()
        self.clock.advance(2)
        self.assertFalse(self.client.aborted)
        self.assertEqual(self.bridges._paces, {})

    def test_a_slow_client_that_leaves(self) -> None:
        """Nobody looks at it any longer."""
        self.bridge.client.pauseProducing()
        self.client.lose()
        self.clock.advance(31)
        self.assertFalse(self.client.aborted)
        self.assertEqual(self.bridges._paces, {})
