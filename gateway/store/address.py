"""Where a Redis is, as a URL says it."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS

PATIENCE = 1.0
"""Seconds after which a connection that does not come about, or on which an answer is missing, is given up."""


class Address(NamedTuple):
    """Where Redis is, and as whom to speak to it."""

    host: str
    port: int
    database: int
    user: str | None
    password: str | None
    tls: bool

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read ``redis://[[user]:password@]host[:port][/database]``; ``rediss://`` is TLS with the server verified.

        :raises ValueError: when it is anything else; the text never holds the password.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ValueError(f"not a URL of a Redis: {error}") from None
        if parts.scheme not in ("redis", "rediss") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("a Redis is written redis://[user:password@]host[:port][/database], or rediss:// for TLS")
        database = parts.path.strip("/") or "0"
        if not (database.isascii() and database.isdigit()):
            raise ValueError(f"the database of a Redis is a number, not {database!r}")
        return cls(
            parts.hostname,
            6379 if port is None else port,
            int(database),
            unquote(parts.username) if parts.username else None,
            unquote(parts.password) if parts.password else None,
            parts.scheme == "rediss",
        )

    def endpoint(self, reactor: Any) -> IStreamClientEndpoint:
        """How to connect to it."""
        plain = HostnameEndpoint(reactor, self.host, self.port, timeout=PATIENCE)
        return wrapClientTLS(optionsForClientTLS(self.host), plain) if self.tls else plain
