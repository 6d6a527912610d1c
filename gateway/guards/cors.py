"""CORS: which pages may read answers, told on every answer, errors too (the CORS protocol of the Fetch standard)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from zope.interface import implementer

from gateway.core.headers import TOKEN
from gateway.interfaces import IGuard

if TYPE_CHECKING:
    from gateway.http.request import Request

EXPOSED: Final = (
    "RateLimit-Policy",
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "Retry-After",
    "X-Request-ID",
)
"""What pages may always read, besides the fields that the standard lets them."""

_REQUESTED: Final = b"Access-Control-Request-Method, Access-Control-Request-Headers"


class Preflight(Exception):
    """The request was a preflight, and is answered 204 with these header lines."""

    def __init__(self, lines: tuple[bytes, ...] = ()) -> None:
        super().__init__("a preflight")
        self.lines = lines


@implementer(IGuard)
class CorsGuard:
    """Adds the CORS fields for allowed origins, and answers preflights before anybody asks for a token.

    A preflight that asks for an origin, a method or a header that is not allowed gets an answer that allows nothing,
    and the browser refuses the request to its page. With all origins allowed nothing depends on who asks, so the
    fields are on every answer; else ``Vary: Origin`` is, so that no cache serves one origin's answer to another.

    :param origins: as browsers write them, or ``*`` for all.
    :param methods: what pages may use.
    :param allow_headers: what pages may send; ``*`` allows every field, Authorization too, by naming what is asked for.
    :param expose_headers: what pages may read besides :data:`EXPOSED`.
    :param credentials: whether browsers send cookies.
    :param max_age: seconds for which browsers remember a preflight.
    :raises ValueError: for credentials with all origins, which the standard forbids.
    """

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
        everybody = "*" in origins
        if everybody and credentials:
            raise ValueError('with credentials, origins must be named one by one, without "*"')
        vary, vary_preflight = (b"", _REQUESTED) if everybody else (b"Vary: Origin\r\n", b"Origin, " + _REQUESTED)
        with_credentials = "Access-Control-Allow-Credentials: true\r\n" if credentials else ""
        permits = {
            origin.encode(): f"Access-Control-Allow-Origin: {origin}\r\n{with_credentials}".encode()
            for origin in (("*",) if everybody else origins)
        }
        exposed = ", ".join(dict.fromkeys((*EXPOSED, *expose_headers)))
        expose = f"Access-Control-Expose-Headers: {exposed}\r\n".encode()
        self._answers = {origin: vary + permit + expose for origin, permit in permits.items()}
        self._other_answers = self._answers.get(b"*", vary)

        allowed = f"Access-Control-Allow-Methods: {', '.join(methods)}\r\nAccess-Control-Max-Age: {int(max_age)}\r\n"
        self._permits = {origin: permit + allowed.encode() for origin, permit in permits.items()}
        self._other_permits = self._permits.get(b"*", b"")
        self._vary_preflight = b"Vary: %b\r\n" % vary_preflight
        self._methods = frozenset(method.encode() for method in methods)
        self._headers = None if "*" in allow_headers else frozenset(name.lower().encode() for name in allow_headers)
        self._allow_headers = _allow_headers(", ".join(allow_headers).encode())

    def check(self, request: Request) -> None:
        """:raises Preflight: when the request is one."""
        origin = request.field(b"origin")
        if request.method == b"OPTIONS" and origin is not None:
            method = request.field(b"access-control-request-method")
            if method is not None:
                headers = request.field(b"access-control-request-headers") or b""
                raise Preflight((self._vary_preflight, self._allowing(origin, method, headers)))
        request.answer_fields.append(self._answers.get(origin, self._other_answers))  # type: ignore[arg-type]

    def _allowing(self, origin: bytes, method: bytes, headers: bytes) -> bytes:
        """The lines that allow what a preflight asks for; none when a part of it is not allowed."""
        permit = self._permits.get(origin, self._other_permits)
        names = [name for item in headers.split(b",") if (name := item.strip(b" \t").lower())]
        if not permit or method not in self._methods:
            return b""
        if self._headers is not None:
            return permit + self._allow_headers if self._headers.issuperset(names) else b""
        return permit + _allow_headers(b", ".join(names)) if all(map(TOKEN.fullmatch, names)) else b""


def _allow_headers(names: bytes) -> bytes:
    return b"Access-Control-Allow-Headers: %b\r\n" % names if names else b""
