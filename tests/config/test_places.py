"""Tests of gateway.config.places and gateway.config.words."""

from __future__ import annotations

from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from gateway.config import places, words
from gateway.core.paths import normalize
from tests.config.reading import Reading


class PlaceTests(Reading):
    """Addresses, URLs and paths."""

    def test_networks(self) -> None:
        """A network, or an address for itself; bits behind the prefix are a slip, and the network meant is named."""
        self.assertEqual(places.network("10.0.0.0/8"), ip_network("10.0.0.0/8"))
        self.assertEqual(places.network("::1"), ip_network("::1/128"))
        self.assertEqual(places.network(ip_network("::/0")), ip_network("::/0"))
        self.refuses(places.network, "10.0.0.0/33", "localhost", 10, None)
        self.assertIn('"10.0.0.0/8"', str(self.assertRaises(ValueError, places.network, "10.1.2.3/8")))

    def test_instances(self) -> None:
        """An instance is a scheme, a host and a port."""
        self.takes(places.instance, "http://core-service:3002", "https://[::1]:443", "http://a_b.example")
        self.refuses(
            places.instance, "core:3002", "ftp://a:1", "http://a:1/", "http://a:1?", "http://a:1#", "http://u:p@a:1",
            "http://a:0", "http://a:70000", "http://a:x", "http://a:", "http://", "http://[::1", "http://[v1.x]:1",
            "http://a b", "http://ä", "http://a\r\nb", "http://-", "http://[a:b]:1", "",
        )  # fmt: skip

    def test_discover(self) -> None:
        """Instances are discovered by a host and a port, or by a service that has ports of its own."""
        self.takes(
            places.discover, "", "dns://core.internal:3002", "dns+https://core", "srv://_http._tcp.core.internal"
        )
        self.takes(places.discover, "srv+https://core.service")
        self.refuses(
            places.discover, "core", "dns:core", "https+dns://core", "dns+http://core", "dns://", "dns://core/", "dns://a?",
            "dns://a#", "dns://u@a", "dns://a:0", "srv://core:80", "dns://192.0.2.1", "dns://[::1]:80", "dns://a b",
        )  # fmt: skip

    def test_dns_servers(self) -> None:
        """A name server is an address, since nobody could look its name up."""
        self.takes(places.dns_server, "192.0.2.53", "127.0.0.1:5353", "[2001:db8::53]", "[2001:db8::53]:53")
        self.refuses(
            places.dns_server, "", "ns", "ns:53", "192.0.2.53:", "192.0.2.53:0", "192.0.2.53/", "192.0.2.53?", "::1",
            "192.0.2.53#", "dns://192.0.2.53", "u@192.0.2.53",
        )  # fmt: skip

    def test_origins(self) -> None:
        """An origin is written as browsers send it."""
        self.takes(places.origin, "*", "https://app.example.com", "http://localhost:5173")
        self.refuses(
            places.origin, "null", "https://a/", "https://A", "https://a:443", "http://a:80", "a", "https://a#"
        )

    def test_public_urls(self) -> None:
        """A public URL is absolute, and has no slash at its end."""
        self.assertEqual(places.public_url("https://api.example.com/gate/"), "https://api.example.com/gate")
        self.takes(places.public_url, "")
        self.refuses(places.public_url, "api.example.com", "/gate", "https://a?b", "https://a#b", "https://a?")

    def test_jwks_urls(self) -> None:
        """Keys come over https, or from this machine."""
        self.takes(places.jwks_url, "", "https://id.example.com/keys?x=1", "http://127.0.0.1:3001/k", "http://[::1]/k")
        self.takes(places.jwks_url, "http://localhost/k")
        self.refuses(places.jwks_url, "http://id.example.com/keys", "http://localhost.example/k", "file:///keys")

    def test_redis_urls(self) -> None:
        """A Redis URL has a host, perhaps a password and the number of a database."""
        self.takes(places.redis_url, "memory:", "redis://h", "redis://h:6379/0", "rediss://ann:pa%2Fss@[::1]:6379/15")
        self.refuses(
            places.redis_url, "", "h:6379", "redis://", "redis://h/x", "redis://h:0", "redis://h?db=1", "redis://:a/b@h",
            "memory", "http://h", "redis://h/1/2", "sentinel://h", "sentinel://h/m/x", "sentinel://h,/m",
            "sentinel://h/0/m", "sentinel://h:0/m",
        )  # fmt: skip
        self.takes(places.redis_url, "sentinel://h/m", "sentinel://:pw@h:26379,[::1]:7000,c/my-master/15")

    def test_several_redis_urls(self) -> None:
        """In a list or with commas; different servers, and none of them memory."""
        self.assertEqual(places.redis_urls("redis://a, sentinel://b,c/m"), "redis://a,sentinel://b,c/m")
        self.assertEqual(places.split_redis_urls("redis://a,sentinel://b,c/m"), ["redis://a", "sentinel://b,c/m"])
        self.assertEqual(places.redis_urls(["redis://a", "redis://b"]), "redis://a,redis://b")
        for wrong in ([], 1, [1], ["redis://a", "memory:"], "redis://a,memory:", "redis://:x@a,redis://:y@a", ["h"]):
            self.assertRaises(ValueError, places.redis_urls, wrong)

    def test_prefixes(self) -> None:
        """A prefix is a normal path without a slash at its end, and not one of the gateway's own."""
        self.takes(places.prefix, "/", "/api", "/api/users", "/a%25b", "/~x")
        self.refuses(
            places.prefix, "", "api", "/api/", "//", "/a//b", "/a/../b", "/a?b", "/a#b", "/%zz", "/a b", "/\ud800",
            "/ä", "/health", "/ready", "a/..", "/a%2Fb", "/a%5Cb",
        )  # fmt: skip
        self.assertIn('"/a-b"', str(self.assertRaises(ValueError, places.prefix, "/a%2Db")))

    @given(st.text(st.sampled_from("/.%2Fa~ ?#é"), max_size=12))
    def test_prefixes_are_normal(self, text: str) -> None:
        """Every prefix that is taken is what requests' paths are normalised to."""
        try:
            taken = places.prefix(text)
        except ValueError:
            return
        self.assertEqual(normalize(taken.encode()), taken.encode())
        self.assertNotIn("%2F", taken)

    def test_health_paths(self) -> None:
        """What is asked of an instance is a target."""
        self.takes(places.health_path, "/health", "/health?full=1")
        self.refuses(places.health_path, "health", "/a b", "/a#b", "")

    def test_server_names(self) -> None:
        """A host's name, without a port."""
        self.takes(places.server_name, "core.internal", "192.0.2.1", "")
        self.refuses(places.server_name, "core:443", "a b", "https://core")


