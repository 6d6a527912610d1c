"""Where a Redis is, as a URL says it: at a host, or wherever Sentinel says the master is."""

from __future__ import annotations

import re
from typing import Any, NamedTuple, cast
from urllib.parse import unquote, urlsplit

from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS

PATIENCE = 1.0
"""Seconds after which a connection that does not come about, or on which an answer is missing, is given up."""

SENTINEL = 26379
"""The port of a Sentinel that does not say another one."""


class Address(NamedTuple):
    """Where one Redis is, and as whom to speak to it.

    Where ``service`` is set it is the name of a master, and ``sentinels`` are those who know where that is.
    """

    host: str
    port: int
    database: int | None
    user: str | None
    password: str | None
    tls: bool
    service: str = ""
    sentinels: tuple[tuple[str, int], ...] = ()

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read the URL of one Redis.

        ``redis://[[user]:password@]host[:port][/database]``; ``rediss://`` is TLS with the server verified;
        ``sentinel://[[user]:password@]host[:port],.../master[/database]`` asks these Sentinels for the master.

        :raises ValueError: when it is anything else; the text never holds the password.
        """
        try:
            parts = urlsplit(url)
            host, port, path = parts.hostname, parts.port if parts.scheme != "sentinel" else None, parts.path
            user, password = parts.username, parts.password
        except ValueError as error:
            raise ValueError(f"not a URL of a Redis: {error}") from None
        if parts.scheme not in ("redis", "rediss", "sentinel") or not host or parts.query or parts.fragment:
            raise ValueError(
                "a Redis is written redis://[user:password@]host[:port][/database], rediss:// for TLS, "
                "or sentinel://host[:port],host[:port]/master[/database]"
            )
        service, sentinels = "", cast("tuple[tuple[str, int], ...]", ())
        if parts.scheme == "sentinel":
            sentinels = tuple(_sentinel(place) for place in parts.netloc.rpartition("@")[2].split(","))
            service, _, path = path.strip("/").partition("/")
            if not service:
                raise ValueError("a Redis behind Sentinel needs the master's name: sentinel://host[:port],.../master")
            host, port = sentinels[0]
        database = path.strip("/") or "0"
        if not (database.isascii() and database.isdigit()):
            raise ValueError(f"the database of a Redis is a number, not {database!r}")
        return cls(
            host,
            6379 if port is None else port,
            int(database),
            unquote(user) if user else None,
            unquote(password) if password else None,
            parts.scheme == "rediss",
            service,
            sentinels,
        )

    @property
    def name(self) -> str:
        """What it is called in metrics and in the log, and where it stands on the ring: no password."""
        return f"{self.service or f'{self.host}:{self.port}'}/{self.database}"

    def at(self, reactor: Any, host: str, port: int) -> IStreamClientEndpoint:
        """How to connect to it there."""
        plain = HostnameEndpoint(reactor, host, port, timeout=PATIENCE)
        return wrapClientTLS(optionsForClientTLS(host), plain) if self.tls else plain


def several(text: str) -> list[str]:
    """The URLs in a text that separates them by commas; the commas between the Sentinels of one stay."""
    return re.split(r",\s*(?=[a-z]+:)", text.strip())


def _sentinel(place: str) -> tuple[str, int]:
    parts = urlsplit(f"//{place}")
    if not parts.hostname:
        raise ValueError("a Sentinel is written host or host:port")
    return parts.hostname, SENTINEL if parts.port is None else parts.port
