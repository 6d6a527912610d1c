"""Tests of gateway.upstreams.affinity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.headers import FieldName
from gateway.core.tokens import Claims
from gateway.http.request import Request
from gateway.upstreams.affinity import affinity


def request(subject: str = "", fields: Mapping[str, bytes] = {}) -> Request:
    """A request of 192.0.2.9 with these fields."""
    channel: Any = StringTransport()
    raw = [(FieldName(name.encode()), value) for name, value in fields.items()]
    made = Request(channel, b"GET", b"/", b"HTTP/1.1", raw, {known.lower: value for known, value in raw}, set())
    made.remote = "192.0.2.9"
    if subject:
        made.claims = Claims(subject, "user", "", 0.0, 0.0)
    return made


class AffinityTests(SynchronousTestCase):
    """What requests have in common."""

    def test_client(self) -> None:
        """The address they come from."""
        self.assertEqual(affinity("client")(request("ann")), b"192.0.2.9")

    def test_user(self) -> None:
        """Who the token is about; a guest is an address."""
        self.assertEqual(affinity("user")(request("\u00e4nn")), "\u00e4nn".encode())
        self.assertEqual(affinity("user")(request()), b"192.0.2.9")

    def test_header(self) -> None:
        """A field, whatever its spelling; without it, or empty, the address."""
        key = affinity("header:X-Tenant")
        self.assertEqual(key(request(fields={"x-TENANT": b"acme"})), b"acme")
        self.assertEqual(key(request(fields={"x-tenant": b""})), b"192.0.2.9")
        self.assertEqual(key(request()), b"192.0.2.9")

    def test_cookie(self) -> None:
        """One of the cookies; without it, or empty, the address."""
        key = affinity("cookie:sid")
        self.assertEqual(key(request(fields={"cookie": b"a=b; sid=s1; SID=s2"})), b"s1")
        self.assertEqual(key(request(fields={"cookie": b"SID=s2; sid="})), b"192.0.2.9")
        self.assertEqual(key(request()), b"192.0.2.9")
