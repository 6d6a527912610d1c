"""The gateway as a real process that speaks TLS: certificates, who may connect, and what proxies say of clients."""

from __future__ import annotations

import atexit
import contextlib
import json
import socket
import ssl
import warnings
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any, NamedTuple

from cryptography import x509
from h2.connection import H2Connection
from h2.events import ResponseReceived
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority
from tests.integration.client import Answer, Client
from tests.integration.origin import Origin
from tests.integration.processes import Process, free_port, start_gateway, wait_for

CONFIG = """
access_log = {{ path = "{directory}/access.log" }}
redis = {{ url = "memory:" }}
jwt = {{ secret = "a-secret-of-at-least-thirty-two-bytes" }}
[server]
listen = [{listen}]
admin = "tcp:{admin}:interface=127.0.0.1"
workers = 0
head_timeout = "1s"
trusted_proxies = ["127.0.0.9"]
[rate_limit]
default = "unlimited"
roles = {{ service = 1000 }}
{tables}
[[upstreams]]
name = "core"
instances = ["http://127.0.0.1:{origin}"]
[[upstreams]]
name = "mutual"
instances = ["https://127.0.0.1:{mutual}"]
server_name = "core.internal"
ca_file = "{directory}/authorities.pem"
certificate_file = "{directory}/gateway-client.pem"
[[routes]]
prefix = "/open"
upstream = "core"
auth = "none"
[[routes]]
prefix = "/closed"
upstream = "core"
roles = ["service"]
[[routes]]
prefix = "/mutual"
upstream = "mutual"
auth = "none"
"""

MUTUAL = """
[tls]
client_auth = "{mode}"
ca_file = "{directory}/clients.pem"
crl_file = "{directory}/revoked.pem"
roles = {{ "machine-1" = "service" }}
"""

SERVERS, CLIENTS, STRANGERS = Authority("servers"), Authority("clients"), Authority("strangers")


class Platform(NamedTuple):
    """A gateway with its listeners, and what is behind it."""

    gateway: Process
    directory: Path
    tls: int
    proxied: int
    proxied_tls: int
    admin: int
    origin: Origin
    mutual: Origin


