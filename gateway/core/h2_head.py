"""A request's head as HTTP/2 carries it, held against the rules that keep it from becoming two requests in HTTP/1.1."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from gateway.core.errors import BadRequest, HeadTooLarge, TargetTooLong
from gateway.core.headers import FieldName, field_name
from gateway.core.methods import REFUSED
from gateway.core.paths import valid_authority

CONNECTION_FIELDS: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
"""Fields that HTTP/2 has no use for, and whose presence makes a message malformed (RFC 9113 section 8.2.2)."""

_PSEUDO: Final = frozenset((b":method", b":scheme", b":authority", b":path"))
_SCHEMES: Final = (b"https", b"http")
_METHOD: Final = re.compile(rb"[A-Z][A-Z-]{0,31}")
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_NOT_A_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]|\A[ \t]|[ \t]\Z")
_LONGEST_LENGTH: Final = 18  # digits; more than any body has


class Head(NamedTuple):
    """A head that is well formed."""

    method: bytes
    target: bytes
    """In origin form; not normalised yet."""
    authority: bytes
    fields: list[tuple[FieldName, bytes]]
    """Without the pseudo-fields; crumbs of a cookie put together again (RFC 9113 section 8.2.3)."""
    by_name: dict[bytes, bytes]
    """Their values; those of a repeated field are joined with ``, ``. There is a ``host`` always."""
    repeated: set[bytes]
    content_length: int | None


def read_head(headers: Iterable[tuple[bytes, bytes]], size_limit: int, fields_limit: int, target_limit: int) -> Head:
    """Read a decoded header list (RFC 9113 section 8.3).

    :param size_limit: bytes of names and values, counted as HTTP/1.1 would write them.
    :param fields_limit: how many fields; a cookie counts as one, however it was crumbled.
    :raises BadRequest: when it is malformed.
    :raises HeadTooLarge: TargetTooLong, MethodNotAllowed or NotImplementedHere, as for HTTP/1.1.
    """
    pseudo: dict[bytes, bytes] = {}
    fields: list[tuple[FieldName, bytes]] = []
    index: dict[bytes, bytes] = {}
    repeated: set[bytes] = set()
    size = 0
    for name, value in headers:
        if _NOT_A_VALUE.search(value) is not None:
            raise BadRequest("A header field has a value that HTTP does not allow")
        if name.startswith(b":"):
            if name in pseudo or name not in _PSEUDO or index:
                raise BadRequest("A pseudo-field is unknown, repeated, or not before all others")
            pseudo[name] = value
            if name == b":authority":  # what Host is
                size = len(value)
            continue
        if _NAME.fullmatch(name) is None:
            raise BadRequest("A header field has a name that HTTP/2 does not allow")
        if name in CONNECTION_FIELDS or (name == b"te" and value.lower() != b"trailers"):
            raise BadRequest("A header field is of the connection, which HTTP/2 does not allow")
        size += len(name) + len(value) + 4
        if name not in index:
            index[name] = value
        elif name == b"cookie":
            index[name] += b"; " + value
        else:
            index[name] += b", " + value
            repeated.add(name)
        if name != b"cookie":
            fields.append((field_name(name), value))
        if size > size_limit or len(fields) > fields_limit:
            raise HeadTooLarge
    if b"cookie" in index:
        fields.append((field_name(b"cookie"), index[b"cookie"]))
    return Head(
        *_request_line(pseudo, target_limit),
        _authority(pseudo, index, repeated),
        fields,
        index,
        repeated,
        _length(index, repeated),
    )


def _request_line(pseudo: dict[bytes, bytes], target_limit: int) -> tuple[bytes, bytes]:
    method, target = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    if method in REFUSED:
        raise REFUSED[method]
    if _METHOD.fullmatch(method) is None or pseudo.get(b":scheme", b"").lower() not in _SCHEMES:
        raise BadRequest("The request has no valid method or scheme")
    if len(target) > target_limit:
        raise TargetTooLong
    if not target.startswith(b"/"):
        raise BadRequest("The request target must be a path")
    return method, target


def _authority(pseudo: dict[bytes, bytes], index: dict[bytes, bytes], repeated: set[bytes]) -> bytes:
    """Of ``:authority``, or Host where it is missing; where there are both they agree (RFC 9113 section 8.3.1)."""
    host = index.get(b"host")
    authority = pseudo.get(b":authority", host)
    if authority is None or not valid_authority(authority):
        raise BadRequest("The request names no valid host")
    if host is not None and (b"host" in repeated or host.lower() != authority.lower()):
        raise BadRequest("The request's Host is not its authority")
    index[b"host"] = authority
    return authority


def _length(index: dict[bytes, bytes], repeated: set[bytes]) -> int | None:
    length = index.get(b"content-length")
    if length is None:
        return None
    if b"content-length" in repeated or not length.isdigit() or len(length) > _LONGEST_LENGTH:
        raise BadRequest("The request's Content-Length is not valid")
    return int(length)
