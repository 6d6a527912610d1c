"""Tests of gateway.upstreams.instance."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any
from weakref import ref

from cryptography.x509 import load_pem_x509_certificate
from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.test.iosim import FakeTransport, connect
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.circuit import Slots
from gateway.core.errors import UpstreamFailed, UpstreamTimeout
from gateway.http.upstream import UpstreamConnection
from gateway.upstreams.instance import Instance, authorities, own_certificate
from tests.certificates import Authority
from tests.upstreams.network import Network, Resolver, Transport


class InstanceCase(SynchronousTestCase):
    """Instances on a network in memory."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.resolver = Resolver()
        self.reactor.installNameResolver(self.resolver)
        self.network = Network(self.reactor)

    def make(self, url: str = "http://192.0.2.1:8080", **options: Any) -> Instance:
        return Instance(self.reactor, url, **options)

    def nothing_waits(self) -> None:
        """No timer is left behind."""
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class PlaceTests(InstanceCase):
    """What a URL says."""

    def test_where_it_is(self) -> None:
        """Host, port and scheme; its name always has the port, its Host only one that the URL has."""
        places = {
            "http://core:3001": ("core", 3001, False, "core:3001", b"core:3001"),
            "http://core": ("core", 80, False, "core:80", b"core"),
            "https://core": ("core", 443, True, "core:443", b"core"),
            "http://[::1]:3001": ("::1", 3001, False, "[::1]:3001", b"[::1]:3001"),
            "https://[::1]": ("::1", 443, True, "[::1]:443", b"[::1]"),
        }
        for url, expected in places.items():
            made = self.make(url)
            self.assertEqual((made.host, made.port, made.tls, made.name, made.authority), expected)

    def test_where_it_was_found(self) -> None:
        """With an address it is called by that, and its Host is still its name's."""
        for address, name in (("192.0.2.1", "192.0.2.1:3001"), ("2001:db8::1", "[2001:db8::1]:3001")):
            made = self.make("http://core:3001", address=address)
            self.assertEqual((made.host, made.name, made.authority), ("core", name, b"core:3001"))
            made.connect(3)
            self.assertEqual((self.network.hosts[-1], self.resolver.asked), (address, []))


