"""Tests of gateway.guards.keys."""

from __future__ import annotations

import gzip
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm
from treq.client import HTTPClient
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from gateway.core.keys import Key
from gateway.guards.keys import PublishedKeys, fetching_client

# What docs/security.md promises.
MAX_AGE = 600.0
MIN_INTERVAL = 10.0
TIMEOUT = 5.0
MAX_SIZE = 256 * 1024

URL = "https://issuer.example/keys"


def key_set(*ids: str) -> bytes:
    """A JWK set with a key of each id."""
    made = (Ed25519PrivateKey.generate().public_key() for _ in ids)
    return json.dumps(
        {"keys": [{**OKPAlgorithm.to_jwk(key, as_dict=True), "kid": kid} for key, kid in zip(made, ids, strict=True)]}
    ).encode()


class Issuer(Resource):
    """Answers as a test says."""

    isLeaf = True
    code = 200
    body: bytes | None = b""
    fields: tuple[tuple[bytes, bytes], ...] = ()
    asked = 0
    open = 0
    pending: Any = None

    def render_GET(self, request: Any) -> Any:
        self.asked += 1
        self.open += 1
        request.notifyFinish().addBoth(self._over)
        request.setResponseCode(self.code)
        for name, value in self.fields:
            request.setHeader(name, value)
        if self.body is None:
            self.pending = request
            return NOT_DONE_YET
        request.write(self.body)
        if b"unfinished" in self.body:
            return NOT_DONE_YET
        request.finish()
        return NOT_DONE_YET

    def _over(self, _: object) -> None:
        self.open -= 1


