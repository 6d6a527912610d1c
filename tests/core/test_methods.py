"""Tests of gateway.core.methods."""

from __future__ import annotations

from unittest import TestCase

from gateway.core.errors import MethodNotAllowed, NotImplementedHere
from gateway.core.methods import REFUSED


class RefusedTests(TestCase):
    """What is not served, and how that is said."""

    def test_known_but_not_allowed(self) -> None:
        """TRACE is a method of HTTP, which nothing here allows: 405."""
        self.assertIs(REFUSED[b"TRACE"], MethodNotAllowed)

    def test_of_other_protocols(self) -> None:
        """CONNECT, and what Icecast, RTSP and HTTP/2 speak, mean nothing here: 501."""
        for method in (b"CONNECT", b"SOURCE", b"DESCRIBE", b"PLAY", b"TEARDOWN", b"GET_PARAMETER", b"PRI"):
            self.assertIs(REFUSED[method], NotImplementedHere, method)

    def test_methods_of_http(self) -> None:
        """Those of RFC 9110 that have a resource, and PATCH (RFC 5789), are nobody else's."""
        for method in (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"):
            self.assertNotIn(method, REFUSED)
