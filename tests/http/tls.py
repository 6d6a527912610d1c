"""Clients that speak TLS in memory."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator

from gateway.core.certificates import read_pair

TAKEN: Any = SimpleNamespace(factory=SimpleNamespace(speaks=[b"h2", b"http/1.1"]))
"""The protocol of a connection that a listener has taken."""


def client(name: str | None, certificate: bytes = b"", protocols: tuple[bytes, ...] = ()) -> SSL.Connection:
    """A client that trusts anybody.

    :param name: the server's name that it asks for.
    :param certificate: its own, with the key.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if certificate:
        pair = read_pair(certificate, certificate)
        context.use_certificate(pair.chain[0])
        context.use_privatekey(pair.key)
    if protocols:
        context.set_alpn_protos(list(protocols))
    connection = SSL.Connection(context, None)
    if name is not None:
        connection.set_tlsext_host_name(name.encode())
    connection.set_connect_state()
    return connection


def written(connection: SSL.Connection) -> bytes:
    """What it has to send."""
    try:
        return connection.bio_read(65536)
    except SSL.WantReadError:
        return b""


def deliver(data: bytes, connection: SSL.Connection) -> None:
    """Bytes arrive, if there are any."""
    if data:
        connection.bio_write(data)


def advance(connection: SSL.Connection) -> None:
    """Go on with the handshake as far as that goes.

    :raises SSL.Error: when it fails.
    """
    with contextlib.suppress(SSL.WantReadError):
        connection.do_handshake()


def shake(
    creator: IOpenSSLServerConnectionCreator,
    name: str | None,
    certificate: bytes = b"",
    protocols: tuple[bytes, ...] = (),
) -> SSL.Connection:
    """The client's side of a connection whose handshake is complete on both sides.

    :raises SSL.Error: when the server's side fails.
    """
    server, asking = creator.serverConnectionForTLS(TAKEN), client(name, certificate, protocols)
    server.set_accept_state()
    for _ in range(3):
        advance(asking)
        deliver(written(asking), server)
        advance(server)
        deliver(written(server), asking)
    return asking
