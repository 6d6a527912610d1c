"""CORS: which pages may read answers, told on every answer, errors too (the Fetch standard)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zope.interface import implementer

from gateway.interfaces import IGuard

if TYPE_CHECKING:
    from gateway.http.request import Request

EXPOSED = (
    "RateLimit-Policy",
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "Retry-After",
    "X-Request-ID",
)


class Preflight(Exception):
    """The request was a preflight, and is answered 204 with these header lines."""

    def __init__(self, lines: tuple[bytes, ...] = ()) -> None:
        super().__init__("a preflight")
        self.lines = lines


@implementer(IGuard)
class CorsGuard:
    """Adds the CORS fields for allowed origins, and answers preflights before anybody asks for a token."""

    name = "cors"

    def __init__(
        self,
        origins: Sequence[str],
        methods: Sequence[str],
        allow_headers: Sequence[str],
        expose_headers: Sequence[str],
        credentials: bool,
        max_age: float,
    ) -> None:
        self._any = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)
        with_credentials = b"Access-Control-Allow-Credentials: true\r\n" if credentials else b""
        exposed = ", ".join(dict.fromkeys((*EXPOSED, *expose_headers)))
        self._fields = with_credentials + f"Access-Control-Expose-Headers: {exposed}\r\n".encode()
        self._preflight = (
            with_credentials
            + (
                f"Access-Control-Allow-Methods: {', '.join(methods)}\r\n"
                f"Access-Control-Allow-Headers: {', '.join(allow_headers)}\r\n"
                f"Access-Control-Max-Age: {int(max_age)}\r\n"
            ).encode()
        )

    def check(self, request: Request) -> None:
        """:raises Preflight: when the request is one."""
        origin = request.field(b"origin")
        if not self._any:
            request.answer_fields.append(b"Vary: Origin\r\n")
        if origin is None:
            return
        allowed = self._any or origin in self._origins
        line = b"Access-Control-Allow-Origin: %b\r\n" % (b"*" if self._any else origin)
        if request.method == b"OPTIONS" and request.field(b"access-control-request-method") is not None:
            vary = b"Vary: Access-Control-Request-Method, Access-Control-Request-Headers\r\n"
            raise Preflight((vary, line, self._preflight) if allowed else (vary,))
        if allowed:
            request.answer_fields.append(line + self._fields)