class PoolTests(InstanceCase):
    """Connections that wait for the next request."""

    def pool(self, count: int, **options: Any) -> list[Transport]:
        """Give back so many new connections, one a second."""
        self.instance = self.make(**options)
        for _ in range(count):
            self.instance.connect(3)
            self.reactor.advance(1)
            self.instance.give_back(self.network.attempts[-1].accepted().protocol)
        return [attempt.transport for attempt in self.network.attempts]  # type: ignore[misc]

    def taken(self) -> Any:
        """The transport of the connection that is taken."""
        connection = self.instance.take()
        return connection and connection.transport

    def test_last_in_first_out(self) -> None:
        """The connection used last comes first, so that those not needed grow old; then there is none."""
        first, second = self.pool(2)
        self.assertEqual([self.taken(), self.taken(), self.taken()], [second, first, None])

    def test_no_more_than_allowed(self) -> None:
        """What is over the limit is cut."""
        first, second = self.pool(2, max_idle=1)
        self.assertEqual((first.aborted, second.aborted), (False, True))
        self.assertEqual([self.taken(), self.taken()], [first, None])

    def test_old_ones_are_cut(self) -> None:
        """A connection that nobody used for so long is cut, and a younger one stays."""
        first, second = self.pool(2, keep_alive=60)
        self.reactor.advance(59)
        self.assertEqual((first.aborted, second.aborted), (True, False))
        self.assertEqual([self.taken(), self.taken()], [second, None])

    def test_taken_ones_do_not_grow_old(self) -> None:
        """A connection at work is left alone, and waits its full time again afterwards."""
        (only,) = self.pool(1, keep_alive=60)
        self.reactor.advance(50)
        self.assertIs(self.taken(), only)
        self.reactor.advance(50)
        self.instance.give_back(only.protocol)
        self.reactor.advance(59)
        self.assertFalse(only.aborted)
        self.reactor.advance(1)
        self.assertTrue(only.aborted)

    def test_closed_by_the_instance(self) -> None:
        """A connection that was closed is not given to anybody."""
        first, second = self.pool(2)
        second.lost()
        self.assertEqual([self.taken(), self.taken()], [first, None])

    def test_bytes_nobody_asked_for(self) -> None:
        """A connection that speaks unasked is cut, and not given to anybody, even before it has ended."""
        (only,) = self.pool(1)
        only.protocol.dataReceived(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        self.assertTrue(only.aborted)
        self.assertIsNone(self.taken())

    def test_drain(self) -> None:
        """All that wait are cut, and those that come back later, until the instance is taken back."""
        (idle,) = self.pool(1)
        self.instance.connect(3)
        busy = self.network.attempts[-1].accepted()
        self.instance.drain()
        self.assertEqual((idle.aborted, busy.aborted), (True, False))
        self.instance.give_back(busy.protocol)
        self.assertTrue(busy.aborted)
        self.instance.take_back()
        self.instance.connect(3)
        again = self.network.attempts[-1].accepted()
        self.instance.give_back(again.protocol)
        self.assertIs(self.taken(), again)

    def test_who_waits_for_a_connection(self) -> None:
        """One that comes back, or is cut, lets the first who waits try again."""
        slots, woken = Slots(lambda: 1, 2), []

        class Waiting:
            def woken(self) -> None:
                woken.append(instance.take())

        (transport,) = self.pool(1)
        instance, connection = self.instance, transport.protocol
        self.assertIs(instance.take(), connection)
        connection.slots = slots
        self.assertTrue(slots.take() and slots.wait(Waiting()) and slots.wait(Waiting()))
        instance.give_back(connection)
        self.assertEqual(woken, [connection])
        instance.drain()
        instance.give_back(connection)
        self.assertEqual((woken, slots.taken), ([connection, None], 0))

    def test_close(self) -> None:
        """All that wait are cut."""
        transports = self.pool(2)
        self.instance.close()
        self.assertEqual([transport.aborted for transport in transports], [True, True])
        self.assertIsNone(self.taken())


class ConnectTests(InstanceCase):
    """Attempts to connect."""

    def test_address(self) -> None:
        """An address needs no look-up."""
        for url, host in (("http://192.0.2.1:8080", "192.0.2.1"), ("http://[2001:db8::1]:8080", "2001:db8::1")):
            done = self.make(url).connect(3)
            attempt = self.network.attempts[-1]
            self.assertEqual((attempt.host, attempt.port), (host, 8080))
            self.assertNoResult(done)
            transport = attempt.accepted()
            self.assertIs(self.successResultOf(done), transport.protocol)
        self.assertEqual(self.resolver.asked, [])
        self.nothing_waits()

    def test_over(self) -> None:
        """What an attempt needed is let go with it, and does not wait until garbage is collected."""
        gc.disable()
        self.addCleanup(gc.enable)
        self.make().connect(3)
        attempt = self.network.attempts.pop()
        attempt.accepted()
        known = ref(attempt)
        del attempt
        self.assertIsNone(known())

    def test_name(self) -> None:
        """A name is looked up, and its addresses are tried in their order until one takes the connection."""
        done = self.make("http://core:8080").connect(3)
        self.assertEqual((self.resolver.asked, self.network.attempts), (["core"], []))
        self.resolver.found("2001:db8::1", "192.0.2.1", "192.0.2.2")
        self.network.attempts[0].failIfNotConnected(ConnectionRefusedError())
        transport = self.network.attempts[1].accepted()
        self.assertIs(self.successResultOf(done), transport.protocol)
        self.assertEqual(self.network.hosts, ["2001:db8::1", "192.0.2.1"])
        self.nothing_waits()

    def test_name_without_an_address(self) -> None:
        """A name that nobody knows is an instance that cannot be reached."""
        done = self.make("http://core").connect(3)
        self.resolver.found()
        self.failureResultOf(done, UpstreamFailed)
        self.nothing_waits()

    def test_refused(self) -> None:
        """When all addresses refuse, the instance cannot be reached."""
        done = self.make("http://core").connect(3)
        self.resolver.found("192.0.2.1", "192.0.2.2")
        self.network.attempts[0].failIfNotConnected(ConnectionRefusedError())
        self.assertNoResult(done)
        self.network.attempts[1].failIfNotConnected(ConnectionRefusedError())
        self.assertEqual(self.failureResultOf(done, UpstreamFailed).value.message, UpstreamFailed.message)
        self.nothing_waits()

    def test_given_up_by_the_system(self) -> None:
        """An attempt that the system gives up is one that took too long."""
        done = self.make().connect(300)
        self.network.attempts[0].failIfNotConnected(ConnectTimeout())
        self.failureResultOf(done, UpstreamTimeout)
        self.nothing_waits()

    def test_takes_too_long(self) -> None:
        """After the timeout the attempt is over, and no other address is tried."""
        done = self.make("http://core").connect(3)
        self.reactor.advance(1)
        self.resolver.found("192.0.2.1", "192.0.2.2")
        self.reactor.advance(1.9)
        self.assertNoResult(done)
        self.reactor.advance(0.1)
        self.failureResultOf(done, UpstreamTimeout)
        self.assertEqual((self.network.hosts, self.network.attempts[0].state), (["192.0.2.1"], "disconnected"))
        self.nothing_waits()

    def test_look_up_takes_too_long(self) -> None:
        """A look-up has the same time, and what it finds later is not asked."""
        done = self.make("http://core").connect(3)
        self.reactor.advance(3)
        self.failureResultOf(done, UpstreamTimeout)
        self.resolver.found("192.0.2.1")
        self.assertEqual(self.network.hosts, [])

    def test_cancelled(self) -> None:
        """When nobody waits any longer, the attempt ends at once, and no other address is tried."""
        done = self.make("http://core").connect(3)
        self.resolver.found("192.0.2.1", "192.0.2.2")
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertEqual((self.network.hosts, self.network.attempts[0].state), (["192.0.2.1"], "disconnected"))
        self.nothing_waits()

    def test_cancelled_in_its_look_up(self) -> None:
        """What a look-up finds when nobody waits any longer is not asked."""
        done = self.make("http://core").connect(3)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.resolver.found("192.0.2.1")
        self.assertEqual(self.network.hosts, [])
        self.nothing_waits()

    def test_not_a_pooled_one_yet(self) -> None:
        """A connection at work that ends is no loss to the pool, nor to the attempt that made it."""
        instance = self.make()
        done = instance.connect(3)
        transport = self.network.attempts[0].accepted()
        self.successResultOf(done)
        transport.lost()
        self.assertIsNone(instance.take())


class TLSTests(InstanceCase):
    """https instances, with real TLS in memory."""

    authority = Authority("ours")

    def trust(self, *certificates: bytes) -> Any:
        """What a file of these certificates is read as."""
        path = Path(self.mktemp())
        path.write_bytes(b"\n".join(certificates))
        return authorities(str(path))

    def server(self, pem: bytes, clients: bytes = b"") -> Any:
        """The server's side of TLS, which wants a certificate of ``clients`` where there are any."""
        path = Path(self.mktemp())
        path.write_bytes(pem)
        options: Any = DefaultOpenSSLContextFactory(path, path)
        if clients:
            context = options.getContext()
            context.get_cert_store().add_cert(X509.from_cryptography(load_pem_x509_certificate(clients)))
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        return TLSMemoryBIOFactory(options, False, Factory.forProtocol(Protocol)).buildProtocol(None)

    def shake(self, instance: Instance, pem: bytes, clients: bytes = b"") -> Any:
        """Connect to a server with this certificate, and shake hands."""
        done = instance.connect(3)
        attempt = self.network.attempts[-1]
        server, client = self.server(pem, clients), attempt.buildProtocol(None)  # type: ignore[arg-type]
        pump = connect(server, FakeTransport(server, True), client, FakeTransport(client, False), greet=False)
        self.assertNoResult(done)
        pump.flush()
        return done

    def test_verified(self) -> None:
        """A connection is ready when the handshake is over and the certificate is good."""
        instance = self.make("https://192.0.2.1:8443", trust=self.trust(self.authority.pem))
        done = self.shake(instance, self.authority.certificate("192.0.2.1"))
        self.assertIsInstance(self.successResultOf(done), UpstreamConnection)
        self.nothing_waits()

    def test_own_certificate(self) -> None:
        """Who wants to know who the gateway is sees its certificate."""
        path = Path(self.mktemp())
        path.write_bytes(self.authority.certificate("gateway") + Authority("between").pem)
        options: Any = {"trust": self.trust(self.authority.pem), "certificate": own_certificate(str(path))}
        instance = self.make("https://192.0.2.1", **options)
        pem = self.authority.certificate("192.0.2.1")
        self.successResultOf(self.shake(instance, pem, self.authority.pem))
        self.successResultOf(self.shake(instance, pem))
        self.assertIsNone(own_certificate(""))

    def test_server_name(self) -> None:
        """Where the configuration has one, the certificate is held against it instead of the host."""
        instance = self.make("https://192.0.2.1", trust=self.trust(self.authority.pem), server_name="core.internal")
        self.successResultOf(self.shake(instance, self.authority.certificate("core.internal")))
        self.failureResultOf(self.shake(instance, self.authority.certificate("192.0.2.1")), UpstreamFailed)

    def test_any_authority_of_the_file(self) -> None:
        """Every certificate in the file is an authority."""
        other = Authority("other")
        trust = self.trust(self.authority.pem, other.pem)
        for issuer in (self.authority, other):
            done = self.shake(self.make("https://192.0.2.1", trust=trust), issuer.certificate("192.0.2.1"))
            self.successResultOf(done)

    def test_not_verified(self) -> None:
        """The name of another, or an authority that is not trusted: nothing is sent."""
        trust = self.trust(self.authority.pem)
        stranger = Authority("stranger")
        for trusted, pem in (
            (trust, self.authority.certificate("192.0.2.2")),
            (trust, self.authority.certificate("core")),
            (trust, stranger.certificate("192.0.2.1")),
            (None, self.authority.certificate("192.0.2.1")),
        ):
            done = self.shake(self.make("https://192.0.2.1", trust=trusted), pem)
            self.assertIn("secure connection", self.failureResultOf(done, UpstreamFailed).value.message)
        self.nothing_waits()

    def test_handshake_takes_too_long(self) -> None:
        """A server that accepts and says nothing is given up in time."""
        done = self.make("https://192.0.2.1").connect(3)
        transport = self.network.attempts[0].accepted()
        self.reactor.advance(3)
        self.failureResultOf(done, UpstreamTimeout)
        self.assertTrue(transport.disconnecting)

    def test_ready_too_late(self) -> None:
        """A handshake that is over when nobody waits any longer: the connection is cut."""
        instance = self.make("https://192.0.2.1", trust=self.trust(self.authority.pem))
        done = instance.connect(3)
        server = self.server(self.authority.certificate("192.0.2.1"))
        client: Any = self.network.attempts[0].buildProtocol(None)  # type: ignore[arg-type]
        transport: Any = FakeTransport(client, False)
        self.network.attempts[0].transport = transport
        pump = connect(server, FakeTransport(server, True), client, transport, greet=False)
        transport.loseConnection = lambda: None  # the bytes of the handshake are on their way
        connection = client.wrappedProtocol
        self.reactor.advance(3)
        self.failureResultOf(done, UpstreamTimeout)
        pump.flush()
        self.assertFalse(connection.reusable)
        self.assertIsNone(instance.take())

    def test_next_address(self) -> None:
        """Where a handshake fails, the next address is tried."""
        trust = self.trust(self.authority.pem)
        done = self.make("https://core", trust=trust).connect(3)
        self.resolver.found("192.0.2.1", "192.0.2.2")
        self.network.attempts[0].accepted().lost(ConnectionLost())
        self.assertNoResult(done)
        self.assertEqual(self.network.hosts, ["192.0.2.1", "192.0.2.2"])


class AuthoritiesTests(SynchronousTestCase):
    """The file of authorities."""

    def test_no_file(self) -> None:
        """Without a file it is the platform's authorities."""
        self.assertIsNone(authorities(""))

    def test_missing_file(self) -> None:
        """A file that is not there cannot be read."""
        self.assertRaises(FileNotFoundError, authorities, self.mktemp())

    def test_no_certificate(self) -> None:
        """A file without a certificate is a mistake, not an empty trust."""
        path = self.mktemp()
        Path(path).write_bytes(b"nothing")
        self.assertRaises(ValueError, authorities, path)
