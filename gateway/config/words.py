"""Words as the file spells them: names of fields, methods, roles and upstreams, and lists of them.

Every function takes what the TOML has and returns what the gateway uses, or raises ValueError with the words that
follow "must be" in the report of mistakes.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, TypeVar

from pydantic import AfterValidator

from gateway.core.headers import FieldName
from gateway.core.tokens import MAX_NAME

EntryT = TypeVar("EntryT")

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_FIELD_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?)?")
_METHOD = re.compile(r"[A-Z][A-Z0-9_-]*")
_NAME = re.compile(r"[\w.:@-]+")
_UPSTREAM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_FRAMING: Final = frozenset(
    ("connection", "content-length", "date", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
)


def token(value: str) -> str:
    """A header field's name (RFC 9110 section 5.1)."""
    if _TOKEN.fullmatch(value) is None:
        raise ValueError("the name of a header field: letters, digits and hyphens")
    return value


def security_name(value: str) -> str:
    """The name of a field that every answer may get."""
    if token(value).lower() in _FRAMING:
        raise ValueError("a field that says nothing about the message's length or its connection")
    return value


def key_header(value: str) -> str:
    """The name of a field that is free to carry API keys."""
    if token(value).lower() in ("authorization", "cookie", "origin") or not FieldName(value.encode()).passes:
        raise ValueError('a field that has no other meaning, such as "X-API-Key"')
    return value


def field_value(value: str) -> str:
    """The value of a header field (RFC 9110 section 5.5), which may be empty."""
    if _FIELD_VALUE.fullmatch(value) is None:
        raise ValueError("a header value: printable ASCII without line breaks, no space at its ends")
    return value


def method(value: str) -> str:
    """A request method; they are case-sensitive (RFC 9110 section 9.1)."""
    if _METHOD.fullmatch(value) is None:
        raise ValueError("a request method in upper case, such as GET")
    return value


def method_or_any(value: str) -> str:
    """A request method, or ``*`` for all others."""
    return value if value == "*" else method(value)


def name(value: str) -> str:
    """A role or a claim: a word without spaces."""
    if _NAME.fullmatch(value) is None:
        raise ValueError("a name without spaces: letters, digits and . _ - : @")
    return value


def hash_on(value: str) -> str:
    """What requests that belong together have in common; or ``""``."""
    kind, colon, key = value.partition(":")
    if colon and kind in ("header", "cookie"):
        if _TOKEN.fullmatch(key) is None:
            raise ValueError(f'"{kind}:" and the name of a {kind}')
    elif value not in ("", "client", "user"):
        raise ValueError('"client", "user", "header:NAME" or "cookie:NAME"')
    return value


def subject(value: str) -> str:
    """Whom a certificate names."""
    if not 0 < len(value) <= MAX_NAME or not value.isprintable():
        raise ValueError(f"the name in a certificate: 1 to {MAX_NAME} characters, without control characters")
    return value


def claim(value: str) -> str:
    """The name of a claim, which may be a URL."""
    if not value or not value.isprintable() or " " in value:
        raise ValueError('the name of a claim, such as "role"')
    return value


def upstream_name(value: str) -> str:
    """A name that can stand in a metric's label and a log line as it is."""
    if _UPSTREAM_NAME.fullmatch(value) is None:
        raise ValueError("a name of letters, digits, dots, hyphens and underscores")
    return value


def printable(value: str) -> str:
    """A string without line breaks and other control characters."""
    if not value.isprintable():
        raise ValueError("text without control characters")
    return value


def nonempty(values: tuple[EntryT, ...]) -> tuple[EntryT, ...]:
    """A list with something in it."""
    if not values:
        raise ValueError("a list with at least one entry")
    return values


def several(values: tuple[str, ...]) -> tuple[str, ...]:
    """A list with something in it, and nothing twice."""
    return distinct(nonempty(values))


def distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    """A list with nothing twice."""
    if len(set(values)) < len(values):
        twice = next(value for value in values if values.count(value) > 1)
        raise ValueError(f'a list without repetitions; "{twice}" is there more than once')
    return values


Token = Annotated[str, AfterValidator(token)]
SecurityName = Annotated[str, AfterValidator(security_name)]
KeyHeader = Annotated[str, AfterValidator(key_header)]
FieldValue = Annotated[str, AfterValidator(field_value)]
Method = Annotated[str, AfterValidator(method)]
MethodOrAny = Annotated[str, AfterValidator(method_or_any)]
Name = Annotated[str, AfterValidator(name)]
HashOn = Annotated[str, AfterValidator(hash_on)]
Subject = Annotated[str, AfterValidator(subject)]
Claim = Annotated[str, AfterValidator(claim)]
UpstreamName = Annotated[str, AfterValidator(upstream_name)]
Printable = Annotated[str, AfterValidator(printable)]
NonEmpty = AfterValidator(nonempty)
Several = AfterValidator(several)
Distinct = AfterValidator(distinct)
