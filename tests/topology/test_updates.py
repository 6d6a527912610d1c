"""Rolling updates: one gateway after the other, and nobody loses a request by it."""

from __future__ import annotations

import signal
import time

from tests.faults.platform import bearer
from tests.integration.processes import wait_for
from tests.topology.case import TopologyCase, note
from tests.topology.held import CUT, Held, held_stream
from tests.topology.platform import DRAIN

SHUTDOWN_DELAY = 4.0
"""Seconds of ``server.shutdown_delay`` in packaging/topology/smartgate.toml."""


class UpdateTests(TopologyCase):
    """While clients ask on connections they keep, on new ones, and with POST."""

    def open(self) -> tuple[list[Held], list[Held]]:
        """WebSockets and event streams on every gateway."""
        sockets = self.sockets(6)
        streams = [self.held(held_stream(self.platform.events())) for _ in range(6)]
        wait_for(lambda: all(each.pieces for each in (*sockets, *streams)), "all of them flow")
        return sockets, streams

    def ended(self, held: list[Held], code: int, begun: list[float], earliest: float, latest: float) -> None:
        """All of it has ended in this way, so long after its gateway was told to go."""
        wait_for(lambda: all(each.ended for each in held), "all of it has ended", 20)
        after = [each.ended - max(moment for moment in begun if moment < each.ended) for each in held]
        self.assertEqual({each.code for each in held}, {code}, str(after))
        self.assertGreater(min(after), earliest - 0.5)
        self.assertLess(max(after), latest)
        note(f"    ended with {code or 'a cut'} {min(after):.1f} to {max(after):.1f} s after its gateway was told")

    def test_reload(self) -> None:
        """A new configuration, gateway by gateway: nothing fails, and what is open has the time to drain."""
        sockets, streams = self.open()
        text = self.platform.config.read_text()
        self.platform.config.write_text(f'{text}\n[security_headers]\nX-Release = "2"\n')
        begun = []
        with self.loads() as (kept, new, post):
            for gateway in self.platform.gateways:
                (before,), _ = gateway.generation()
                gateway.process.child.send_signal(signal.SIGHUP)
                wait_for(lambda: "retiring" in gateway.generation()[1], "the next generation serves", 60)  # noqa: B023
                begun.append(time.monotonic())
                alone = ({before + 1}, {"serving"})
                wait_for(lambda: gateway.generation() == alone, "it serves alone", 30)  # noqa: B023
        for load in (kept, new, post):
            self.assertEqual(set(load.statuses()), {200})
        self.told("reload of three gateways, connections kept, new, POST", kept, new, post)
        self.ended(sockets, 1012, begun, DRAIN, 2 * DRAIN + 1)
        self.ended(streams, CUT, begun, DRAIN, 2 * DRAIN + 1)
        with self.platform.connect() as client:
            client.send(f"GET /api/users HTTP/1.1\r\nHost: a\r\n{bearer('x')}\r\n\r\n".encode())
            self.assertEqual(client.answer().values("X-Release"), ["2"])

    def test_restart(self) -> None:
        """Each machine is stopped and started again, as for an upgrade of its system; the balancer is told nothing."""
        sockets, streams = self.open()
        begun = []
        with self.loads() as (kept, new, post):
            for number, gateway in enumerate(self.platform.gateways, 1):
                begun.append(time.monotonic())
                gateway.process.child.terminate()
                self.assertEqual(gateway.process.child.wait(30), 0)
                self.assertNotIn(number, self.platform.up())
                gateway.process.stop()
                gateway.start()
                wait_for(lambda: self.platform.up() == {1, 2, 3}, "it is used again", 40)
        for load in (kept, new, post):
            self.assertEqual(set(load.statuses()), {200})
        self.told("restart of three gateways, connections kept, new, POST", kept, new, post)
        note(f"    {(time.monotonic() - begun[0]) / 3:.1f} s for each")
        self.ended(sockets, 1012, begun, SHUTDOWN_DELAY, SHUTDOWN_DELAY + DRAIN + 1)
        self.ended(streams, CUT, begun, SHUTDOWN_DELAY + DRAIN, SHUTDOWN_DELAY + DRAIN + 1)

    def test_taken_out(self) -> None:
        """An administrator takes a gateway out at the balancer: it gets nothing new, and what it has goes on."""
        (held,) = self.sockets(1)
        with self.platform.load("kept") as load:
            for number in (1, 2, 3):
                for balancer in ("first", "second"):
                    self.platform.haproxy(f"set server gateways/gateway-{number} state drain", balancer)
                time.sleep(0.5)
                before = self.gateway(number).metric("smartgate_requests_total")
                time.sleep(1)
                # The balancers' own probes go on.
                self.assertLess(self.gateway(number).metric("smartgate_requests_total") - before, 8)
                for balancer in ("first", "second"):
                    self.platform.haproxy(f"set server gateways/gateway-{number} state ready", balancer)
        self.assertEqual(set(load.statuses()), {200})
        self.assertEqual(held.ended, 0)
        self.told("taken out at the balancer, one after the other", load)
