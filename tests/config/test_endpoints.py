"""Tests of gateway.config.endpoints."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway.config.endpoints import take_apart


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
