"""One instance of an upstream: where it is, its idle connections, and how a new one is made."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any, Final
from urllib.parse import urlsplit

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHandshakeListener,
    IHostResolution,
    IReactorTime,
    IResolutionReceiver,
)
from twisted.internet.protocol import ClientFactory, connectionDone
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway.core.certificates import KeyPair, read_pair
from gateway.core.errors import UpstreamFailed, UpstreamTimeout
from gateway.core.health import DEFAULT, Health, Rules
from gateway.http.upstream import UpstreamConnection

_TOO_LATE: Final = "The service behind this path did not take the connection in time"


def authorities(path: str) -> Any:
    """The certificates in a PEM file, to trust instead of the platform's; None when there is no path.

    :raises OSError: when it cannot be read.
    :raises ValueError: when it has none.
    """
    if not path:
        return None
    with open(path, "rb") as file:
        found = re.findall(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", file.read(), re.DOTALL)
    if not found:
        raise ValueError(f"{path} has no certificate")
    return trustRootFromCertificates([Certificate.loadPEM(pem) for pem in found])


def shown(host: str, port: int) -> str:
    """A place as logs and URLs have it: ``host:port``, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def own_certificate(path: str) -> KeyPair | None:
    """The certificate and key in a PEM file, to show to instances that ask for one; None when there is no path.

    :raises OSError: when it cannot be read.
    :raises ValueError: when it has none, or no key that belongs to it.
    """
    if not path:
        return None
    with open(path, "rb") as file:
        pem = file.read()
    return read_pair(pem, pem)


