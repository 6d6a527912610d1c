"""Tests of gateway.http.tls."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from weakref import ref

from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.certificates import ClientNames
from gateway.http.certificates import CertificateDirectory, ClientAuthorities
from gateway.http.tls import TLSFactory, reason
from tests.certificates import Authority
from tests.http.tls import advance, client, deliver, shake, written
from tests.logs import observed

AUTHORITY = Authority("authority")


class Speaking(Factory):
    """Serves clients, in a way that nobody else knows."""

    protocol = Protocol

    def acceptableProtocols(self) -> list[bytes]:
        return [b"hush"]


class TLSCase(SynchronousTestCase):
    """A listener with one certificate, and a client."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.mkdir()
        (self.path / "a.pem").write_bytes(AUTHORITY.certificate("a"))
        (self.path / "authority").write_bytes(AUTHORITY.pem)
        self.clock = Clock()
        self.log = observed(self)
        self.make()

    def make(self, clients: bool = False) -> None:
        authorities = ClientAuthorities(str(self.path / "authority"), "", False) if clients else None
        identify = ClientNames("cn", {"machine": "service"}, False).claims if clients else None
        self.directory = CertificateDirectory(str(self.path), authorities)
        self.factory = TLSFactory(self.directory, Speaking(), self.clock, identify)

    def connect(self, asking: SSL.Connection | None = None, loses: bool = True) -> Any:
        """A connection whose handshake has gone as far as it goes.

        :param loses: whether the transport is gone as soon as it is told to be.
        """
        transport: Any = StringTransportWithDisconnection(peerAddress=IPv4Address("TCP", "192.0.2.7", 4000))
        transport.abortConnection = lambda: None
        if not loses:
            transport.loseConnection = lambda: None
        connection: Any = self.factory.buildProtocol(transport.getPeer())
        transport.protocol = connection
        connection.makeConnection(transport)
        for _ in range(3 if asking is not None else 0):
            assert asking is not None
            advance(asking)
            if data := written(asking):
                connection.dataReceived(data)
            deliver(transport.value(), asking)
            transport.clear()
        return connection


class ProtocolTests(TLSCase):
    """What is spoken behind TLS."""

    def test_agreed(self) -> None:
        """What the listener likes best of what the client speaks, or nothing that was spoken of."""
        for offered, agreed in (
            ((b"spdy/1", b"http/1.1"), b"http/1.1"),
            ((b"http/1.1", b"h2"), b"h2"),
            ((), b""),
        ):
            shaken = shake(self.directory, "a", protocols=offered)
            self.assertEqual(shaken.get_alpn_proto_negotiated(), agreed)

    def test_what_the_listener_speaks(self) -> None:
        """It is who serves the clients that knows."""
        asking = client("a", protocols=(b"h2", b"hush"))
        self.connect(asking)
        self.assertEqual(asking.get_alpn_proto_negotiated(), b"hush")

    def test_not_agreed(self) -> None:
        """A client that offers other protocols alone is refused."""
        error = self.assertRaises(SSL.Error, shake, self.directory, "a", protocols=(b"ftp",))
        self.assertEqual(reason(error), "no application protocol")


class IdentityTests(TLSCase):
    """Who a client is by its certificate."""

    def test_nobody_asked(self) -> None:
        """Without the question there is no answer."""
        self.assertIsNone(self.connect(client("a", AUTHORITY.certificate("machine"))).certified)

    def test_certified(self) -> None:
        """What its certificate says, worked out once."""
        self.make(clients=True)
        connection = self.connect(client("a", AUTHORITY.certificate("machine")))
        self.assertEqual((connection.certified.subject, connection.certified.role), ("machine", "service"))
        self.assertIs(connection.certified, connection.certified)

    def test_no_certificate(self) -> None:
        """A client without one is nobody."""
        self.make(clients=True)
        self.assertIsNone(self.connect(client("a")).certified)


class FailureTests(TLSCase):
    """Handshakes that fail."""

    def said(self) -> list[tuple[object, ...]]:
        return [(event["peer"], event["why"], event["silent"]) for event in self.log]

    def test_what_openssl_says(self) -> None:
        """It is logged and counted."""
        self.connect().dataReceived(b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(self.said(), [("192.0.2.7", "http request", 0)])
        self.assertEqual(self.factory.failures, 1)

    def test_flood(self) -> None:
        """Of many the log tells once a second; all are counted."""
        for _ in range(10):
            self.connect().dataReceived(b"GET / HTTP/1.1\r\n\r\n")
            self.clock.advance(0.125)
        self.assertEqual([silent for *_, silent in self.said()], [0, 7])
        self.assertEqual(self.factory.failures, 10)

    def test_aborted(self) -> None:
        """So is one that took too long."""
        connection = self.connect(loses=False)
        connection.connectionLost(Failure(ConnectionAborted()))
        self.assertEqual(self.said(), [("192.0.2.7", "it did not end in time", 0)])

    def test_turned_away(self) -> None:
        """Whom the gateway does not want to hear has not failed."""

        class TurnedAway(Protocol):
            def connectionMade(self) -> None:
                transport: Any = self.transport
                transport.abortConnection()

        self.factory.wrappedFactory = Factory.forProtocol(TurnedAway)
        self.connect(loses=False).connectionLost(Failure(ConnectionAborted()))
        self.assertEqual((self.said(), self.factory.failures), ([], 0))

    def test_gone(self) -> None:
        """Who comes and goes, as load balancers do to see whether somebody is there, is not worth a line."""
        self.connect().transport.loseConnection()
        self.assertEqual(self.said(), [])

    def test_complete(self) -> None:
        """A connection that ends after its handshake has not failed."""
        self.connect(client("a")).transport.loseConnection()
        self.assertEqual((self.said(), self.factory.failures), ([], 0))

    def test_reasons(self) -> None:
        """OpenSSL's last words, or what else is known."""
        self.assertEqual(reason(SSL.Error([("", "", "first"), ("", "", "last")])), "last")
        self.assertEqual(reason(SSL.Error([])), "[]")
        self.assertEqual(reason(SSL.Error()), "Error")
        self.assertEqual(reason(TypeError("odd")), "odd")


class MemoryTests(TLSCase):
    """What a connection held is let go with it, and does not wait until garbage is collected."""

    def test_gone(self) -> None:
        """Its channel, which produces what is sent, is let go, and so is OpenSSL's side of it."""
        gc.disable()
        self.addCleanup(gc.enable)
        connection = self.connect(client("a"))
        transport, channel = connection.transport, Mock(spec_set=("transport", *IPushProducer))
        channel.transport = connection
        connection.registerProducer(channel, True)
        known = [ref(connection), ref(channel), ref(connection._tlsConnection)]
        transport.loseConnection()
        transport.protocol = transport.producer = None
        del connection, channel
        self.assertEqual([each() for each in known], [None, None, None])
