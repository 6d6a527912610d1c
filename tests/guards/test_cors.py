"""Tests of gateway.guards.cors: what a browser is told, by the Fetch standard."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer
from zope.interface.verify import verifyObject

from gateway.core.errors import (
    BodyTooLarge,
    Forbidden,
    GatewayError,
    NotFound,
    RateLimited,
    Unauthorized,
    UpstreamFailed,
)
from gateway.guards.cors import EXPOSED, CorsGuard
from gateway.interfaces import IGuard
from gateway.resources.guarded import GuardedResource
from tests.wire import Client, body, fields, status

APP = "https://app.example.com"
EXPOSED_LINE = ("access-control-expose-headers", ", ".join(EXPOSED))
VARY_PREFLIGHT = ("vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")


def cors(*origins: str, headers: tuple[str, ...] = ("Authorization", "Content-Type"), **others: Any) -> CorsGuard:
    """A guard for these origins, with the settings of a usual API."""
    settings: dict[str, Any] = {"expose_headers": (), "credentials": False, "max_age": 600.0} | others
    return CorsGuard(origins, ("GET", "PUT", "DELETE"), headers, **settings)


@implementer(IGuard)
class Refusing:
    """Refuses everything, as the guards behind CORS may."""

    name = "refusing"

    def __init__(self, error: GatewayError) -> None:
        self._error = error

    def check(self, request: Any) -> None:
        """:raises GatewayError: always."""
        raise self._error


class Leaf(Resource):
    """Answers everything with 200."""

    isLeaf = True

    def render(self, request: Any) -> int:
        """The answer."""
        request.respond(200, b"", b"hello")
        return NOT_DONE_YET


class CorsCase(SynchronousTestCase):
    """Answers of a guarded leaf, and the fields in them that CORS is about."""

    def ask(self, guard: CorsGuard, *lines: str, method: str = "GET") -> bytes:
        return Client(GuardedResource([guard], Leaf())).ask(*lines, method=method)

    def told(self, guard: CorsGuard, *lines: str, method: str = "GET") -> list[tuple[str, str]]:
        answer = self.ask(guard, *lines, method=method)
        return [pair for pair in fields(answer) if pair[0] == "vary" or pair[0].startswith("access-control-")]


class AnswerTests(CorsCase):
    """Answers to pages, and to everybody else."""

    def test_is_a_guard(self) -> None:
        """It provides the interface."""
        verifyObject(IGuard, cors(APP))

    def test_allowed_origin(self) -> None:
        """It is named, and may read what clients of a limited API need."""
        for guard in (cors(APP), cors("https://other.example", APP)):
            self.assertEqual(
                self.told(guard, f"Origin: {APP}"),
                [("vary", "Origin"), ("access-control-allow-origin", APP), EXPOSED_LINE],
            )

    def test_exposed_fields(self) -> None:
        """They are those of the rate limit, the wait and the id; others can be added, none stands twice."""
        told = dict(self.told(cors(APP, expose_headers=("X-Total", "Retry-After")), f"Origin: {APP}"))
        self.assertEqual(
            told["access-control-expose-headers"],
            "RateLimit-Policy, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, "
            "Retry-After, X-Request-ID, X-Total",
        )

    def test_other_origins_get_nothing(self) -> None:
        """Not those that look alike, not several, not the opaque one; but caches are told what it depends on."""
        alike = (
            APP + ".evil.example",
            APP.upper(),
            "http://app.example.com",
            APP + ":8443",
            APP + "/",
            "",
            "null",
            "*",
        )
        for origin in (*alike, f"{APP}, https://evil.example", f"{APP} https://evil.example"):
            self.assertEqual(self.told(cors(APP), f"Origin: {origin}"), [("vary", "Origin")], origin)
        self.assertEqual(self.told(cors(APP), f"Origin: {APP}", f"Origin: {APP}"), [("vary", "Origin")])

    def test_no_origin(self) -> None:
        """An answer that no page asked for says that a page would get another one."""
        self.assertEqual(self.told(cors(APP)), [("vary", "Origin")])

    def test_opaque_origin(self) -> None:
        """Sandboxed pages and files are let in only where somebody listed null."""
        self.assertIn(("access-control-allow-origin", "null"), self.told(cors("null"), "Origin: null"))

    def test_all_origins(self) -> None:
        """The same answer for everybody, with and without Origin: a cache may serve it to all."""
        for guard in (cors("*"), cors(APP, "*")):
            for lines in ((), (f"Origin: {APP}",), ("Origin: null",)):
                self.assertEqual(self.told(guard, *lines), [("access-control-allow-origin", "*"), EXPOSED_LINE])

    def test_credentials(self) -> None:
        """The origin is named next to them, and origins that are not allowed do not hear of them."""
        guard = cors(APP, credentials=True)
        self.assertEqual(
            self.told(guard, f"Origin: {APP}"),
            [
                ("vary", "Origin"),
                ("access-control-allow-origin", APP),
                ("access-control-allow-credentials", "true"),
                EXPOSED_LINE,
            ],
        )
        self.assertEqual(self.told(guard, "Origin: https://evil.example"), [("vary", "Origin")])

    def test_credentials_with_all_origins(self) -> None:
        """The standard forbids them together, so such a guard cannot be made."""
        for origins in (("*",), (APP, "*")):
            self.assertRaises(ValueError, cors, *origins, credentials=True)

    def test_errors(self) -> None:
        """A page can read why it was refused, whoever refused it."""
        errors = (Unauthorized(), Forbidden(), NotFound(), BodyTooLarge(), RateLimited(), UpstreamFailed())
        for error in errors:
            answer = Client(GuardedResource([cors(APP), Refusing(error)], Leaf())).ask(f"Origin: {APP}")
            self.assertEqual(status(answer), error.status)
            self.assertEqual(json.loads(body(answer))["code"], error.code)
            self.assertIn(("access-control-allow-origin", APP), fields(answer))
            self.assertIn(EXPOSED_LINE, fields(answer))
            self.assertIn(("vary", "Origin"), fields(answer))


class PreflightTests(CorsCase):
    """What a browser asks before it sends what a form could not."""

    def preflight(
        self, guard: CorsGuard, method: str = "PUT", headers: str | None = None, origin: str = APP
    ) -> list[tuple[str, str]]:
        """What is told; every preflight is answered 204 without a body, whatever it asks for."""
        lines = [f"Origin: {origin}", f"Access-Control-Request-Method: {method}"]
        lines += [] if headers is None else [f"Access-Control-Request-Headers: {headers}"]
        answer = self.ask(guard, *lines, method="OPTIONS")
        self.assertEqual((status(answer), body(answer)), (204, b""))
        return [pair for pair in fields(answer) if pair[0] == "vary" or pair[0].startswith("access-control-")]

    def test_allowed(self) -> None:
        """Methods, headers and how long that may be remembered; what is exposed belongs to the answer itself."""
        self.assertEqual(
            self.preflight(cors(APP), "PUT", "authorization,content-type"),
            [
                VARY_PREFLIGHT,
                ("access-control-allow-origin", APP),
                ("access-control-allow-methods", "GET, PUT, DELETE"),
                ("access-control-max-age", "600"),
                ("access-control-allow-headers", "Authorization, Content-Type"),
            ],
        )

    def test_before_authentication(self) -> None:
        """Guards behind it are not asked: browsers send no token with a preflight."""
        client = Client(GuardedResource([cors(APP), Refusing(Unauthorized())], Leaf()))
        answer = client.ask(f"Origin: {APP}", "Access-Control-Request-Method: PUT", method="OPTIONS")
        self.assertEqual((status(answer), client.over[0].decided_by), (204, "cors"))

    def test_header_names(self) -> None:
        """Case, order, spaces and empty items of the list make no difference."""
        for asked in (None, "", "authorization", "Content-Type , AUTHORIZATION", ",authorization,,\tcontent-type,"):
            self.assertIn(("access-control-allow-origin", APP), self.preflight(cors(APP), headers=asked), asked)

    def test_what_is_not_allowed(self) -> None:
        """One method, header or origin that is not allowed, and the answer allows nothing at all."""
        guard = cors(APP)
        for method in ("PATCH", "put", "PUT, GET", "*", ""):
            self.assertEqual(self.preflight(guard, method), [VARY_PREFLIGHT], method)
        for header in ("x-other", "authorization,x-other", "authorization content-type", "*"):
            self.assertEqual(self.preflight(guard, headers=header), [VARY_PREFLIGHT], header)
        for origin in ("https://evil.example", "null", "*", ""):
            self.assertEqual(self.preflight(guard, origin=origin), [VARY_PREFLIGHT], origin)

    def test_no_headers_allowed(self) -> None:
        """Then the field is not sent, and asking for any is refused."""
        guard = cors(APP, headers=())
        self.assertNotIn("access-control-allow-headers", dict(self.preflight(guard)))
        self.assertIn(("access-control-allow-origin", APP), self.preflight(guard))
        self.assertEqual(self.preflight(guard, headers="x-other"), [VARY_PREFLIGHT])

    def test_all_headers(self) -> None:
        """They are named as they were asked for, because a browser takes no ``*`` for Authorization."""
        for guard in (cors(APP, headers=("*",)), cors(APP, headers=("X-A", "*"), credentials=True)):
            told = self.preflight(guard, headers="authorization,x-other")
            self.assertIn(("access-control-allow-headers", "authorization, x-other"), told)
            self.assertNotIn("access-control-allow-headers", dict(self.preflight(guard)))

    @given(st.text(st.sampled_from("aZ-, \t\"'()<>@:;*\x80\xff="), max_size=20))
    def test_all_headers_but_no_nonsense(self, asked: str) -> None:
        """Only names that a header field can have come back (RFC 9110 section 5.1)."""
        told = dict(self.preflight(cors(APP, headers=("*",)), headers=asked))
        names = [name.strip() for name in asked.split(",") if name.strip()]
        if all(set(name) <= set("aZ-'*") for name in names):
            self.assertEqual(told.get("access-control-allow-headers", ""), ", ".join(names).lower())
            self.assertIn("access-control-allow-origin", told)
        else:
            self.assertEqual(list(told), ["vary"])

    def test_all_origins(self) -> None:
        """Everybody gets the same permission."""
        told = self.preflight(cors("*"))
        self.assertEqual(told[0], ("vary", "Access-Control-Request-Method, Access-Control-Request-Headers"))
        self.assertEqual(told[1], ("access-control-allow-origin", "*"))

    def test_credentials(self) -> None:
        """They are allowed before they are sent."""
        told = self.preflight(cors(APP, credentials=True))
        self.assertIn(("access-control-allow-credentials", "true"), told)
        told = self.preflight(cors(APP, credentials=True), "PATCH")
        self.assertEqual(told, [VARY_PREFLIGHT])

    def test_max_age(self) -> None:
        """Whole seconds; 0 turns the memory off, where leaving it out would mean five."""
        self.assertIn(("access-control-max-age", "0"), self.preflight(cors(APP, max_age=0.9)))

    def test_ordinary_options(self) -> None:
        """An OPTIONS request that is no preflight goes on to the leaf, and is answered as any other."""
        for lines in ((), ("Access-Control-Request-Method: PUT",)):
            answer = self.ask(cors(APP), *lines, method="OPTIONS")
            self.assertEqual((status(answer), body(answer)), (200, b"hello"))
        told = self.told(cors(APP), f"Origin: {APP}", "Access-Control-Request-Headers: x", method="OPTIONS")
        self.assertEqual(told, [("vary", "Origin"), ("access-control-allow-origin", APP), EXPOSED_LINE])

    def test_other_methods(self) -> None:
        """Only OPTIONS makes a preflight."""
        for method in ("GET", "PATCH"):
            answer = self.ask(cors(APP), f"Origin: {APP}", "Access-Control-Request-Method: PUT", method=method)
            self.assertEqual((status(answer), body(answer)), (200, b"hello"))