class PublishedKeysTests(SynchronousTestCase):
    """Keys are fetched in time, not too often, and kept."""

    def setUp(self) -> None:
        self.issuer = Issuer()
        self.issuer.body = key_set("one")
        self.agent = RequestTraversalAgent(self.issuer)
        self.clock = Clock()
        self.sets: list[list[str | None]] = []
        self.events: list[dict[str, Any]] = []
        self.keys = PublishedKeys(HTTPClient(self.agent), self.clock, URL, ["EdDSA"], self.changed)
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def changed(self, keys: tuple[Key, ...]) -> None:
        self.sets.append([key.id for key in keys])

    def start(self) -> None:
        """The first fetch is over."""
        started = self.keys.start()
        self.agent.flush()
        self.successResultOf(started)

    def advance(self, seconds: float) -> None:
        """Time goes by, and the network does its part."""
        self.clock.advance(seconds)
        self.agent.flush()

    def answer(self, body: bytes) -> None:
        """The answer that was held back comes."""
        self.issuer.pending.write(body)
        self.issuer.pending.finish()
        self.agent.flush()

    def warnings(self) -> int:
        """How often a failed fetch was logged."""
        return sum(event["log_level"] is LogLevel.warn for event in self.events)

    def test_start(self) -> None:
        """The first fetch begins at the start."""
        self.assertFalse(self.keys.known)
        self.start()
        self.assertTrue(self.keys.known)
        self.assertEqual(self.sets, [["one"]])

    def test_renewed(self) -> None:
        """The keys are fetched anew when they are ten minutes old."""
        self.start()
        self.issuer.body = key_set("two")
        self.advance(MAX_AGE - 1)
        self.assertEqual(self.issuer.asked, 1)
        self.advance(1)
        self.assertEqual(self.sets, [["one"], ["two"]])
        self.advance(MAX_AGE)
        self.assertEqual(self.issuer.asked, 3)

    def test_unchanged(self) -> None:
        """The same set again is no change."""
        self.start()
        self.advance(MAX_AGE)
        self.assertEqual((self.issuer.asked, len(self.sets)), (2, 1))

    def test_refresh(self) -> None:
        """An unknown key is a reason to fetch, ten seconds after the last time."""
        self.start()
        self.assertIsNone(self.keys.refresh())
        self.advance(MIN_INTERVAL - 0.1)
        self.assertIsNone(self.keys.refresh())
        self.advance(0.1)
        self.issuer.body = None
        refreshed = self.keys.refresh()
        assert refreshed is not None
        self.assertNoResult(refreshed)
        self.answer(key_set("one", "two"))
        self.successResultOf(refreshed)
        self.assertEqual(self.sets[-1], ["one", "two"])
        self.assertIsNone(self.keys.refresh())
        self.advance(MAX_AGE - 1)
        self.assertEqual(self.issuer.asked, 2)

    def test_refresh_later(self) -> None:
        """A fetch long ago does not stand in the way of another."""
        self.start()
        self.advance(MIN_INTERVAL * 2)
        self.assertIsNotNone(self.keys.refresh())
        self.agent.flush()
        self.assertEqual(self.issuer.asked, 2)

    def test_not_started(self) -> None:
        """Before the start nothing is fetched."""
        self.assertIsNone(self.keys.refresh())

    def test_shared(self) -> None:
        """All who ask while a fetch is under way wait for that one."""
        self.issuer.body = None
        started = self.keys.start()
        refreshed = [self.keys.refresh() for _ in range(3)]
        self.answer(key_set("one"))
        for each in (started, *refreshed):
            assert each is not None
            self.successResultOf(each)
        self.assertEqual(self.issuer.asked, 1)

    def test_failures(self) -> None:
        """Whatever is wrong with an answer, the last good keys are kept, and another try is made soon."""
        self.start()
        unusable = key_set("two").replace(b"Ed25519", b"Ed00000")
        answers: list[tuple[int, bytes]] = [(500, key_set("two")), (404, b""), (302, b""), (200, b"<html>")]
        answers += [(200, b'{"keys":[]}'), (200, unusable), (200, b"[" * 10_000), (200, key_set("two")[:-9])]
        answers += [(200, b" " * MAX_SIZE + key_set("two")), (204, b"")]
        self.advance(MAX_AGE - MIN_INTERVAL)
        for number, (code, body) in enumerate(answers, 2):
            self.issuer.code, self.issuer.body = code, body
            self.advance(MIN_INTERVAL)
            self.assertEqual((self.issuer.asked, self.warnings()), (number, number - 1), (code, body[:20]))
        self.assertEqual(self.sets, [["one"]])
        self.assertTrue(self.keys.known)
        self.issuer.code, self.issuer.body = 200, key_set("two")
        self.advance(MIN_INTERVAL)
        self.assertEqual(self.sets, [["one"], ["two"]])

    def test_never_had(self) -> None:
        """When the first fetch fails, the start is over all the same, and nothing is known."""
        self.issuer.code = 503
        self.start()
        self.assertFalse(self.keys.known)
        self.issuer.code = 200
        self.advance(MIN_INTERVAL)
        self.assertTrue(self.keys.known)

    def test_redirects(self) -> None:
        """A redirect is not followed: it could lead to a place that is not verified."""
        self.issuer.code, self.issuer.fields = 302, ((b"location", b"http://evil.example/keys"),)
        self.start()
        self.assertEqual((self.issuer.asked, self.sets), (1, []))

    def test_largest(self) -> None:
        """A set of the largest size is read, one that is a byte larger is not."""
        self.issuer.body = key_set("one").ljust(MAX_SIZE)
        self.start()
        self.assertEqual(self.sets, [["one"]])
        self.issuer.body = key_set("two").ljust(MAX_SIZE + 1)
        self.advance(MAX_AGE)
        self.assertEqual((self.sets, self.warnings()), ([["one"]], 1))

    def test_too_large(self) -> None:
        """An endless answer is cut off at the limit, compressed or not."""
        self.issuer.body = b" " * (MAX_SIZE + 1) + b"unfinished"
        self.start()
        self.assertEqual(self.warnings(), 1)
        self.assertFalse(self.keys.known)
        self.issuer.fields = ((b"content-encoding", b"gzip"),)
        self.issuer.body = gzip.compress(b" " * MAX_SIZE * 4 + key_set("one"))
        self.advance(MIN_INTERVAL)
        self.assertEqual(self.warnings(), 2)
        self.assertFalse(self.keys.known)

    def test_too_large_in_pieces(self) -> None:
        """What still comes after the limit is passed over."""
        self.issuer.body = None
        started = self.keys.start()
        for _ in range(3):
            self.issuer.pending.write(b" " * (MAX_SIZE - 1))
        self.answer(key_set("one"))
        self.successResultOf(started)
        self.assertEqual((self.warnings(), self.keys.known), (1, False))

    def test_cut_off(self) -> None:
        """An answer whose connection ends before it does is not read."""
        self.issuer.body = None
        started = self.keys.start()
        self.issuer.pending.setHeader(b"content-length", b"10000")
        self.issuer.pending.write(key_set("one"))
        self.agent.flush()
        self.issuer.pending.channel.loseConnection()
        self.agent.flush()
        self.successResultOf(started)
        self.assertEqual((self.warnings(), self.keys.known), (1, False))

    def test_compressed(self) -> None:
        """A compressed set is read."""
        self.issuer.fields = ((b"content-encoding", b"gzip"),)
        self.issuer.body = gzip.compress(key_set("zipped"))
        self.start()
        self.assertEqual(self.sets, [["zipped"]])

    def test_too_slow(self) -> None:
        """An answer that does not come, or not to its end, is given up in time and its connection closed."""
        for body in (None, b'{"keys": unfinished'):
            self.issuer.body = body
            started = self.keys.start()
            self.agent.flush()
            self.assertEqual(self.issuer.open, 1)
            self.clock.advance(TIMEOUT - 0.1)
            self.assertNoResult(started)
            self.clock.advance(0.1)
            self.successResultOf(started)
            self.agent.flush()
            self.assertEqual(self.issuer.open, 0)
            self.assertFalse(self.keys.known)
        self.assertEqual(self.warnings(), 2)

    def test_not_reached(self) -> None:
        """An issuer that cannot be reached is as one that fails."""

        class Nobody:
            def request(self, *_: Any) -> Deferred[Any]:
                return fail(ConnectionRefusedError())

        client: Any = HTTPClient(Nobody())  # type: ignore[arg-type]
        self.keys = PublishedKeys(client, self.clock, URL, ["EdDSA"], self.changed)
        self.successResultOf(self.keys.start())
        self.assertFalse(self.keys.known)
        self.assertEqual(self.warnings(), 1)

    def test_stop(self) -> None:
        """After the stop nothing is fetched, and nobody waits."""
        self.start()
        self.keys.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(MAX_AGE)
        self.assertIsNone(self.keys.refresh())
        self.keys.stop()

    def test_stop_while_fetching(self) -> None:
        """A fetch under way is given up, without a word."""
        self.issuer.body = None
        started = self.keys.start()
        self.agent.flush()
        self.keys.stop()
        self.successResultOf(started)
        self.assertEqual((self.clock.getDelayedCalls(), self.warnings()), ([], 0))


class ClientTests(SynchronousTestCase):
    """What fetches the keys."""

    def test_https(self) -> None:
        """https goes by TLS for the issuer's name, and nothing is sent before it is verified."""
        reactor = MemoryReactorClock()
        fetched = fetching_client(reactor).get("https://127.0.0.1/keys")
        (host, port, factory, *_) = reactor.tcpClients[0]
        self.assertEqual((host, port), ("127.0.0.1", 443))
        protocol = factory.buildProtocol(None)
        self.assertIn("TLS", type(protocol).__name__ + type(getattr(protocol, "_wrappedProtocol", None)).__name__)
        self.assertNoResult(fetched)
        fetched.cancel()
        self.failureResultOf(fetched)