def started(tables: str, *kinds: str) -> Platform:
    """A gateway with some listeners of these kinds, ended with the tests."""
    place = TemporaryDirectory()
    atexit.register(place.cleanup)
    directory = Path(place.name)
    certificates = directory / "certificates"
    certificates.mkdir()
    for name, pem in (
        ("a.pem", SERVERS.certificate("a.example.com")),
        ("b.pem", SERVERS.certificate("b.example.com", "*.wild.example.com")),
    ):
        (certificates / name).write_bytes(pem)
    (directory / "clients.pem").write_bytes(CLIENTS.pem)
    (directory / "revoked.pem").write_bytes(CLIENTS.revocations(REVOKED))
    (directory / "authorities.pem").write_bytes(STRANGERS.pem + SERVERS.pem)
    (directory / "gateway-client.pem").write_bytes(CLIENTS.certificate("gateway"))
    (directory / "core.pem").write_bytes(SERVERS.certificate("core.internal"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(directory / "clients.pem"))
    context.load_cert_chain(directory / "core.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    origin, mutual = Origin(), Origin(context)
    tls, proxied, proxied_tls, admin = free_port(), free_port(), free_port(), free_port()
    listen = [
        f"tls:{certificates}:{tls}:interface=127.0.0.1",
        f"haproxy:tcp:{proxied}:interface=127.0.0.1",
        f"haproxy:tls:{certificates}:{proxied_tls}:interface=127.0.0.1",
    ]
    config = CONFIG.format(
        directory=directory,
        listen=json.dumps(listen)[1:-1],
        admin=admin,
        origin=origin.port,
        mutual=mutual.port,
        tables=tables.format(directory=directory),
    )
    gateway = start_gateway(config, tls)
    atexit.register(gateway.stop)
    return Platform(gateway, directory, tls, proxied, proxied_tls, admin, origin, mutual)


REVOKED = CLIENTS.certificate("machine-1")


@cache
def plain() -> Platform:
    """One that asks no client for a certificate."""
    return started("")


@cache
def optional() -> Platform:
    """One that takes a certificate."""
    return started(MUTUAL.replace("{mode}", "optional"))


@cache
def required() -> Platform:
    """One that wants a certificate."""
    return started(MUTUAL.replace("{mode}", "required"))


def context(certificate: bytes = b"", **limits: Any) -> ssl.SSLContext:
    """A client's side, which trusts the authority of the gateway's certificates."""
    made = ssl.create_default_context(cadata=SERVERS.pem.decode())
    for name, value in limits.items():
        setattr(made, name, value)
    if certificate:
        with TemporaryDirectory() as directory:
            path = Path(directory) / "own.pem"
            path.write_bytes(certificate)
            made.load_cert_chain(path)
    return made


class TLSClient(Client):
    """One that speaks TLS, behind what it sends first in the clear."""

    def __init__(
        self,
        port: int,
        name: str | None = "a.example.com",
        security: ssl.SSLContext | None = None,
        first: bytes = b"",
        source: str = "127.0.0.1",
    ) -> None:
        super().__init__(port, source)
        self.send(first)
        security = security or context()
        security.check_hostname = name is not None
        try:
            self.socket = self.secure = security.wrap_socket(self.socket, server_hostname=name)
        except BaseException:
            self.socket.close()
            raise

    def ask(self, path: str = "/open", *lines: str) -> Answer:
        """The answer to one request."""
        head = "\r\n".join((f"GET {path} HTTP/1.1", "Host: a.example.com", *lines, "", ""))
        self.send(head.encode())
        return self.answer()

    def serial(self) -> int:
        """The number of the certificate that the gateway showed."""
        return x509.load_der_x509_certificate(self.secure.getpeercert(True) or b"").serial_number


def serial(pem: bytes) -> int:
    """The number of a certificate."""
    return x509.load_pem_x509_certificate(pem).serial_number


def metrics(platform: Platform) -> str:
    """All that the gateway counts."""
    with Client(platform.admin) as client:
        client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return client.answer().body.decode()


class CertificateTests(SynchronousTestCase):
    """Which certificate a client is shown."""

    def shown(self, name: str | None) -> tuple[str, ...]:
        with TLSClient(plain().tls, name) as client:
            certificate = x509.load_der_x509_certificate(client.secure.getpeercert(True) or b"")
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return tuple(names.value.get_values_for_type(x509.DNSName))

    def test_by_name(self) -> None:
        """The one for the name that it asks for, by wildcard too."""
        self.assertEqual(self.shown("a.example.com"), ("a.example.com",))
        self.assertEqual(self.shown("b.example.com")[0], "b.example.com")
        self.assertEqual(self.shown("any.wild.example.com")[0], "b.example.com")

    def test_default(self) -> None:
        """Without a name it is the first."""
        self.assertEqual(self.shown(None), ("a.example.com",))

    def test_unknown_name(self) -> None:
        """Under a name that there is none for, it is the first, which the client then refuses."""
        self.assertRaises(ssl.SSLCertVerificationError, TLSClient, plain().tls, "c.example.com")

    def test_renewed(self) -> None:
        """A new file is used soon, and a download under way goes on; a broken file changes nothing."""
        platform, go_on = plain(), Event()
        file = platform.directory / "certificates" / "b.pem"
        old, new = file.read_bytes(), SERVERS.certificate("b.example.com", "*.wild.example.com")
        platform.origin.plan((b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst", go_on, b" half"))
        with TLSClient(platform.tls, "b.example.com") as downloading:
            downloading.send(b"GET /open HTTP/1.1\r\nHost: x\r\n\r\n")
            downloading.until(b"first")
            file.write_bytes(b"broken")
            wait_for(lambda: "has no certificate in PEM" in platform.gateway.said(), "the log of a broken file")
            self.assertEqual(self.number(platform), serial(old))
            file.write_bytes(new)
            wait_for(lambda: self.number(platform) == serial(new), "the new certificate")
            go_on.set()
            self.assertEqual(downloading.exactly(5), b" half")
            self.assertEqual(downloading.ask().status, 200)

    def number(self, platform: Platform) -> int:
        with TLSClient(platform.tls, "b.example.com") as client:
            return client.serial()

    def test_end_is_told(self) -> None:
        """When certificates end is a metric; soon before it, as here, the log says so."""
        platform = plain()
        name = f'smartgate_certificate_expiry_seconds{{file="{platform.directory}/certificates/a.pem"}} '
        seconds = float(metrics(platform).partition(name)[2].split("\n")[0])
        self.assertTrue(86_000 < seconds < 86_400, seconds)
        self.assertIn("certificates/a.pem ends in 1.0 days", platform.gateway.said())


class HandshakeTests(SynchronousTestCase):
    """How a connection is agreed on."""

    def test_version_and_protocol(self) -> None:
        """TLS 1.3 and 1.2, HTTP/1.1, and nothing that nobody spoke of."""
        for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
            security = context(maximum_version=version)
            security.set_alpn_protocols(["http/1.1"])
            with TLSClient(plain().tls, security=security) as client:
                self.assertEqual(client.secure.version(), version.name.replace("_", "."))
                self.assertEqual(client.secure.selected_alpn_protocol(), "http/1.1")
                self.assertIsNone(client.secure.compression())
                self.assertEqual(client.ask().status, 200)

    def test_old_versions_are_refused(self) -> None:
        """TLS 1.1 is not spoken, and the log says who tried."""
        security = context()
        security.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            security.minimum_version = security.maximum_version = ssl.TLSVersion.TLSv1_1
        self.assertRaises(ssl.SSLError, TLSClient, plain().tls, security=security)
        wait_for(lambda: "The TLS handshake with 127.0.0.1 failed" in plain().gateway.said(), "the log")
        self.assertNotIn("smartgate_tls_handshake_failures_total 0.0", metrics(plain()))

    def test_weak_ciphers_are_refused(self) -> None:
        """Neither CBC nor key exchange without forward secrecy."""
        for cipher in ("ECDHE-ECDSA-AES128-SHA256", "AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-SHA"):
            security = context(maximum_version=ssl.TLSVersion.TLSv1_2)
            security.set_ciphers(cipher + ":@SECLEVEL=0")
            self.assertRaises(ssl.SSLError, TLSClient, plain().tls, security=security)

    def test_unknown_protocols_are_refused(self) -> None:
        """A client that wants to speak something else is told so (RFC 7301 section 3.2)."""
        security = context()
        security.set_alpn_protocols(["ftp"])
        with self.assertRaises(ssl.SSLError) as caught:
            TLSClient(plain().tls, security=security)
        self.assertIn("NO_APPLICATION_PROTOCOL", str(caught.exception).upper().replace(" ", "_"))

    def test_sessions_are_resumed(self) -> None:
        """A client that comes back need not begin anew."""
        security = context()
        with TLSClient(plain().tls, security=security) as client:
            client.ask()
            session = client.secure.session
        with contextlib.closing(socket.create_connection(("127.0.0.1", plain().tls), 5)) as again:
            secure = security.wrap_socket(again, server_hostname="a.example.com", session=session)
            self.assertTrue(secure.session_reused)
            secure.close()

    def test_one_that_hangs(self) -> None:
        """A handshake that does not end in time ends the connection, also when a byte comes now and then."""
        for data in (b"", b"\x16\x03\x01\x02\x00\x01"):
            with Client(plain().tls) as client:
                client.send(data)
                with contextlib.suppress(ConnectionResetError):
                    self.assertEqual(client.rest(), b"")

    def test_plain_http(self) -> None:
        """What is no TLS is no request."""
        with Client(plain().tls) as client:
            client.send(b"GET /open HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertNotIn(b"HTTP/1.1", client.rest())

    def test_refused_in_the_middle(self) -> None:
        """A client that still sends gets the whole refusal, and its connection ends."""
        with TLSClient(plain().tls) as client:
            client.send(b"POST /open HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", bytes(1 << 20))
            self.assertEqual(client.answer().status, 413)
            self.assertEqual(client.rest(), b"")

    def test_strict_transport_security(self) -> None:
        """Answers over https keep browsers there, those of an upstream and the gateway's own."""
        with TLSClient(plain().tls) as client:
            for path in ("/open", "/nowhere"):
                self.assertEqual(len(client.ask(path).values("Strict-Transport-Security")), 1)

    def test_large_bodies(self) -> None:
        """Much data comes whole, both ways."""
        body = bytes(range(256)) * 8192
        plain().origin.plan((b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body))
        with TLSClient(plain().tls) as client:
            client.send(b"POST /open HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body), body)
            self.assertEqual(client.answer().body, body)
        self.assertTrue(plain().origin.received[-1].endswith(body))


class ClientCertificateTests(SynchronousTestCase):
    """Clients that say who they are with a certificate."""

    def test_verified(self) -> None:
        """It is as good as a token: the upstream learns who it is, in the role that the configuration gives."""
        platform = optional()
        forged = "X-SSL-Client-CN: root"
        with TLSClient(platform.tls, security=context(CLIENTS.certificate("machine-1"))) as client:
            self.assertEqual(client.ask("/closed", forged).status, 200)
        head = platform.origin.received[-1]
        self.assertIn(b"\r\nX-User-Id: machine-1\r\nX-User-Role: service\r\n", head)
        self.assertNotIn(b"root", head)

    def test_http2(self) -> None:
        """In HTTP/2 it counts for every stream."""
        security = context(CLIENTS.certificate("machine-1"))
        security.set_alpn_protocols(["h2", "http/1.1"])
        wire = H2Connection()
        wire.initiate_connection()
        pseudo = ((":method", "GET"), (":scheme", "https"), (":authority", "a.example.com"), (":path", "/closed"))
        for stream in (1, 3):
            wire.send_headers(stream, pseudo, end_stream=True)
        answers: dict[int, list[tuple[bytes, bytes]]] = {}
        with TLSClient(optional().tls, security=security) as client:
            client.send(wire.data_to_send())
            while len(answers) < 2:
                for event in wire.receive_data(client.some(65536)):
                    if isinstance(event, ResponseReceived):
                        answers[event.stream_id] = list(event.headers)
        for fields in answers.values():
            self.assertEqual(fields[0], (b":status", b"200"))
            self.assertIn(b"strict-transport-security", dict(fields))

    def test_without_a_role(self) -> None:
        """Who has no role is known, but may not do what takes one."""
        with TLSClient(optional().tls, security=context(CLIENTS.certificate("machine-2"))) as client:
            self.assertEqual(client.ask("/closed").status, 403)

    def test_optional(self) -> None:
        """Without one a client is a guest."""
        with TLSClient(optional().tls) as client:
            self.assertEqual(client.ask("/closed").status, 401)
            self.assertEqual(client.ask("/open").status, 200)

    def test_a_token_comes_first(self) -> None:
        """A token that is not valid is refused, whatever certificate is there."""
        with TLSClient(optional().tls, security=context(CLIENTS.certificate("machine-1"))) as client:
            self.assertEqual(client.ask("/closed", "Authorization: Bearer x.y.z").status, 401)

    def refused(self, platform: Platform, certificate: bytes = b"") -> None:
        """The gateway breaks the handshake off; in TLS 1.3 a client learns it with its first read."""
        try:
            with TLSClient(platform.tls, security=context(certificate)) as client:
                answer: object = client.ask()
        except (ssl.SSLError, EOFError, ConnectionError):
            return
        self.fail(f"{answer} was answered")

    def test_refused(self) -> None:
        """Forged, out of date and revoked ones end the handshake, even where none is required."""
        self.refused(optional(), STRANGERS.certificate("machine-1"))
        self.refused(optional(), CLIENTS.certificate("machine-1", days=-1))
        self.refused(optional(), REVOKED)

    def test_required(self) -> None:
        """Where it is required, nobody gets in without."""
        with TLSClient(required().tls, security=context(CLIENTS.certificate("machine-2"))) as client:
            self.assertEqual(client.ask("/open").status, 200)
        self.refused(required())
        self.refused(required(), STRANGERS.certificate("machine-2"))

    def test_revoked_later(self) -> None:
        """A new list of what is revoked is heeded soon."""
        certificate = CLIENTS.certificate("machine-9")
        with TLSClient(required().tls, security=context(certificate)) as client:
            self.assertEqual(client.ask("/open").status, 200)
        (required().directory / "revoked.pem").write_bytes(CLIENTS.revocations(certificate))

        def out() -> bool:
            try:
                self.refused(required(), certificate)
            except self.failureException:
                return False
            return True

        wait_for(out, "the new list of what is revoked")


class UpstreamTests(SynchronousTestCase):
    """An upstream that wants to know who the gateway is."""

    def test_client_certificate(self) -> None:
        """The gateway shows its certificate, and holds the upstream's against the configured name and authorities."""
        with TLSClient(plain().tls) as client:
            self.assertEqual(client.ask("/mutual").status, 200)
        self.assertIn(b"X-Forwarded-Proto: https\r\n", plain().mutual.received[-1])


V2 = b"\r\n\r\n\0\r\nQUIT\n"
GET = b"GET /open HTTP/1.1\r\nHost: x\r\n\r\n"


class ProxyProtocolTests(SynchronousTestCase):
    """Proxies that say whose connection it is."""

    def forwarded(self, header: bytes) -> bytes:
        """Which client the upstream is told, where a listed proxy sends this header."""
        with Client(plain().proxied, "127.0.0.9") as client:
            for piece in (header[:7], header[7:] + GET):
                client.send(piece)
            self.assertEqual(client.answer().status, 200)
        return plain().origin.received[-1].partition(b"X-Forwarded-For: ")[2].partition(b"\r\n")[0]

    def test_listed(self) -> None:
        """The client is who a listed proxy says, in both versions, and a proxy that speaks for itself is itself."""
        self.assertEqual(self.forwarded(b"PROXY TCP4 198.51.100.7 192.0.2.1 4000 443\r\n"), b"198.51.100.7")
        self.assertEqual(self.forwarded(b"PROXY TCP6 2001:db8::7 2001:db8::1 4000 443\r\n"), b"2001:db8::7")
        addresses = bytes((198, 51, 100, 8, 192, 0, 2, 1)) + b"\x0f\xa0\x01\xbb"
        self.assertEqual(self.forwarded(V2 + b"\x21\x11\x00\x0c" + addresses), b"198.51.100.8")
        self.assertEqual(self.forwarded(V2 + b"\x20\x00\x00\x00"), b"127.0.0.9")

    def test_unlisted(self) -> None:
        """Anybody else's connection is closed."""

        def told() -> bool:
            with Client(plain().proxied) as client:
                header = b"PROXY TCP4 198.51.100.7 192.0.2.1 4000 443\r\n"
                self.assertRaises(OSError, self.exchange, client, header + GET)
            return "server.trusted_proxies does not have its address" in plain().gateway.said()

        wait_for(told, "the log, which tells of a closed connection once a second")

    def exchange(self, client: Client, data: bytes) -> None:
        client.send(data)
        if client.rest() == b"":
            raise ConnectionError

    def test_malformed(self) -> None:
        """So is one without a header, with a broken or a too long one, or one that does not come."""
        for data in (GET, b"PROXY TCP4 x y 1 2\r\n" + GET, b"PROXY " + b"x" * 200, V2 + b"\x21\x11\xff\xff", b"PRO"):
            with Client(plain().proxied, "127.0.0.9") as client:
                self.assertRaises(OSError, self.exchange, client, data)

    def test_before_tls(self) -> None:
        """TLS begins behind the header."""
        first = b"PROXY TCP4 198.51.100.9 192.0.2.1 4000 443\r\n"
        with TLSClient(plain().proxied_tls, first=first, source="127.0.0.9") as client:
            self.assertEqual(client.ask("/open", "X-Forwarded-For: 203.0.113.1").status, 200)
        self.assertIn(b"\r\nX-Forwarded-For: 198.51.100.9\r\n", plain().origin.received[-1])
        self.assertIn(b"\r\nX-Forwarded-Proto: https\r\n", plain().origin.received[-1])
