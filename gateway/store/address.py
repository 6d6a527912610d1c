"""Where a Redis is, as a URL says it: at a host, or wherever Sentinel says the master is."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS

PATIENCE = 1.0
"""Seconds after which a connection that does not come about, or on which an answer is missing, is given up."""

PORT = 6379
SENTINEL_PORT = 26379
"""Where a Redis and a Sentinel are that do not say another port."""


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

        :param url: as :func:`gateway.config.places.redis_url` takes it, which finds the mistakes.
        """
        scheme, _, rest = url.partition("://")
        credentials, _, rest = rest.rpartition("@")
        user, _, password = credentials.partition(":")
        places, _, path = rest.partition("/")
        service = ""
        sentinels: tuple[tuple[str, int], ...] = ()
        if scheme == "sentinel":
            service, _, path = path.partition("/")
            sentinels = tuple(_place(each, SENTINEL_PORT) for each in places.split(","))
        host, port = sentinels[0] if sentinels else _place(places, PORT)
        return cls(
            host,
            port,
            int(path.strip("/") or 0),
            unquote(user) or None,
            unquote(password) or None,
            scheme == "rediss",
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


def _place(text: str, usual: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    return parts.hostname or "", parts.port or usual
