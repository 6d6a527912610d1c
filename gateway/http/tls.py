"""TLS towards clients: what is negotiated, who is asked for a certificate, and the transport that results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Protocol

from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509, X509Store, X509StoreFlags
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from gateway.core.certificates import KeyPair
from gateway.http.seldom import Seldom

if TYPE_CHECKING:
    from gateway.core.tokens import Claims

_CIPHERS: Final = b"ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption (RFC 9325 section 4.2); all of TLS 1.3's have both."""

_OPTIONS: Final = SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE

Select = Callable[[str], "SSL.Context | None"]
"""Finds the context of a server's name."""


@dataclass(frozen=True)
class ClientPolicy:
    """Which certificates of clients are accepted.

    :param authorities: who issues them.
    :param revoked: lists of those that are not any more; when there are any, each authority that issues to clients
        needs one, and one that is out of date refuses everybody.
    :param required: whether a client without a certificate is refused.
    """

    authorities: tuple[x509.Certificate, ...]
    revoked: tuple[x509.CertificateRevocationList, ...]
    required: bool


def make_context(pair: KeyPair, select: Select, policy: ClientPolicy | None) -> SSL.Context:
    """What connections that use a certificate are made of.

    :param select: asked for the context of the name that a client wants to reach (SNI, RFC 6066 section 3).
    :param policy: None when clients are not asked for certificates.
    :raises ValueError: when OpenSSL does not take the certificate; says why, in words that follow its file's name.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(_OPTIONS)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_cipher_list(_CIPHERS)
    context.set_alpn_select_callback(_protocol)
    context.set_session_id(b"smartgate")
    try:
        context.use_certificate(pair.chain[0])
        for certificate in pair.chain[1:]:
            context.add_extra_chain_cert(certificate)
        context.use_privatekey(pair.key)
    except (SSL.Error, TypeError) as error:
        raise ValueError(f"has a certificate that OpenSSL does not take: {reason(error)}") from None

    def switch(connection: SSL.Connection) -> None:
        name = connection.get_servername()
        found = select(name.decode("latin-1")) if name else None
        if found is not None:
            connection.set_context(found)

    context.set_tlsext_servername_callback(switch)
    if policy is not None:
        _ask_for_certificates(context, policy)
    return context


def _ask_for_certificates(context: SSL.Context, policy: ClientPolicy) -> None:
    store = context.get_cert_store()
    assert isinstance(store, X509Store)
    for authority in policy.authorities:
        store.add_cert(X509.from_cryptography(authority))
        context.add_client_ca(authority)
    for revoked in policy.revoked:
        store.add_crl(revoked)
    if policy.revoked:
        store.set_flags(X509StoreFlags.CRL_CHECK)
    context.set_verify(SSL.VERIFY_PEER | (SSL.VERIFY_FAIL_IF_NO_PEER_CERT if policy.required else 0))
    # A session that is taken up again is not verified again: what was revoked meanwhile would get in.
    context.set_options(SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)


def accept(context: SSL.Context, transport: TLSTransport) -> SSL.Connection:
    """OpenSSL's side of a new client's transport."""
    connection = SSL.Connection(context, None)
    connection.set_app_data(transport)
    return connection


def _protocol(connection: SSL.Connection, offered: list[bytes]) -> bytes:
    """The protocol that both speak; none ends the handshake (RFC 7301 section 3.2)."""
    transport: TLSTransport = connection.get_app_data()
    for protocol in transport.factory.speaks:
        if protocol in offered:
            return protocol
    raise SSL.Error([("", "", "no application protocol")])


def reason(error: BaseException) -> str:
    """What OpenSSL says."""
    queue = error.args[0] if error.args else None
    return str(queue[-1][-1]) if isinstance(queue, list) and queue else str(error) or type(error).__name__


class Identify(Protocol):
    """Finds out who has a certificate."""

    def __call__(self, certificate: x509.Certificate) -> Claims | None:
        """The claims of its holder; None when it names nobody."""


class TLSTransport(TLSMemoryBIOProtocol):
    """A connection of a client.

    What is written leaves at the end of the turn anyway, so nothing is collected here first.
    """

    factory: TLSFactory
    _begun = False

    def makeConnection(self, transport: Any) -> None:
        super().makeConnection(transport)
        self._begun = not self.disconnecting  # whom the gateway turns away at once has not failed

    @cached_property
    def certified(self) -> Claims | None:
        """Who the client is by its certificate, which was verified in the handshake; None when that says nothing."""
        identify = self.factory.identify
        certificate = self.getPeerCertificate() if identify is not None else None
        return identify(certificate.to_cryptography()) if identify is not None and certificate is not None else None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._begun and not self._handshakeDone:
            self.factory.failed(self, self._reason or reason)
        super().connectionLost(reason)
        self._producer = None  # which knows this, by the channel

    def _tlsShutdownFinished(self, reason: Any) -> None:
        super()._tlsShutdownFinished(reason)
        if reason is not None:  # the frames of its traceback know it, and OpenSSL's connection
            reason.tb = reason.value.__traceback__ = None


class TLSFactory(TLSMemoryBIOFactory):
    """Makes connections of clients secure.

    :param contexts: makes their OpenSSL connections.
    :param inner: who serves them, and says which protocols it speaks.
    :param identify: finds out who a client is by its certificate; None when no client is asked for one.
    :ivar speaks: what is spoken behind TLS, the preferred first.
    :ivar failures: how many handshakes have failed.
    """

    protocol = TLSTransport
    _log = Logger()

    def __init__(
        self, contexts: IOpenSSLServerConnectionCreator, inner: Any, clock: IReactorTime, identify: Identify | None
    ) -> None:
        super().__init__(contexts, False, inner, clock)
        self.identify = identify
        self.speaks: Sequence[bytes] = inner.acceptableProtocols()
        self.failures = 0
        self._told = Seldom(clock)

    def failed(self, transport: TLSTransport, failure: Failure) -> None:
        """A handshake was not completed; who only comes and goes is not worth a line."""
        if isinstance(failure.value, SSL.Error):
            why = reason(failure.value)
        elif isinstance(failure.value, ConnectionAborted):
            why = "it did not end in time"
        else:
            return
        self.failures += 1
        if (silent := self._told.due()) is not None:
            peer = getattr(transport.getPeer(), "host", "a Unix socket")
            text = "The TLS handshake with {peer} failed: {why} ({silent} more failed since the last line)"
            self._log.warn(text, peer=peer, why=why, silent=silent)