class WordTests(Reading):
    """Names, and lists of them."""

    def test_fields(self) -> None:
        """A field's name is a token, and a security field says nothing about framing."""
        self.takes(words.token, "X-Request-ID")
        self.takes(words.security_name, "X-Frame-Options")
        self.refuses(words.token, "", "a b", "a:", "ä", "a\r\n")
        self.refuses(words.security_name, "Content-Length", "transfer-encoding", "a b")
        self.takes(words.key_header, "X-API-Key")
        self.refuses(words.key_header, "Authorization", "cookie", "Connection", "Content-Length", "x_user_id", "a b")

    def test_field_values(self) -> None:
        """A value cannot end its line."""
        self.takes(words.field_value, "", "0", "max-age=1; includeSubDomains")
        self.refuses(words.field_value, "a\r\nb", "a\n", " a", "a ", "ä", "\0")

    def test_subjects(self) -> None:
        """Whom a certificate names fits a line, and may have spaces."""
        self.takes(words.subject, "machine 1", "spiffe://example.com/x")
        self.refuses(words.subject, "", "a\nb", "x" * 256)

    def test_methods(self) -> None:
        """Methods are upper case."""
        self.takes(words.method_or_any, "GET", "M-SEARCH", "*")
        self.refuses(words.method_or_any, "get", "", "G T")
        self.refuses(words.method, "*")

    def test_names(self) -> None:
        """Roles, claims and upstreams have names that can be seen."""
        self.takes(words.name, "admin", "team:a")
        self.refuses(words.name, "", "a b", "a\n")
        self.takes(words.claim, "role", "https://example.com/role")
        self.refuses(words.claim, "", "a b", "a\n")
        self.takes(words.upstream_name, "core-service")
        self.refuses(words.upstream_name, "", "core service", '"', "-")
        self.takes(words.printable, "", "a b")
        self.refuses(words.printable, "a\n")

    def test_lists(self) -> None:
        """Lists may have to have something in them, and nothing twice."""
        self.assertEqual(words.several(("a", "b")), ("a", "b"))
        self.assertEqual(words.distinct(()), ())
        self.refuses(words.several, (), ("a", "a"))
