"""Tests of gateway.upstreams.discovery."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.names import dns
from twisted.names.error import DNSNameError, DNSQueryTimeoutError, DNSServerError
from twisted.trial.unittest import SynchronousTestCase

from gateway.upstreams import discovery
from gateway.upstreams.discovery import LONGEST, MOST, TIMEOUT, Discovery, Found, Place

HOST = "core.internal"
SERVICE = "_http._tcp.core.internal"


class Names:
    """A resolver that knows what a test says."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, int], Any] = {}
        self.asked = 0
        self.waiting: list[Deferred[Any]] = []

    def has(self, name: str, *records: Any, ttl: int = 60) -> None:
        """From now on the name has these records, and no others of its kinds."""
        for kind in {record.TYPE for record in records} or {dns.A, dns.AAAA, dns.SRV}:
            answers = [record for record in records if kind == record.TYPE]
            self.known[name, kind] = [dns.RRHeader(name, kind, ttl=ttl, payload=record) for record in answers]

    def query(self, query: dns.Query) -> Deferred[Any]:
        """An answer, a failure, or, for a name that was given None, nothing yet."""
        self.asked += 1
        known = self.known.get((query.name.name.decode(), query.type), DNSNameError())
        if known is None:
            self.waiting.append(Deferred())
            return self.waiting[-1]
        return fail(known) if isinstance(known, Exception) else succeed((known, [], []))


def addresses(*several: str) -> list[Any]:
    """Records of a host."""
    return [dns.Record_AAAA(each) if ":" in each else dns.Record_A(each) for each in several]


class DiscoveryCase(SynchronousTestCase):
    """One upstream, on a clock, whose delays are as long as they must be."""

    url = f"dns://{HOST}:3002"

    def setUp(self) -> None:
        self.clock = Clock()
        self.names = Names()
        self.local: dict[str, list[str]] = {}
        self.told: list[list[Found]] = []
        self.patch(discovery, "random", lambda: 0.0)
        self.log = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)  # type: ignore[arg-type]
        place = Place.of(self.url)
        resolver: Any = self.names
        self.discovery = Discovery(
            "core", place, resolver, lambda name: self.local.get(name, []), self.clock, self.told.append
        )

    def has(self, *several: str, ttl: int = 60) -> None:
        """The host has these addresses now."""
        self.names.has(HOST, *addresses(*several), ttl=ttl)

    def said(self) -> list[str]:
        """What was logged."""
        return [event["log_format"].format(**event) for event in self.log]

    def found(self) -> list[str]:
        """The addresses that were told last."""
        return [each.address for each in self.told[-1]]

    def asks_after(self, seconds: float) -> None:
        """The next question is asked after so many seconds, and not before."""
        asked = self.names.asked
        self.clock.advance(seconds - 0.1)
        self.assertEqual(self.names.asked, asked)
        self.clock.advance(0.1)
        self.assertGreater(self.names.asked, asked)


class PlaceTests(SynchronousTestCase):
    """What a URL says."""

    def test_urls(self) -> None:
        """What is asked for, and the URL that an instance would have in the configuration."""
        for url, expected, called in (
            ("dns://core.internal:3002", ("core.internal", False, False, 3002), "http://core.internal:3002"),
            ("dns+https://core.internal", ("core.internal", False, True, None), "https://core.internal"),
            ("srv://_http._tcp.core.internal", (SERVICE, True, False, None), "http://core.internal:81"),
            ("srv+https://core.service", ("core.service", True, True, None), "https://core.service:81"),
            ("srv://_core", ("_core", True, False, None), "http://_core:81"),
        ):
            place = Place.of(url)
            self.assertEqual(place, expected)
            self.assertEqual(place.url(Found("192.0.2.1", 81)), called)


