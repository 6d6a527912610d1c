"""What refusals weigh, how bans last, and whom a list of them keeps out."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.addresses import Networks
from gateway.core.bans import WEIGHTS, Ban, BanList, Weights, ban_prefix, ban_time

NOW = 1_000_000.0
BAN = Ban(NOW, NOW + 60, "because", 1)


class WeightsTests(SynchronousTestCase):
    """What a refused request counts."""

    def test_own(self) -> None:
        """Refusals of the gateway count by their status; malformed requests more, and what is no refusal nothing."""
        weights = Weights(WEIGHTS)
        counted = {status: weights.of(status, False) for status in (200, 401, 403, 404, 413, 429, 502)}
        self.assertEqual(counted, {200: 0, 401: 1, 403: 1, 404: 0, 413: 0, 429: 1, 502: 0})
        malformed = [weights.of(status, False) for status in (400, 408, 414, 431, 501, 505)]
        self.assertEqual(malformed, [5] * 6)

    def test_upstream(self) -> None:
        """Of an upstream's answers only a 401 counts: a guessed password."""
        weights = Weights(WEIGHTS)
        self.assertEqual([weights.of(status, True) for status in (400, 401, 403, 429)], [0, 1, 0, 0])

    def test_configured(self) -> None:
        """Each weight can be another, or nothing."""
        weights = Weights(WEIGHTS | {"401": 7, "malformed": 0, "upstream_403": 2})
        self.assertEqual((weights.of(401, False), weights.of(400, False), weights.of(403, True)), (7, 0, 2))


class BanTimeTests(SynchronousTestCase):
    """How long bans last."""

    def test_doubles(self) -> None:
        """Each ban is twice as long as the one before."""
        self.assertEqual([ban_time(times, 300, 86400) for times in (1, 2, 3)], [300, 600, 1200])

    def test_longest(self) -> None:
        """No ban is longer than the longest, whatever the count."""
        self.assertEqual(ban_time(10**9, 300, 86400), 86400)


class BanTests(SynchronousTestCase):
    """What a record says."""

    def test_round_trip(self) -> None:
        """What was written is read, its end held against the reader's own clock."""
        self.assertEqual(Ban.load(BAN.dump(), NOW + 5, 55.0), BAN)

    def test_until_lifted(self) -> None:
        """A record that stays is a ban until it is lifted."""
        self.assertIsNone(Ban.load(Ban(NOW, None, "", 0).dump(), NOW, None).until)

    def test_by_hand(self) -> None:
        """A record that somebody wrote by hand is a ban as well: its text is the reason."""
        for text in ("scraper", "[]", "1", '{"since":"x","why":"","times":1}', '{"since":1,"why":"","times":1e999}'):
            self.assertEqual(Ban.load(text, NOW, 9.0), Ban(NOW, NOW + 9, text, 0))

    def test_long_reason(self) -> None:
        """A reason without end is cut."""
        self.assertEqual(Ban.load("x" * 100_000, NOW, None).why, "x" * 200)


class BanPrefixTests(SynchronousTestCase):
    """Who is banned with an address or a network."""

    def test_addresses(self) -> None:
        """An IPv4 address is banned alone, an IPv6 one with its subscriber's network."""
        self.assertEqual(ban_prefix("192.0.2.1", 56), "192.0.2.1")
        self.assertEqual(ban_prefix("::ffff:192.0.2.1", 56), "192.0.2.1")
        self.assertEqual(ban_prefix("2001:db8:0:123::1", 56), "2001:db8:0:100::/56")
        self.assertEqual(ban_prefix("2001:db8:0:123::1", 64), "2001:db8:0:123::/64")

    def test_networks(self) -> None:
        """A network is banned as it is."""
        self.assertEqual(ban_prefix("192.0.2.0/24", 56), "192.0.2.0/24")
        self.assertEqual(ban_prefix("192.0.2.1/32", 56), "192.0.2.1")
        self.assertEqual(ban_prefix("2001:DB8::/32", 56), "2001:db8::/32")

    def test_mapped(self) -> None:
        """IPv4 addresses in an IPv6 spelling are IPv4 addresses, alone and as a network."""
        for text, network in (("::ffff:192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.0/120", "192.0.2.0/24")):
            self.assertEqual(ban_prefix(text, 56), network)
        self.assertRaises(ValueError, ban_prefix, "::ffff:0.0.0.0/96", 56)

    def test_the_widest(self) -> None:
        """A /8 of IPv4 and a /16 of IPv6 may be meant; what is wider is a slip."""
        self.assertEqual([ban_prefix(text, 56) for text in ("10.0.0.0/8", "2001::/16")], ["10.0.0.0/8", "2001::/16"])
        for text in ("10.0.0.0/7", "2000::/15"):
            self.assertRaises(ValueError, ban_prefix, text, 56)

    def test_neither(self) -> None:
        """Anything else is refused, and so is half the Internet."""
        for text in ("", "everybody", "192.0.2.1/24", "0.0.0.0/0", "128.0.0.0/1", "2000::/3", "1/2/3"):
            self.assertRaises(ValueError, ban_prefix, text, 56)


