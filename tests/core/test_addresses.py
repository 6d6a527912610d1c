"""Tests of gateway.core.addresses."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.addresses import Networks, bucket, client_address, enclosing, normal

PRIVATE = Networks([ip_network("10.0.0.0/8"), ip_network("fd00::/8"), ip_network("192.0.2.7/32")])

addresses = st.ip_addresses().map(str)
networks = st.builds(
    lambda address, length: (
        ip_network((int(address), length % (address.max_prefixlen + 1)), strict=False)
        if address.version == 4
        else ip_network((address, length), strict=False)
    ),
    st.ip_addresses(),
    st.integers(0, 128),
)


class NetworksTests(SynchronousTestCase):
    def test_empty_is_falsy(self) -> None:
        """A set without networks is falsy and contains nothing."""
        self.assertFalse(Networks())
        self.assertNotIn("10.0.0.1", Networks())

    def test_members(self) -> None:
        """Addresses of both families are found in their networks, and only there."""
        self.assertTrue(PRIVATE)
        for address in ("10.0.0.0", "10.255.255.255", "192.0.2.7", "fd00::1", "FD12:0::9", "fdff::"):
            self.assertIn(address, PRIVATE)
        for address in ("11.0.0.0", "9.255.255.255", "192.0.2.8", "fc00::1", "fe80::1", "::", "::10.0.0.1"):
            self.assertNotIn(address, PRIVATE)

    def test_everything(self) -> None:
        """A prefix of no bits holds its whole family, and not the other."""
        everything = Networks([ip_network("0.0.0.0/0")])
        self.assertIn("255.255.255.255", everything)
        self.assertNotIn("::1", everything)

    def test_ipv4_mapped_address(self) -> None:
        """An IPv4-mapped IPv6 address is the IPv4 address it maps."""
        self.assertIn("::ffff:10.1.2.3", PRIVATE)
        self.assertIn("::ffff:a01:203", PRIVATE)

    def test_ipv4_mapped_network(self) -> None:
        """A network of IPv4-mapped addresses is the IPv4 network it maps; a wider IPv6 one holds no IPv4."""
        mapped = Networks([ip_network("::ffff:10.0.0.0/104")])
        self.assertIn("10.1.2.3", mapped)
        self.assertIn("10.200.2.3", mapped)
        self.assertNotIn("11.0.0.0", mapped)
        self.assertIn("10.1.2.3", Networks([ip_network("::ffff:10.1.2.3/128")]))
        self.assertIn("255.1.2.3", Networks([ip_network("::ffff:0:0/96")]))
        self.assertNotIn("10.1.2.3", Networks([ip_network("::/64")]))

    def test_zone(self) -> None:
        """The zone of a link-local address does not count."""
        self.assertIn("fe80::1%eth0", Networks([ip_network("fe80::/10")]))

    def test_no_address(self) -> None:
        """What is no address is in no network."""
        for text in ("", "unknown", "10.0.0", "10.0.0.1 ", "010.0.0.1"):
            self.assertNotIn(text, Networks([ip_network("0.0.0.0/0"), ip_network("::/0")]))

    @given(st.lists(networks, max_size=5), st.ip_addresses())
    def test_like_ipaddress(self, some: list[object], address: IPv4Address | IPv6Address) -> None:
        """Membership is the standard library's, except for IPv4-mapped addresses."""
        if getattr(address, "ipv4_mapped", None) is not None:
            return
        expected = any(address in network for network in some)  # type: ignore[operator]
        self.assertEqual(str(address) in Networks(some), expected)  # type: ignore[arg-type]


class NormalTests(SynchronousTestCase):
    def test_one_spelling(self) -> None:
        """All spellings of an address become one."""
        self.assertEqual(normal("2001:DB8:0:0::1"), "2001:db8::1")
        self.assertEqual(normal("::ffff:192.0.2.1"), "192.0.2.1")
        self.assertEqual(normal("fe80::1%eth0"), "fe80::1")
        self.assertEqual(normal("192.0.2.1"), "192.0.2.1")

    def test_no_address(self) -> None:
        """What is no address stays what it is."""
        self.assertEqual(normal(""), "")
        self.assertEqual(normal("/run/gateway.sock"), "/run/gateway.sock")


