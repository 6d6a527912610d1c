"""The listeners: what stands between an endpoint of the configuration and the site that it serves."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from gateway.config import Settings
from gateway.config.endpoints import take_apart
from gateway.core.addresses import Networks
from gateway.core.certificates import ClientNames
from gateway.http.certificates import CertificateDirectory, ClientAuthorities
from gateway.http.proxy_protocol import ProxyProtocolFactory
from gateway.http.tls import TLSFactory
from gateway.telemetry.metrics import Metrics

RENEWED: Final = 5.0
"""Seconds between two looks at the files of certificates."""


class Listeners:
    """Listens on endpoints, with TLS and the PROXY protocol where they say so.

    :raises ValueError: (from :meth:`listen`) when certificates cannot be used.
    """

    _log = Logger()

    def __init__(self, settings: Settings, reactor: Any, metrics: Metrics) -> None:
        tls = settings.tls
        self._reactor = reactor
        self._timeout = settings.server.head_timeout
        self._proxies = Networks(settings.server.trusted_proxies)
        asked = tls.client_auth != "none"
        self._clients = ClientAuthorities(tls.ca_file, tls.crl_file, tls.client_auth == "required") if asked else None
        self._identify = ClientNames(tls.subject, tls.roles, tls.unit_roles).claims if asked else None
        self._directories: dict[str, CertificateDirectory] = {}
        self._factories: list[TLSFactory] = []
        self._renewing = LoopingCall(self._renew)
        self._renewing.clock = reactor
        metrics.gauges("certificate_expiry_seconds", "Seconds until a certificate ends.", "file", self._expiries)
        metrics.count("tls_handshake_failures", "TLS handshakes of clients that failed.", self._failures)

    def listen(self, text: str, site: Any) -> Deferred[Any]:
        """Serve ``site`` at an endpoint; fires with the port."""
        endpoint = take_apart(text)
        if endpoint.certificates:
            site = TLSFactory(self._directory(endpoint.certificates), site, self._reactor, self._identify)
            self._factories.append(site)
        if endpoint.proxied:
            site = ProxyProtocolFactory(site, self._proxies, self._reactor, self._timeout)
        listening: Deferred[Any] = serverFromString(self._reactor, endpoint.twisted).listen(site)
        return listening

    def stop(self) -> None:
        """Look for new certificates no more."""
        if self._renewing.running:
            self._renewing.stop()

    def _directory(self, path: str) -> CertificateDirectory:
        found = self._directories.get(path)
        if found is None:
            found = self._directories[path] = CertificateDirectory(path, self._clients)
        if not self._renewing.running:
            self._renewing.start(RENEWED).addErrback(
                lambda why: self._log.failure("Certificates stay as they are", why)
            )
        return found

    def _renew(self) -> None:
        now = self._reactor.seconds()
        for directory in self._directories.values():
            directory.renew()
            directory.warn(now)

    def _expiries(self) -> dict[str, float]:
        now = self._reactor.seconds()
        found: dict[str, float] = {}
        for directory in self._directories.values():
            found |= {path: expires - now for path, expires in directory.expiries().items()}
        return found

    def _failures(self) -> int:
        return sum(factory.failures for factory in self._factories)