class HostTests(DiscoveryCase):
    """The addresses of a name."""

    def test_all_are_instances(self) -> None:
        """Those of both kinds, on the one port, as soon as it has started."""
        self.has("192.0.2.2", "2001:db8::1", "192.0.2.1")
        self.assertFalse(self.discovery.resolved)
        self.discovery.start()
        self.assertEqual(self.told, [[Found(each, 3002) for each in ("192.0.2.1", "192.0.2.2", "2001:db8::1")]])
        self.assertTrue(self.discovery.resolved)

    def test_usual_ports(self) -> None:
        """Those of the scheme, where none is named."""
        for self.url, port in ((f"dns://{HOST}", 80), (f"dns+https://{HOST}", 443)):
            self.setUp()
            self.has("192.0.2.1")
            self.discovery.start()
            self.assertEqual(self.told, [[Found("192.0.2.1", port)]])

    def test_again_when_they_expire(self) -> None:
        """The one that expires first says when."""
        self.has("192.0.2.1", "2001:db8::1", ttl=60)
        self.names.known[HOST, dns.A][0].ttl = 20
        self.discovery.start()
        self.asks_after(20)

    def test_alias(self) -> None:
        """Addresses behind another name count, and expire with what led to them."""
        self.has("192.0.2.1")
        alias = dns.RRHeader(HOST, dns.CNAME, ttl=5, payload=dns.Record_CNAME("other.internal"))
        self.names.known[HOST, dns.A].insert(0, alias)
        self.discovery.start()
        self.assertEqual(self.found(), ["192.0.2.1"])
        self.asks_after(5)

    def test_not_all_at_once(self) -> None:
        """A little later than that, each gateway at its own time."""
        self.patch(discovery, "random", lambda: 0.5)
        self.has("192.0.2.1", ttl=100)
        self.discovery.start()
        self.asks_after(105)

    def test_bounds(self) -> None:
        """Neither all the time nor hardly ever."""
        for ttl, seconds in ((0, 1), (86400, LONGEST)):
            self.setUp()
            self.has("192.0.2.1", ttl=ttl)
            self.discovery.start()
            self.asks_after(seconds)

    def test_changes(self) -> None:
        """Are told, and logged; what stays as it is is neither."""
        self.has("192.0.2.1", "192.0.2.2")
        self.discovery.start()
        self.clock.advance(60)
        self.has("192.0.2.3", "192.0.2.2")
        self.clock.advance(60)
        self.assertEqual(self.found(), ["192.0.2.2", "192.0.2.3"])
        self.assertEqual(
            self.said(),
            [
                "core: 2 of 2 instances; joined: 192.0.2.1:3002, 192.0.2.2:3002; left: none",
                "core: 2 of 2 instances; joined: 192.0.2.3:3002; left: 192.0.2.1:3002",
            ],
        )

    def test_too_many(self) -> None:
        """The first ones are taken."""
        self.has(*(f"10.0.{number // 200}.{number % 200}" for number in range(MOST + 10)))
        self.discovery.start()
        self.assertEqual(len(self.told[0]), MOST)
        self.assertIn(f"core: {MOST} of {MOST + 10} instances;", self.said()[0])

    def test_local_names(self) -> None:
        """What the system has a list of is not asked for, and soon looked up again."""
        self.local[HOST] = ["127.0.0.2", "127.0.0.2"]
        self.discovery.start()
        self.local[HOST] = ["127.0.0.3"]
        self.clock.advance(10)
        self.assertEqual((self.told, self.names.asked), ([[Found("127.0.0.2", 3002)], [Found("127.0.0.3", 3002)]], 0))


class FailureTests(DiscoveryCase):
    """Answers that cannot be had."""

    def test_what_is_known_is_kept(self) -> None:
        """Whether the name is gone, has no address, or nobody answers: nothing is told, and it is tried again soon."""
        answers: tuple[Any, ...] = (DNSNameError(), [], DNSServerError(), DNSQueryTimeoutError(1))
        for answer in answers:
            self.setUp()
            self.has("192.0.2.1")
            self.discovery.start()
            self.names.known = {(HOST, kind): answer for kind in (dns.A, dns.AAAA)}
            self.clock.advance(60)
            self.assertEqual((len(self.told), self.discovery.resolved), (1, True))
            self.asks_after(1)

    def test_one_kind_alone(self) -> None:
        """Addresses of the kind that cannot be had stay; those of the other change."""
        self.has("192.0.2.1", "2001:db8::1")
        self.discovery.start()
        self.has("192.0.2.2")
        self.names.known[HOST, dns.AAAA] = DNSServerError()
        self.clock.advance(60)
        self.assertEqual(self.found(), ["192.0.2.2", "2001:db8::1"])
        self.names.known[HOST, dns.AAAA] = DNSNameError()
        self.clock.advance(1)
        self.assertEqual(self.found(), ["192.0.2.2"])

    def test_never_any(self) -> None:
        """It is not resolved until there is an answer; it is asked more and more rarely."""
        self.discovery.start()
        for seconds in (1, 2, 5, 10, 30, 30):
            self.asks_after(seconds)
        self.assertFalse(self.discovery.resolved)
        self.has("192.0.2.1")
        self.clock.advance(30)
        self.assertTrue(self.discovery.resolved)

    def test_logged_once(self) -> None:
        """When it begins, with the reason, and when it is over."""
        self.names.known[HOST, dns.A] = DNSServerError("oh")
        self.discovery.start()
        self.clock.pump([1, 2, 5])
        self.has("192.0.2.1")
        self.clock.advance(10)
        failed = "core: core.internal could not be resolved, what is known is kept: DNSServerError oh"
        joined = "core: 1 of 1 instances; joined: 192.0.2.1:3002; left: none"
        self.assertEqual(self.said(), [failed, joined, "core: core.internal is resolved again"])
        self.has()
        self.clock.advance(60)
        self.assertEqual(self.said()[3:], [failed.replace("DNSServerError oh", "core.internal has no addresses")])

    def test_no_end(self) -> None:
        """A look-up that takes too long is given up."""
        self.names.known[HOST, dns.A] = None
        self.discovery.start()
        self.clock.advance(TIMEOUT)
        self.assertIn("TimeoutError", self.said()[0])
        self.has("192.0.2.1")
        self.clock.advance(1)
        self.assertEqual(self.found(), ["192.0.2.1"])

    def test_stop(self) -> None:
        """Nothing is asked any more, and what was is not waited for."""
        self.names.known[HOST, dns.A] = None
        self.discovery.start()
        self.discovery.stop()
        self.assertEqual((self.clock.getDelayedCalls(), self.said()), ([], []))
        self.has("192.0.2.1")
        self.discovery.start()
        self.discovery.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_before_the_start(self) -> None:
        """Does nothing."""
        self.discovery.stop()
        self.assertEqual(self.names.asked, 0)