class ClientAddressTests(SynchronousTestCase):
    def client(self, forwarded_for: bytes | None, peer: str = "10.0.0.1") -> str:
        return client_address(peer, forwarded_for, PRIVATE)

    def test_no_field(self) -> None:
        """Without X-Forwarded-For the peer is the client, trusted or not."""
        self.assertEqual(self.client(None), "10.0.0.1")
        self.assertEqual(self.client(None, "::ffff:198.51.100.1"), "198.51.100.1")

    def test_untrusted_peer(self) -> None:
        """What an untrusted peer says is discarded."""
        self.assertEqual(self.client(b"1.2.3.4", "198.51.100.1"), "198.51.100.1")
        self.assertEqual(client_address("10.0.0.1", b"1.2.3.4", Networks()), "10.0.0.1")

    def test_unix_peer(self) -> None:
        """A peer without an address is not trusted."""
        self.assertEqual(self.client(b"1.2.3.4", ""), "")

    def test_one_proxy(self) -> None:
        """A trusted peer is believed about the address it appended."""
        self.assertEqual(self.client(b"198.51.100.1"), "198.51.100.1")
        self.assertEqual(self.client(b"198.51.100.1", "::ffff:10.0.0.1"), "198.51.100.1")

    def test_forged_entries(self) -> None:
        """Entries left of the rightmost untrusted one are the client's own words."""
        self.assertEqual(self.client(b"10.9.9.9, 1.2.3.4, 198.51.100.1"), "198.51.100.1")

    def test_chain(self) -> None:
        """Trusted proxies in a row are walked over."""
        self.assertEqual(self.client(b"1.2.3.4,198.51.100.1,\t10.0.0.3 , fd00::2"), "198.51.100.1")

    def test_all_trusted(self) -> None:
        """When all are trusted, the one that began is the client."""
        self.assertEqual(self.client(b"10.0.0.9, 10.0.0.3"), "10.0.0.9")

    def test_malformed_stops(self) -> None:
        """An entry that is no address ends the walk: the last good address is the client."""
        for bad in (
            b"", b"unknown", b"_hidden", b"198.51.100", b"198.51.100.1:", b"198.51.100.1:x", b"198.51.100.1:123456",
            b"[2001:db8::1", b"[2001:db8::1]x", b"[2001:db8::1]:x", b"[198.51.100.1]", b"2001:db8::1%eth0",
            b"[2001:db8::1]x80", b"[2001:db8::1].80",
            b"\xff", b"\xb2.1.1.1", b"198.51.100.1:\xb2", b'"198.51.100.1"', b"1" * 65, b"010.0.0.1",
        ):  # fmt: skip
            self.assertEqual(self.client(b"198.51.100.1, " + bad + b", 10.0.0.3"), "10.0.0.3", bad)

    def test_empty_field(self) -> None:
        """An empty field leaves the peer as the client."""
        self.assertEqual(self.client(b""), "10.0.0.1")

    def test_spellings(self) -> None:
        """Ports and brackets are tolerated, and IPv4-mapped addresses are normalised."""
        for entry, address in (
            (b"198.51.100.1:4", "198.51.100.1"),
            (b"198.51.100.1:54711", "198.51.100.1"),
            (b"[2001:db8::1]:443", "2001:db8::1"),
            (b"[2001:DB8::1]", "2001:db8::1"),
            (b"2001:db8::1", "2001:db8::1"),
            (b"::ffff:198.51.100.1", "198.51.100.1"),
            (b"[::ffff:c633:6401]:80", "198.51.100.1"),
        ):
            self.assertEqual(self.client(entry), address)

    @given(st.binary(max_size=80))
    def test_any_bytes(self, forwarded_for: bytes) -> None:
        """Whatever is forwarded, the client is a valid address in its normal spelling."""
        client = self.client(forwarded_for)
        self.assertEqual(str(ip_address(client)), client)

    @given(st.lists(addresses, max_size=4), st.ip_addresses(v=4, network="198.51.100.0/24"), st.integers(0, 5))
    def test_nothing_left_of_the_client_counts(self, forged: list[str], client: IPv4Address, proxies: int) -> None:
        """However many entries a client forges, and however many trusted proxies follow, it is found."""
        chain = [*forged, str(client), *["10.0.0.2"] * proxies]
        self.assertEqual(self.client(", ".join(chain).encode()), str(client))


class BucketTests(SynchronousTestCase):
    def test_ipv4(self) -> None:
        """An IPv4 address is counted alone, IPv4-mapped too."""
        self.assertEqual(bucket("192.0.2.1"), "192.0.2.1")
        self.assertEqual(bucket("::ffff:192.0.2.1"), "192.0.2.1")

    def test_ipv6(self) -> None:
        """An IPv6 address is counted with its /56."""
        self.assertEqual(bucket("2001:db8:1:2ff::1"), "2001:db8:1:200::/56")
        self.assertEqual(bucket("2001:db8:1:200:ffff::"), "2001:db8:1:200::/56")
        self.assertEqual(bucket("2001:db8:1:300::1"), "2001:db8:1:300::/56")

    def test_no_address(self) -> None:
        """What is no address is its own bucket."""
        self.assertEqual(bucket(""), "")


class EnclosingTests(SynchronousTestCase):
    def test_networks(self) -> None:
        """The network of so many bits around an address."""
        self.assertEqual(enclosing("192.0.2.77", 24, 56), "192.0.2.0/24")
        self.assertEqual(enclosing("::ffff:192.0.2.77", 31, 56), "192.0.2.76/31")
        self.assertEqual(enclosing("2001:db8:1:2ff::1", 24, 48), "2001:db8:1::/48")
        self.assertEqual(enclosing("2001:db8::1", 24, 128), "2001:db8::1/128")
