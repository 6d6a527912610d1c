"""Bans on the whole gateway: who is banned, what banned clients get, and what becomes of their connections."""

from __future__ import annotations

from typing import Any

from gateway.http.site import FAREWELL
from gateway.store.strikes import GATHERED
from gateway.wiring.bans import EVICTION
from tests.test_tap import UPGRADE, GatewayCase, frames

CLIENT = "203.0.113.5"
PROXY = "10.0.0.1"


class BanningTests(GatewayCase):
    """A gateway with one route that asks for a token, and one that does not."""

    def go(self, **bans: Any) -> None:
        self.start(
            {"auth": "required"},
            {"prefix": "/open", "rate_limit": False},
            {"prefix": "/ws", "websocket": True, "rate_limit": False},
            bans={"threshold": 5, **bans},
            server={"trusted_proxies": [PROXY]},
        )

    def strike(self, times: int = 5, *lines: str, peer: str = CLIENT) -> None:
        """Send requests that are refused."""
        for _ in range(times):
            self.send(*lines, peer=peer)
        self.reactor.advance(GATHERED)
        self.reactor.advance(EVICTION)

    def cut(self, peer: str = CLIENT) -> bool:
        """Whether a new connection is cut as it comes."""
        return self.connect(peer=peer).aborted

    def metric(self, name: str) -> float | None:
        return self.gateway._metrics.registry.get_sample_value(f"smartgate_{name}")

    def test_banned(self) -> None:
        """Who collects refusals is cut; others are not."""
        self.go()
        self.strike(4)
        self.assertFalse(self.cut())
        self.strike(1)
        self.assertTrue(self.cut())
        self.assertFalse(self.cut("203.0.113.6"))

    def test_ends(self) -> None:
        """After its time the client is served again."""
        self.go(time="10s")
        self.strike()
        self.reactor.advance(10)
        self.assertEqual(self.status(start="GET /open", peer=CLIENT), 200)

    def test_behind_a_proxy(self) -> None:
        """Behind a trusted proxy a banned client gets 403 at every path, and the others their answers."""
        self.go()
        self.strike(5, f"X-Forwarded-For: {CLIENT}", peer=PROXY)
        for start in ("GET /open", "GET /api/x", "GET /health", "GET /nowhere"):
            self.assertEqual(self.status(f"X-Forwarded-For: {CLIENT}", start=start, peer=PROXY), 403, start)
        self.assertEqual(self.status("X-Forwarded-For: 203.0.113.6", start="GET /open", peer=PROXY), 200)
        self.assertFalse(self.cut(PROXY))

    def test_answer(self) -> None:
        """The 403 says so, and when to come again; it does not prolong the ban."""
        self.go(answer="403")
        self.strike()
        got = self.ask(peer=CLIENT)
        self.assertIn(b'{"code":"BANNED"', got)
        self.assertIn(b"\r\nRetry-After: 300\r\n", got)
        self.strike(20)
        self.assertEqual(self.metric("bans_made_total"), 1)

    def test_malformed(self) -> None:
        """One malformed request weighs as much as five others."""
        self.go()
        self.strike(1, "Host: twice")
        self.assertTrue(self.cut())

    def test_upstream(self) -> None:
        """A 401 of an upstream counts, as for a password that was guessed wrong; a 403 does not."""
        self.go()
        refusal = b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n"
        for status in (403, 401):
            self.assertFalse(self.cut())
            for _ in range(5):
                self.ask(start="POST /open/login", answer=refusal % status, peer=CLIENT)
            self.reactor.advance(GATHERED)
        self.assertTrue(self.cut())

    def test_private(self) -> None:
        """Nobody in a private network is banned: it may be a proxy that nobody told us of."""
        self.go()
        self.strike(peer="192.168.1.1")
        self.assertFalse(self.cut("192.168.1.1"))

    def test_allow(self) -> None:
        """Who is never banned is for the configuration to say."""
        self.go(allow=[CLIENT])
        self.strike(peer="192.168.1.1")
        self.strike()
        self.assertEqual((self.cut("192.168.1.1"), self.cut()), (True, False))

    def test_off(self) -> None:
        """Without bans nobody is banned, by hand neither."""
        self.go(enabled=False)
        self.strike(20)
        self.gateway._records.put(f"ban:{CLIENT}", "by hand")
        self.assertFalse(self.cut())
        self.assertIsNone(self.metric("bans"))

    def test_by_hand_only(self) -> None:
        """With a threshold of 0 only people ban."""
        self.go(threshold=0)
        self.strike(20)
        self.assertFalse(self.cut())
        self.gateway._records.put(f"ban:{CLIENT}", "by hand")
        self.assertTrue(self.cut())

    def test_idle_connection(self) -> None:
        """A connection of a banned client is closed when it is idle; those of others stay."""
        self.go()
        idle, other = self.connect(peer=CLIENT), self.connect(peer="203.0.113.6")
        self.strike()
        self.assertEqual((idle.disconnecting, other.disconnecting), (True, False))

    def test_exchange(self) -> None:
        """One in an exchange is closed after it."""
        self.go()
        client = self.send(start="GET /open", peer=CLIENT)
        upstream = self.upstream()
        self.strike()
        upstream.protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self.assertIn(b"\r\nConnection: close\r\n", client.value())
        self.assertTrue(client.half_closed)

    def test_long_exchange(self) -> None:
        """An exchange that goes on is cut, behind a trusted proxy, too; those of others go on."""
        self.go()
        whom = ((CLIENT, CLIENT), (PROXY, CLIENT), (PROXY, "203.0.113.6"))
        clients = [self.send(f"X-Forwarded-For: {address}", start="GET /open", peer=peer) for peer, address in whom]
        self.strike()
        self.reactor.advance(FAREWELL)
        self.assertEqual([client.aborted for client in clients], [True, True, False])

    def test_ended_exchange(self) -> None:
        """A connection that has ended by itself is left alone."""
        self.go()
        client = self.send(start="GET /open", peer=CLIENT)
        self.strike()
        client.lost()
        self.reactor.advance(FAREWELL)
        self.assertFalse(client.aborted)

    def test_websocket(self) -> None:
        """A WebSocket of a banned client is closed with 1008; those of others stay open."""
        self.go()
        client, _ = self.open_websocket(start="GET /ws", peer=CLIENT)
        other, _ = self.open_websocket(start="GET /ws", peer="203.0.113.6")
        self.strike()
        self.assertEqual(frames(client.value())[2:4], (1008).to_bytes(2, "big"))
        self.assertEqual(frames(other.value()), b"")
        self.reactor.advance(FAREWELL - 1)
        self.assertFalse(client.aborted)

    def test_websocket_handshake(self) -> None:
        """A banned client opens none."""
        self.go(answer="403")
        self.strike()
        self.assertEqual(self.status(*UPGRADE, start="GET /ws", peer=CLIENT), 403)

    def test_metrics(self) -> None:
        """Bans and what they kept out are counted."""
        self.go()
        self.strike()
        self.cut()
        self.cut()
        names = ("bans", "bans_made_total", "banned_connections_total")
        self.assertEqual([self.metric(name) for name in names], [1, 1, 2])

    def test_stopped(self) -> None:
        """With the gateway its timers end: of refusals that gather, of bans that end, of connections to be closed."""
        self.go()
        self.send(peer=CLIENT)
        self.gateway._records.put("ban:192.0.2.1", "")
        before = len(self.reactor.getDelayedCalls())
        for _ in range(2):
            self.gateway._banning.close()  # type: ignore[union-attr]
        self.assertEqual(before - len(self.reactor.getDelayedCalls()), 3)