class ServiceTests(DiscoveryCase):
    """The targets of a service."""

    url = f"srv://{SERVICE}"

    def setUp(self) -> None:
        super().setUp()
        for name, several in (("a.internal", ["192.0.2.1"]), ("b.internal", ["192.0.2.2", "2001:db8::2"])):
            self.names.has(name, *addresses(*several), ttl=60)

    def targets(self, *several: tuple[int, int, int, str]) -> None:
        """The service has these: priority, weight, port, name."""
        self.names.has(SERVICE, *(dns.Record_SRV(*target) for target in several), ttl=60)

    def test_targets(self) -> None:
        """Each with its port; its addresses share its weight."""
        self.targets((1, 3, 81, "a.internal"), (1, 4, 82, "b.internal"))
        self.discovery.start()
        expected = [Found("192.0.2.1", 81, 3.0, 1), Found("192.0.2.2", 82, 2.0, 1), Found("2001:db8::2", 82, 2.0, 1)]
        self.assertEqual(self.told, [expected])

    def test_weights_alone(self) -> None:
        """Are a change, too."""
        self.targets((1, 3, 81, "a.internal"))
        self.discovery.start()
        self.targets((1, 5, 81, "a.internal"))
        self.clock.advance(60)
        self.assertEqual(self.told[1:], [[Found("192.0.2.1", 81, 5.0, 1)]])

    def test_weight_of_nothing(self) -> None:
        """Is a little one."""
        self.targets((1, 0, 81, "a.internal"), (1, 10, 82, "a.internal"))
        self.discovery.start()
        self.assertEqual(self.told, [[Found("192.0.2.1", 81, 0.1, 1), Found("192.0.2.1", 82, 10.0, 1)]])

    def test_priorities(self) -> None:
        """All are told, the best first; an instance that is there twice has the better one."""
        self.targets(
            *((1, 1, 81, "gone.internal"), (3, 1, 83, "b.internal"), (2, 1, 82, "a.internal"), (4, 9, 82, "a.internal"))
        )
        self.discovery.start()
        self.assertEqual(
            self.told,
            [[Found("192.0.2.1", 82, 1.0, 2), Found("192.0.2.2", 83, 0.5, 3), Found("2001:db8::2", 83, 0.5, 3)]],
        )

    def test_too_many(self) -> None:
        """The best ones are taken."""
        names = [f"t{number}.internal" for number in range(MOST)]
        for number, name in enumerate(names):
            self.names.has(name, *addresses(f"198.51.100.{number}"))
        self.targets(*((2, 1, 81, name) for name in names[1:]), (1, 1, 81, names[0]), (1, 1, 82, "a.internal"))
        self.discovery.start()
        self.assertEqual([each.priority for each in self.told[0]], [1, 1] + [2] * (MOST - 2))

    def test_none(self) -> None:
        """A service that says it is not there, and one whose targets have no address or no port."""
        for targets in ([(0, 0, 0, "")], [(0, 1, 81, "gone.internal")], [(0, 1, 0, "a.internal")], []):
            self.setUp()
            self.targets(*targets)
            self.discovery.start()
            self.assertEqual((self.told, self.discovery.resolved), ([], False))

    def test_a_bounded_number_of_questions(self) -> None:
        """So many at a time, however many targets there are."""
        self.targets(*((1, 1, 81, f"t{number}.internal") for number in range(1000)))
        for number in range(1000):
            self.names.known[f"t{number}.internal", dns.A] = None
            self.names.known[f"t{number}.internal", dns.AAAA] = None
        self.discovery.start()
        self.assertEqual(len(self.names.waiting), 8)
        for waiting in self.names.waiting:
            waiting.callback(([], [], []))
        self.assertEqual(self.names.asked, 1 + MOST * 2)