class Instance:
    """An ``http://host:port`` or ``https://host:port`` that answers for an upstream.

    :param address: where to connect to, when it is known; else the host is looked up each time. Certificates and Host
        go by the URL either way.
    :param weight: its share of the requests, held against the others' of its priority.
    :param priority: the lowest number is used as long as there is a usable instance that has it.
    :param trust: the authorities an https instance's certificate is held against; None for the platform's.
    :param keep_alive: seconds an idle connection is kept.
    :param max_idle: how many idle connections are kept.
    :param certificate: what is shown to an https instance that asks for a certificate.
    :param server_name: what an https instance is asked for, and its certificate held against; ``""`` for its host.
    :param rules: when it is used.
    """

    def __init__(
        self,
        reactor: Any,
        url: str,
        keep_alive: float = 60.0,
        max_idle: int = 64,
        trust: Any = None,
        weight: float = 1.0,
        address: str = "",
        certificate: KeyPair | None = None,
        server_name: str = "",
        rules: Rules = DEFAULT,
        priority: int = 0,
    ) -> None:
        parts = urlsplit(url)
        self.tls = parts.scheme == "https"
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if self.tls else 80)
        self.address = address or self.host
        self.name = shown(self.address, self.port)
        with_port = shown(self.host, self.port)
        self.authority = (with_port if parts.port else with_port.rpartition(":")[0]).encode()
        self.active = 0
        self.weight = weight
        self.priority = priority
        self.health = Health(rules)
        self._reactor = reactor
        self._trust = trust
        self._max_idle = self._room = max_idle
        self._certificate = certificate
        self._server_name = server_name or self.host
        self._keep_alive = keep_alive
        self._idle: list[UpstreamConnection] = []  # the one that was used last at the end
        self._expiry: IDelayedCall | None = None

    def take(self) -> UpstreamConnection | None:
        """The idle connection that was used last, or None."""
        return self._idle.pop() if self._idle else None

    def give_back(self, connection: UpstreamConnection) -> None:
        """Keep a connection for the next request, and let one that waits for a connection know."""
        if len(self._idle) < self._room:
            self._idle.append(connection)
            connection.idle_since = self._reactor.seconds()
            if self._expiry is None:
                self._expiry = self._reactor.callLater(self._keep_alive, self._expire)
            if connection.slots is not None and connection.slots.waiting:
                connection.slots.wake()
        else:
            connection.abort()

    def shed(self) -> bool:
        """Close the connection that has been idle for longest; whether there was one. Its slot is the caller's."""
        if not self._idle:
            return False
        connection = self._idle.pop(0)
        connection.slots = None
        connection.abort()
        return True

    def idle_lost(self, connection: UpstreamConnection) -> None:
        """An idle connection was closed by the instance."""
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Close the idle connections."""
        while (connection := self.take()) is not None:
            connection.abort()
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    def drain(self) -> None:
        """Keep no connection from now on: requests in flight go on, and their connections end with them."""
        self._room = 0
        self.close()

    def take_back(self) -> None:
        """Be as before :meth:`drain`."""
        self._room = self._max_idle

    def _expire(self) -> None:
        """Close what has been idle for too long: those at the beginning of the list have been for the longest."""
        self._expiry = None
        latest = self._reactor.seconds() - self._keep_alive
        while self._idle and self._idle[0].idle_since <= latest:
            self._idle.pop(0).abort()
        if self._idle:
            self._expiry = self._reactor.callLater(self._idle[0].idle_since - latest, self._expire)

    def connect(self, timeout: float) -> Deferred[UpstreamConnection]:
        """A new connection, in ``timeout`` seconds at most, name look-up and TLS handshake included.

        The Deferred fails with UpstreamFailed or UpstreamTimeout; cancelling it ends the attempt.
        """
        attempt = _Attempt(self._reactor, self.address, self.port, self._factory, timeout)
        return attempt.done

    def _factory(self, attempt: _Attempt) -> ClientFactory:
        connecting = _ConnectionFactory(self, attempt)
        if not self.tls:
            return connecting
        secure = TLSMemoryBIOFactory(self._tls_options, True, connecting, self._reactor)
        secure.protocol = TLSMemoryBIOProtocol  # what is written leaves at the end of the turn, collected or not
        return secure  # type: ignore[return-value]

    @cached_property
    def _tls_options(self) -> Any:
        """What TLS connections are made of: made once, since to read the platform's authorities takes long.

        No protocol is offered (ALPN): HTTP/1.1 goes without saying, and servers of Twisted end a handshake that offers
        what they were not told of.
        """
        more: dict[str, Any] = {}
        if self._certificate is not None:
            first, *chain = self._certificate.chain
            more = {"certificate": first, "privateKey": self._certificate.key, "extraCertChain": chain}
        return optionsForClientTLS(self._server_name, self._trust, extraCertificateOptions=more)


class _ConnectionFactory(ClientFactory):
    noisy = False

    def __init__(self, instance: Instance, attempt: _Attempt) -> None:
        self._instance = instance
        self._attempt = attempt

    def buildProtocol(self, addr: IAddress | None) -> UpstreamConnection:
        return _Fresh(self._instance, self._attempt)

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self._attempt.failed(reason)


@implementer(IHandshakeListener)
class _Fresh(UpstreamConnection):
    """A connection that tells its attempt when it is ready: for TLS, after the handshake."""

    def __init__(self, instance: Instance, attempt: _Attempt) -> None:
        super().__init__(instance)
        self._attempt: _Attempt | None = attempt

    def connectionMade(self) -> None:
        super().connectionMade()
        if not hasattr(self.transport, "negotiatedProtocol"):
            self._ready()

    def handshakeCompleted(self) -> None:
        self._ready()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.failed(reason)
        super().connectionLost(reason)

    def _ready(self) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.succeeded(self)


@implementer(IResolutionReceiver)
class _Attempt:
    """Resolves a host that is no address, then tries its addresses in order until one takes the connection."""

    def __init__(self, reactor: Any, host: str, port: int, factory: Any, timeout: float) -> None:
        self._reactor = reactor
        self._port = port
        self._factory = factory
        self._addresses: list[Any] = []
        self._connector: Any = None
        self._timeout = timeout
        self._error: Exception = UpstreamFailed()
        self._over = False
        self.done: Deferred[UpstreamConnection] = Deferred(self._stop)
        clock: IReactorTime = reactor
        self._timer = clock.callLater(timeout, self._timed_out)
        if isIPAddress(host) or isIPv6Address(host):
            self._addresses.append(IPv4Address("TCP", host, port))
            self._next()
        else:
            reactor.nameResolver.resolveHostName(self, host, port)

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """The look-up has begun; the attempt's own timeout ends it."""

    def addressResolved(self, address: IAddress) -> None:
        self._addresses.append(address)

    def resolutionComplete(self) -> None:
        self._next()

    def _next(self) -> None:
        if self._over:
            return
        if not self._addresses:
            self._end()
            self.done.errback(Failure(self._error))
            return
        host = self._addresses.pop(0).host
        self._connector = self._reactor.connectTCP(host, self._port, self._factory(self), self._timeout)

    def succeeded(self, connection: UpstreamConnection) -> None:
        if self._over:
            connection.abort()
            return
        self._end()
        self.done.callback(connection)

    def failed(self, reason: Failure) -> None:
        if reason.check(ConnectTimeout):
            self._error = UpstreamTimeout(_TOO_LATE)
        elif not reason.check(ConnectError):
            self._error = UpstreamFailed("No secure connection to the service behind this path can be made")
        self._next()

    def _timed_out(self) -> None:
        self._stop()
        self.done.errback(Failure(UpstreamTimeout(_TOO_LATE)))

    def _stop(self, _: object = None) -> None:
        """Give up; what the connector says of that is no news."""
        connector = self._connector
        self._end()
        if connector is not None:
            connector.disconnect()

    def _end(self) -> None:
        self._over = True
        self._connector = None  # which knows this by its factory
        if self._timer.active():
            self._timer.cancel()
