"""Which header fields pass, which stop here: decided once for each name, then looked up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from gateway.core.errors import BadRequest, NotImplementedHere

HOP_BY_HOP: Final = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"proxy-authenticate",
        b"proxy-authorization",
    )
)
"""Fields that speak of one connection only (RFC 9110 section 7.6.1)."""

SET_BY_GATEWAY: Final = frozenset(
    (
        b"host",
        b"content-length",
        b"expect",
        b"via",
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-server",
        b"x-forwarded-prefix",
        b"x-real-ip",
        b"x-request-id",
        b"http2-settings",
    )
)
"""Request fields that the gateway writes itself: what a client sends under these names never passes."""

IDENTITY_PREFIXES: Final = (b"x-user-", b"x-client-cert", b"x-ssl-", b"client-cert")
"""Fields under which an upstream learns who the user is, or what certificate the client has (RFC 9440): a client that
sets them itself could be anybody."""

OVERRIDES: Final = frozenset(
    (b"x-original-url", b"x-rewrite-url", b"x-http-method-override", b"x-http-method", b"x-method-override")
)
"""Request fields that some frameworks (Symfony, Zend, Express with method-override) take the path or the method from,
in place of those that were matched and guarded."""

HTTPS_ONLY: Final = frozenset(("strict-transport-security",))
"""Fields of answers that only https may carry (RFC 6797 section 7.2)."""

HIDDEN: Final = frozenset((b"server", b"x-powered-by"))
"""What an upstream tells about itself, and nobody needs to know."""

TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_REQUEST_ID = re.compile(rb"[0-9A-Za-z._~+/=-]{8,128}")
_STOPPED: Final = HOP_BY_HOP | SET_BY_GATEWAY | OVERRIDES
_KNOWN_NAMES_LIMIT: Final = 2048
_PLAIN_CONNECTIONS: Final = frozenset((b"keep-alive", b"close", b"Keep-Alive", b"Close"))
_OWS: Final = b" \t"  # all that may stand around an item of a list (RFC 9110 section 5.6.3)
_NOTHING: Final[frozenset[bytes]] = frozenset()


class FieldName:
    """A header field's name, with everything that depends on the name alone worked out once."""

    __slots__ = ("line", "lower", "name", "passes")

    def __init__(self, name: bytes) -> None:
        self.name = name
        """As it was received."""
        self.lower = name.lower()
        self.line = name + b": "
        """How its line starts."""
        spelt = self.lower.replace(b"_", b"-")
        self.passes = not (spelt in _STOPPED or spelt.startswith(IDENTITY_PREFIXES))
        """Whether a request's field of this name is passed on to the upstream."""


_known_names: dict[bytes, FieldName] = {}


def field_name(name: bytes) -> FieldName:
    """The :class:`FieldName` of ``name``; up to 2048 short ones are remembered, and when more come it starts over.

    So a client that invents names costs the others their names' places for a moment, and not for good.
    """
    known = _known_names.get(name)
    if known is None:
        known = FieldName(name)
        if len(name) <= 64:
            if len(_known_names) >= _KNOWN_NAMES_LIMIT:
                _known_names.clear()
            _known_names[name] = known
    return known


def nominated(connection: bytes) -> frozenset[bytes]:
    """The lower-case field names that a Connection value takes with it (RFC 9110 section 7.6.1)."""
    if connection in _PLAIN_CONNECTIONS:
        return _NOTHING
    return frozenset(option.strip(_OWS).lower() for option in connection.split(b",")) - {b"", b"close", b"keep-alive"}


def check_transfer_encoding(value: bytes, http_1_1: bool) -> None:
    """Let pass only the one transfer coding that two parsers cannot disagree about (RFC 9112 section 6.1).

    :raises BadRequest: in HTTP/1.0, or when ``chunked`` is not the final coding.
    :raises NotImplementedHere: for codings other than chunked.
    """
    codings = [coding.strip(_OWS).lower() for coding in value.split(b",")]
    if not http_1_1 or codings[-1] != b"chunked" or codings.count(b"chunked") > 1:
        raise BadRequest("The request body's length cannot be told")
    if len(codings) > 1:
        raise NotImplementedHere("The only transfer coding supported is chunked")


def sane_request_id(value: bytes | None) -> bool:
    """Whether an inbound X-Request-ID may be kept: 8 to 128 harmless characters."""
    return value is not None and _REQUEST_ID.fullmatch(value) is not None


def for_plain_http(fields: Mapping[str, str]) -> dict[str, str]:
    """Those of ``fields`` that answers over plain http may carry as well."""
    return {name: value for name, value in fields.items() if name.lower() not in HTTPS_ONLY}


def lines(fields: Mapping[str, str] | Iterable[tuple[str, str]]) -> bytes:
    """Header lines ready to be written, from names and values of the configuration."""
    pairs = fields.items() if isinstance(fields, Mapping) else fields
    return b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in pairs)
