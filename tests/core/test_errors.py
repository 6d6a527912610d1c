"""Tests of gateway.core.errors."""

from __future__ import annotations

import json
from unittest import TestCase

from hypothesis import given
from hypothesis import strategies as st

from gateway.core import errors
from gateway.core.errors import Forbidden, GatewayError, RateLimited

STATUSES = {
    "GatewayError": (500, "INTERNAL_ERROR", 1011),
    "BadRequest": (400, "BAD_REQUEST", 1002),
    "Unauthorized": (401, "UNAUTHORIZED", 1008),
    "Forbidden": (403, "FORBIDDEN", 1008),
    "Banned": (403, "BANNED", 1008),
    "NotFound": (404, "NOT_FOUND", 1008),
    "MethodNotAllowed": (405, "METHOD_NOT_ALLOWED", 1008),
    "RequestTimeout": (408, "REQUEST_TIMEOUT", 1008),
    "BodyTooLarge": (413, "BODY_TOO_LARGE", 1009),
    "TargetTooLong": (414, "URI_TOO_LONG", 1009),
    "UpgradeRequired": (426, "UPGRADE_REQUIRED", 1002),
    "RateLimited": (429, "RATE_LIMIT_EXCEEDED", 1013),
    "HeadTooLarge": (431, "HEADERS_TOO_LARGE", 1009),
    "NotImplementedHere": (501, "NOT_IMPLEMENTED", 1002),
    "UpstreamFailed": (502, "UPSTREAM_UNAVAILABLE", 1013),
    "Unavailable": (503, "SERVICE_UNAVAILABLE", 1013),
    "UpstreamTimeout": (504, "UPSTREAM_TIMEOUT", 1013),
    "HTTPVersionNotSupported": (505, "HTTP_VERSION_NOT_SUPPORTED", 1002),
}
"""What clients rely on."""

CLASSES: dict[str, type[GatewayError]] = {
    name: value for name, value in vars(errors).items() if isinstance(value, type)
}


class TreeTests(TestCase):
    """All classes of the tree."""

    def test_statuses_and_codes(self) -> None:
        """Each refusal has its status, its code, which no other class has, and its close code."""
        found = {name: (kind.status, kind.code, kind.close_code) for name, kind in CLASSES.items()}
        self.assertEqual(found, STATUSES)
        self.assertEqual(len({kind.code for kind in CLASSES.values()}), len(found))

    def test_one_tree(self) -> None:
        """Whoever catches the root catches all of them."""
        for kind in CLASSES.values():
            self.assertTrue(issubclass(kind, GatewayError))

    def test_who_closes(self) -> None:
        """The connection is given up where the rest of what comes cannot be told, or is not wanted."""
        closing = {kind.status for kind in CLASSES.values() if kind.closes}
        self.assertEqual(closing, {400, 408, 413, 414, 431, 501, 505})

    def test_messages(self) -> None:
        """Each says what it means, in words of its own."""
        messages = {kind().message for kind in CLASSES.values()}
        self.assertEqual(len(messages), len(CLASSES))
        self.assertNotIn("", messages)


class GatewayErrorTests(TestCase):
    """One refusal."""

    def test_body(self) -> None:
        """The standard error format: these three members, in this order, without spaces."""
        self.assertEqual(
            Forbidden().body("id-1"), b'{"code":"FORBIDDEN","message":"You may not do this","requestId":"id-1"}'
        )

    def test_own_message(self) -> None:
        """A refusal can say more than its class, and says it wherever it is read."""
        error = Forbidden("Not on Sundays")
        self.assertEqual(
            (error.message, str(error), Forbidden().message), ("Not on Sundays",) * 2 + ("You may not do this",)
        )

    def test_fields(self) -> None:
        """It brings the header lines its answer needs; usually none."""
        self.assertEqual(RateLimited(fields=(b"Retry-After: 1\r\n",)).fields, (b"Retry-After: 1\r\n",))
        self.assertEqual(RateLimited().fields, ())

    @given(st.text(min_size=1), st.text())
    def test_any_text(self, message: str, request_id: str) -> None:
        """Whatever the message holds, the body is JSON that says the same, in ASCII."""
        body = GatewayError(message).body(request_id)
        self.assertTrue(body.isascii())
        self.assertEqual(json.loads(body), {"code": "INTERNAL_ERROR", "message": message, "requestId": request_id})