class BanListTests(SynchronousTestCase):
    """Whom a list keeps out."""

    def setUp(self) -> None:
        """A list on which nobody is, with an office that never will be."""
        self.bans = BanList(Networks([ip_network("198.51.100.0/24")]), 56, most=3)

    def banned(self, address: str, now: float = NOW) -> bool:
        """Whether it is kept out."""
        return self.bans.find(address, now) is not None

    def test_nobody(self) -> None:
        """An empty list keeps nobody out."""
        self.assertFalse(self.banned("192.0.2.1"))

    def test_address(self) -> None:
        """A banned IPv4 address is kept out, and no other."""
        self.bans.put("192.0.2.1", BAN)
        self.assertEqual(self.bans.find("192.0.2.1", NOW), BAN)
        self.assertFalse(self.banned("192.0.2.2"))

    def test_subscriber(self) -> None:
        """All IPv6 addresses of a banned subscriber are kept out, and no others."""
        self.bans.put("2001:db8:0:100::/56", BAN)
        self.assertTrue(self.banned("2001:db8:0:1ff::1"))
        self.assertFalse(self.banned("2001:db8:0:200::1"))

    def test_wider_and_narrower(self) -> None:
        """Networks of any other size are found as well, until they are lifted."""
        for prefix in ("192.0.2.0/24", "2001:db8::/32", "2001:db9::1/128"):
            self.bans.put(prefix, BAN)
        self.assertTrue(self.banned("192.0.2.77") and self.banned("2001:db8:9::1") and self.banned("2001:db9::1"))
        self.assertFalse(self.banned("192.0.3.1") or self.banned("2001:db9::2"))
        self.bans.remove("192.0.2.0/24")
        self.assertFalse(self.banned("192.0.2.77"))
        self.assertTrue(self.banned("2001:db8:9::1"))

    def test_two_of_a_size(self) -> None:
        """When one of two networks of the same size is lifted, the other is found still."""
        self.bans.put("192.0.2.0/24", BAN)
        self.bans.put("203.0.113.0/24", BAN)
        self.bans.remove("192.0.2.0/24")
        self.assertFalse(self.banned("192.0.2.1"))
        self.assertTrue(self.banned("203.0.113.1"))

    def test_two_addresses(self) -> None:
        """A network of two addresses is no address."""
        self.bans.put("192.0.2.2/31", BAN)
        self.assertEqual([self.banned(f"192.0.2.{number}") for number in (1, 2, 3, 4)], [False, True, True, False])

    def test_nothing_to_lift(self) -> None:
        """A ban that is lifted twice, or never was, takes no other of its size with it."""
        self.bans.put("203.0.113.0/24", BAN)
        self.bans.remove("192.0.2.0/24")
        self.assertTrue(self.banned("203.0.113.1"))

    def test_end(self) -> None:
        """A ban ends by itself; a wider one that has not ended still holds."""
        self.bans.put("192.0.2.1", BAN)
        self.assertEqual([self.banned("192.0.2.1", NOW + after) for after in (59, 60, 61)], [True, False, False])
        self.bans.put("192.0.2.0/24", Ban(NOW, None, "", 0))
        self.assertTrue(self.banned("192.0.2.1", NOW + 60))

    def test_sweep(self) -> None:
        """Bans that have ended are forgotten."""
        self.bans.put("192.0.2.1", BAN)
        self.bans.put("192.0.2.2", Ban(NOW, None, "", 0))
        self.bans.sweep(NOW + 60)
        self.assertEqual(len(self.bans), 1)
        self.assertTrue(self.banned("192.0.2.2", NOW + 60))

    def test_exempt(self) -> None:
        """Who is exempt is not kept out, whatever is banned."""
        self.bans.put("198.51.0.0/16", BAN)
        self.assertFalse(self.banned("198.51.100.1"))
        self.assertTrue(self.banned("198.51.101.1"))

    def test_bounded(self) -> None:
        """One ban too many, and the first one is forgotten; one that is put again is no more than one."""
        for number in (1, 2, 2, 3, 4):
            self.bans.put(f"192.0.2.{number}", BAN)
        self.assertEqual([self.banned(f"192.0.2.{number}") for number in (1, 2, 3, 4)], [False, True, True, True])

    def test_no_network(self) -> None:
        """A prefix that is none is refused."""
        self.assertRaises(ValueError, self.bans.put, "someone", BAN)
        self.assertRaises(ValueError, self.bans.remove, "192.0.2.1/8")

    def test_no_address(self) -> None:
        """The peer of a Unix socket is nobody's address."""
        self.bans.put("192.0.2.1", BAN)
        self.bans.put("192.0.2.0/24", BAN)
        self.assertFalse(self.banned(""))

    @given(st.ip_addresses(), st.integers(0, 128), st.ip_addresses())
    def test_membership(self, address: object, length: int, other: object) -> None:
        """A list of one network keeps out exactly its addresses."""
        first, second = ip_address(str(address)), ip_address(str(other))
        network = ip_network((str(first), min(length, first.max_prefixlen)), strict=False)
        if first.version == 6 and (getattr(first, "ipv4_mapped", None) or int(first) >> 64 == 0):
            return
        bans = BanList(Networks(), 56)
        bans.put(str(network), BAN)
        self.assertIsNotNone(bans.find(str(first), NOW))
        if not getattr(second, "ipv4_mapped", None):
            self.assertEqual(bans.find(str(second), NOW) is not None, second in network)
