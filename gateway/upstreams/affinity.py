"""What requests that belong together have in common: the key that they are hashed by."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.http.request import Request


def affinity(hash_on: str) -> Callable[[Request], bytes]:
    """What takes the key from a request; one that has none goes by its client's address.

    :param hash_on: ``client``, ``user`` (of the token), ``header:NAME`` or ``cookie:NAME``.
    """
    kind, _, name = hash_on.partition(":")
    if kind == "header":
        lower = name.lower().encode()
        return lambda request: request.field(lower) or _client(request)
    if kind == "cookie":
        cookie = name.encode()
        return lambda request: request.received_cookies.get(cookie) or _client(request)
    return _user if kind == "user" else _client


def _client(request: Request) -> bytes:
    return request.remote.encode()


def _user(request: Request) -> bytes:
    return _client(request) if request.claims is None else request.claims.subject.encode()
