"""Tests of gateway.upstreams.resolver."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import TimeoutError as AnswerTimeout
from twisted.internet.testing import EventLoggingObserver, MemoryReactorClock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase

from gateway.upstreams import resolver
from gateway.upstreams.resolver import local_addresses, make_resolver


class FakeSocket:
    """A UDP socket without a network: it keeps where its datagrams went."""

    def __init__(self, sent: list[tuple[str, int]]) -> None:
        self._sent = sent

    def getsockname(self) -> tuple[str, int]:
        return "0.0.0.0", 4000

    def sendto(self, data: bytes, address: tuple[str, int]) -> int:
        self._sent.append(address)
        return len(data)

    def fileno(self) -> int:
        return 99

    def close(self) -> None:
        """There is nothing to close."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class ResolverTests(SynchronousTestCase):
    """Who is asked."""

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.sent: list[tuple[str, int]] = []
        self.patch(resolver._QuietPort, "createInternetSocket", lambda port: FakeSocket(self.sent))

    def ask(self, *servers: tuple[str, int]) -> None:
        """Look a name up, in vain."""
        asked: Any = make_resolver(self.reactor, servers)
        done = asked.query(dns.Query("core.internal", dns.A))
        self.reactor.pump([1] * 7 * len(servers or [None]))
        self.failureResultOf(done, AnswerTimeout)

    def test_servers(self) -> None:
        """Those that are named, in their order, three times."""
        self.ask(("192.0.2.53", 5353), ("192.0.2.54", 53))
        self.assertEqual(self.sent, [("192.0.2.53", 5353), ("192.0.2.54", 53)] * 3)

    def test_those_of_the_system(self) -> None:
        """Else those of resolv.conf."""
        path = Path(self.mktemp())
        path.write_text("nameserver 192.0.2.99\n")
        self.patch(resolver, "RESOLV_CONF", str(path))
        self.ask()
        self.assertEqual(set(self.sent), {("192.0.2.99", 53)})

    def test_quiet(self) -> None:
        """A question is not worth a line in the log."""
        log = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)  # type: ignore[arg-type]
        self.ask(("192.0.2.53", 53))
        self.assertEqual([event for event in log if event["log_level"] >= LogLevel.info], [])
        self.assertGreater(len(list(log)), 0)

    def test_local_addresses(self) -> None:
        """What hosts(5) says."""
        path = Path(self.mktemp())
        path.write_text("127.0.0.2 core core.internal # ours\n::2 core.internal\n")
        self.patch(resolver, "HOSTS", str(path))
        self.assertEqual(local_addresses("core.internal"), ["127.0.0.2", "::2"])
        self.assertEqual(local_addresses("auth"), [])
