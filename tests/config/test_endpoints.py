"""Tests of gateway.config.endpoints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.config.endpoints import endpoint, endpoint_or_none, take_apart
from tests.config.keys import certificate
from tests.config.reading import Reading


class EndpointTests(SynchronousTestCase):
    """What an endpoint string is made of."""

    def test_parts(self) -> None:
        """The PROXY protocol, the directory of certificates, and what listens."""
        for text, parts in {
            "tcp:3000": (False, "", "tcp:3000"),
            "haproxy:unix:/run/x.sock": (True, "", "unix:/run/x.sock"),
            "tls:/etc/certs:443:interface=192.0.2.1": (False, "/etc/certs", "tcp6:443:interface=192.0.2.1"),
            "tls:path=/etc/certs:443": (False, "/etc/certs", "tcp6:443"),
            "tls:certs": (False, "certs", "tcp6:443"),
            r"tls:a\:b\\c:8443": (False, r"a:b\c", "tcp6:8443"),
            "tls:certs:systemd:domain=INET:name=https": (False, "certs", "systemd:domain=INET:name=https"),
            "haproxy:tls:certs:unix:/run/x.sock": (True, "certs", "unix:/run/x.sock"),
        }.items():
            self.assertEqual(take_apart(text), parts)


class ValidEndpointTests(Reading):
    """Server endpoint strings."""

    def test_kinds(self) -> None:
        """Every kind that can be listened on is taken; no socket is opened, and no reactor installed."""
        self.takes(
            endpoint, "tcp:3000", "tcp:0:interface=127.0.0.1", "tcp6:3000", "unix:/run/smartgate.sock:mode=660",
            "systemd:domain=INET:index=0", "systemd:domain=INET6:name=web", "haproxy:tcp:3000",
            "haproxy:systemd:domain=UNIX:index=1", "haproxy:unix:/run/smartgate.sock",
        )  # fmt: skip
        self.takes(endpoint_or_none, "", "tcp:1")

    def test_refused(self) -> None:
        """Unknown kinds, arguments that a kind does not have, and ports that are none."""
        self.refuses(
            endpoint, "", "3000", "tcp", "http:3000", "stdio:", "tcp:", "tcp:x", "tcp:70000", "tcp:1:colour=red",
            "unix:", "systemd:INET", "systemd:domain=IPX:index=0", "haproxy:", "haproxy:3000", "haproxy:haproxy:tcp:1",
            "ssl:443", "tcp:1:backlog=x", "tls:", "tls:443", "tls:\0:443", "haproxy:ssl:443", "haproxy:tls:443",
        )  # fmt: skip

    def test_certificates(self) -> None:
        """A ``tls:`` directory must have certificates; an ``ssl:`` file must be one with its key."""
        directory = Path(self.mktemp())
        directory.mkdir()
        self.refuses(endpoint, f"tls:{directory}:443")
        pem = directory / "gateway.pem"
        pem.write_bytes(certificate())
        self.takes(
            endpoint, f"tls:{directory}:443", f"tls:{directory}", rf"haproxy:tls:{directory}:443:interface=\:\:",
            f"tls:{directory}:systemd:domain=INET:name=https", f"tls:{directory}:unix:/run/x.sock",
            f"ssl:443:privateKey={pem}",
        )  # fmt: skip
        self.refuses(endpoint, f"tls:{directory}:port", f"tls:{directory}:443:colour=red")
        self.refuses(endpoint, f"tls:{directory}:70000", f"tls:{directory}:systemd:domain=IPX:index=0")
        pem.write_bytes(b"nothing")
        self.refuses(endpoint, f"ssl:443:privateKey={pem}")
        error = self.assertRaises(ValueError, endpoint, f"tls:{directory}:443")
        right = "tls: followed by a directory of certificates with their keys: "
        self.assertEqual(str(error), f"{right}{pem} has no certificate in PEM")
        self.flushWarnings()  # Twisted's own, about what it reads certificates with

    @given(st.text(st.sampled_from("tcpunixsl:=0a\\/"), max_size=16))
    def test_anything(self, text: str) -> None:
        """Whatever stands there, it is taken or refused."""
        try:
            self.assertEqual(endpoint(text), text)
        except ValueError as error:
            self.assertTrue(str(error))


class ImportTests(SynchronousTestCase):
    """What importing the configuration brings with it."""

    def test_no_reactor(self) -> None:
        """Checking an endpoint in a fresh process installs no reactor: twistd chooses it."""
        code = (
            "import sys; from gateway.config.endpoints import endpoint; endpoint('tcp:3000');"
            "sys.exit('twisted.internet.reactor' in sys.modules)"
        )
        root = Path(__file__).parents[2]
        self.assertEqual(subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode, 0)
