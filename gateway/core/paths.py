"""Request targets: taken apart, normalised before they are matched, and checked again after a prefix is stripped."""

from __future__ import annotations

import re
from typing import NamedTuple

from gateway.core.errors import BadRequest

_ALREADY_NORMAL = re.compile(rb"(?:/[\w~-][\w~.!$&'()*+,;=:@-]*)+/?|/", re.ASCII)
"""Paths that normalising would return as they are: no escape, no empty segment, no segment that starts with a dot."""

_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_AUTHORITY = re.compile(rb"(?:[\w.~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::\d{0,5})?", re.ASCII)
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_TO_ESCAPE = re.compile(rb"[^\w.~!$&'()*+,;=:@/%-]", re.ASCII)
_FORBIDDEN = re.compile(rb"[\x00-\x20\x7f\\]")
_SEPARATORS = re.compile(rb"(?:/|%2F|%5C)+")
_PARAMETERS = re.compile(rb"(?:;|%3B)[^/]*")
_DOTS_WITH_PARAMETERS = (b".;", b"..;", b".%3B", b"..%3B")  # some decode them first, and cut them off then
_HIDDEN_SEPARATORS = (b"%2F", b"%5C", b"%00")
_HIDDEN_DOTS = re.compile(rb"%00|(?:/|%2F|%5C)\.\.?(?:%2F|%5C)|(?:%2F|%5C)\.\.?(?:/|$)")
"""Dot segments that appear once an upstream decodes separators, and a NUL, which may end a path there."""


class Target(NamedTuple):
    """A request target in its parts (RFC 9112 section 3.2)."""

    path: bytes
    """Normalised: what is matched, and what is forwarded."""
    query: bytes
    """Without its ``?``; passed on as it came."""
    authority: bytes
    """Of an absolute-form target; empty otherwise."""


def split_target(target: bytes) -> Target:
    """Take an origin-form or absolute-form target apart.

    :raises BadRequest: for any other form, a fragment, a control character or a broken escape.
    """
    authority = b""
    if not target.startswith(b"/"):
        match = _ABSOLUTE.fullmatch(target)
        if match is None:
            raise BadRequest("The request target must be a path or an http URL")
        authority, target = match.groups()
        if not valid_authority(authority):
            raise BadRequest("The request target names no valid host")
        if not target.startswith(b"/"):
            target = b"/" + target
    path, _, query = target.partition(b"?")
    if _ALREADY_NORMAL.fullmatch(path) is None:
        path = normalize(path)
    if query and (b"#" in query or _FORBIDDEN.search(query)):
        raise BadRequest("The query has a character that must be percent-encoded")
    return Target(path, query, authority)


def valid_authority(authority: bytes) -> bool:
    """Whether a Host value is ``host`` or ``host:port`` (RFC 9110 section 7.2), with nothing around it."""
    return _AUTHORITY.fullmatch(authority) is not None


def normalize(path: bytes) -> bytes:
    """Bring an absolute path into its one normal form (RFC 3986 section 6.2.2).

    Escapes of unreserved characters are decoded, the others written in upper case, characters that should have been
    escaped are, and only then are dot segments removed. Empty segments stay: they match no route.

    :raises BadRequest: for control characters, NUL, backslashes, broken escapes, fragments, and dot segments that have
        parameters or are hidden by encoded separators.
    """
    if _FORBIDDEN.search(path) or b"#" in path:
        raise BadRequest("The path has a character that must be percent-encoded")
    path = _ESCAPE.sub(_normal_escape, path)
    path = _TO_ESCAPE.sub(lambda match: b"%%%02X" % match[0][0], path)
    if b"%" in path and _HIDDEN_DOTS.search(path):
        raise BadRequest("The path has a separator where none may be")
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment.startswith(_DOTS_WITH_PARAMETERS):
            raise BadRequest("A dot segment cannot have parameters")
        if segment == b"..":
            if kept:
                kept.pop()
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)


def merged(path: bytes) -> bytes | None:
    """A normalised path as a server reads it that decodes separators and merges them; None when it makes no sense."""
    plain = _SEPARATORS.sub(b"/", path)
    try:
        return path if plain == path else normalize(plain)
    except BadRequest:
        return None


def loosest(path: bytes) -> bytes | None:
    """A normalised path as the most lenient server reads it, for comparisons: as :func:`merged` does, without the
    parameters of segments (``;x``), which Java's servers cut off, and in lower case, which Express takes for the same.
    """
    plain = merged(path)
    if plain is not None and (b";" in plain or b"%3B" in plain):
        plain = merged(_PARAMETERS.sub(b"", plain))
    return None if plain is None else plain.lower()


def strip_prefix(path: bytes, prefix: bytes) -> bytes:
    """The rest of a normalised path below ``prefix``, itself an absolute path.

    :raises BadRequest: when the rest could be read as another path by the upstream: hidden separators, ``//``.
    """
    rest = path[len(prefix) :] if prefix != b"/" else path
    if not rest:
        return b"/"
    if rest.startswith(b"//") or any(hidden in rest for hidden in _HIDDEN_SEPARATORS):
        raise BadRequest("The path has a separator where none may be")
    return rest


def _normal_escape(match: re.Match[bytes]) -> bytes:
    if match[1] is None:
        raise BadRequest("The path has a broken percent-encoding")
    code = int(match[1], 16)
    return bytes((code,)) if code in _UNRESERVED else match[0].upper()
