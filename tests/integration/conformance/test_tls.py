"""Origins behind https: who they say they are is held against their certificates."""

from __future__ import annotations

import atexit
import datetime
import ssl
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.client import Client
from tests.integration.conformance.case import head, post
from tests.integration.origin import Origin, close
from tests.integration.processes import Process, free_port, start_gateway

CONFIG = """
[server]
listen = ["tcp:{port}:interface=127.0.0.1"]
admin = ""
workers = 0
[redis]
url = "memory:"
[[upstreams]]
name = "right"
instances = ["https://localhost:{right}"]
ca_file = "{ca}"
[[upstreams]]
name = "other-name"
instances = ["https://localhost:{other}"]
ca_file = "{ca}"
[[upstreams]]
name = "unknown-authority"
instances = ["https://localhost:{right}"]
[[routes]]
prefix = "/right"
upstream = "right"
auth = "none"
rate_limit = false
[[routes]]
prefix = "/other-name"
upstream = "other-name"
auth = "none"
rate_limit = false
[[routes]]
prefix = "/unknown-authority"
upstream = "unknown-authority"
auth = "none"
rate_limit = false
"""


class Authority:
    """Signs certificates that are good for a day."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an authority")])
        self.file = place / "ca.pem"
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        certificate = self._certificate(self._name, self._key.public_key(), constraints)
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def context(self, name: str) -> ssl.SSLContext:
        """What a server needs that is called ``name``."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = self._certificate(subject, key.public_key(), x509.SubjectAlternativeName([x509.DNSName(name)]))
        file = self._place / f"{name}.pem"
        file.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _certificate(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .add_extension(extension, critical=True)
            .sign(self._key, hashes.SHA256())
        )


@cache
def place() -> tuple[Origin, Origin, Process]:
    """An origin that is who it says, one that is not, and a gateway; started once, and ended with the tests."""
    authority, port = Authority(Path(mkdtemp())), free_port()
    right, other = Origin(authority.context("localhost")), Origin(authority.context("other.example"))
    gateway = start_gateway(CONFIG.format(port=port, ca=authority.file, right=right.port, other=other.port), port)
    atexit.register(gateway.stop)
    return right, other, gateway


class HTTPSOriginTests(SynchronousTestCase):
    """RFC 9110 section 4.3.4."""

    def setUp(self) -> None:
        self.right, self.other, self.gateway = place()
        self.right.reset()
        self.other.reset()

    def client(self) -> Client:
        client = Client(self.gateway.port)
        self.addCleanup(client.close)
        return client

    def test_certificate_that_fits(self) -> None:
        """Requests and answers pass, bodies too, and the connection is kept."""
        client = self.client()
        for _ in range(3):
            client.send(post("/right", b"x" * 100_000))
            self.assertEqual(client.answer().body, b"ok")
        self.assertEqual(self.right.connections, 1)
        self.assertTrue(self.right.received[0].endswith(b"\r\n\r\n" + b"x" * 100_000))

    def test_certificates_that_do_not_fit(self) -> None:
        """Another name, and an authority nobody knows, are 502; no request is sent there."""
        for path in ("/other-name", "/unknown-authority"):
            client = self.client()
            client.send(head(path))
            self.assertEqual(client.answer().status, 502, path)
        self.assertEqual((self.right.received, self.other.received), ([], []))

    def test_origin_that_ends_without_saying_so(self) -> None:
        """An answer that only the end of the connection ends may have been cut by anybody: so is the client's."""
        self.right.plan((b"HTTP/1.1 200 OK\r\n\r\nhalf", close))
        client = self.client()
        client.send(head("/right"))
        with self.assertRaises(ConnectionResetError):
            client.until(b"0\r\n\r\n")
