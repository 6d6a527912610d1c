"""Tests of gateway.http.tries: second tries and their budget, what instances are ejected for, and the limits."""

from __future__ import annotations

from unittest.mock import Mock

from gateway.core.circuit import Circuit, Limits
from gateway.core.errors import Unavailable, UpstreamFailed
from gateway.upstreams.cluster import Cluster
from tests.http.wire import ProxyTestCase, Wire, ask, read_answers

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ERROR = b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno"
POST = ask("/two", "Content-Length: 5", method="POST", body=b"hello")


class RetryCase(ProxyTestCase):
    """Requests to two instances at /two."""

    def setUp(self) -> None:
        super().setUp()
        self.pair = self.gateway.cluster
        self.clients: list[Wire] = []

    def tearDown(self) -> None:
        """However it went: nothing counts as being under way."""
        super().tearDown()
        circuit = self.pair.circuit
        self.assertEqual((circuit.requests, circuit.retries.taken), (0, 0))
        self.assertEqual((circuit.retries.waiting, circuit.connections.waiting), ({}, {}))

    def ask(self, count: int = 1, method: str = "GET") -> list[Wire]:
        """So many requests go to the first instance, and hang; returns its connections."""
        for _ in range(count):
            client = self.gateway.connect()
            self.clients.append(client)
            self.patch(self.pair, "choose", lambda request, tried: self.other if tried else self.origin)
            client.send(ask("/two", method=method))
        return self.origin.wires[-count:]

    def statuses(self) -> list[int]:
        """What the clients got, those that have an answer."""
        return [answer.status for client in self.clients for answer in read_answers(client.received)]

    def answer_all(self) -> None:
        """The second instance answers whatever it was asked."""
        for wire in self.other.wires:
            if wire.received and not wire.ended:
                wire.send(OK)
                wire.received = b""


class RetryTests(RetryCase):
    """What was sent, and is sent once more to another instance."""

    def test_lost_before_its_head(self) -> None:
        """The other instance is asked, and its answer is the client's."""
        self.ask()[0].leave()
        self.answer_all()
        self.assertEqual((self.statuses(), self.pair.circuit.retried), ([200], 1))

    def test_silent(self) -> None:
        """After the time to the first byte, too."""
        (wire,) = self.ask()
        self.after(21)
        self.answer_all()
        self.assertEqual((self.statuses(), wire.ended), ([200], "cut"))

    def test_not_idempotent(self) -> None:
        """POST is never sent twice."""
        first, _ = self.ask(2, "POST")
        first.leave()
        self.after(21)
        self.assertEqual((self.statuses(), self.other.wires), ([502, 504], []))

    def test_heard(self) -> None:
        """Neither is what was begun to be answered."""
        (wire,) = self.ask()
        wire.send(b"HTTP/1.1 2")
        wire.leave()
        self.assertEqual((self.statuses(), self.other.wires), ([502], []))

    def test_second_failure(self) -> None:
        """There is no third try."""
        self.ask()[0].leave()
        self.other.wires[0].leave()
        self.assertEqual((self.statuses(), len(self.origin.wires)), ([502], 1))

    def test_no_other_instance_to_use(self) -> None:
        """One that is down is not asked instead."""
        self.other.health.up = False
        self.ask()[0].leave()
        self.assertEqual((self.statuses(), self.other.wires), ([502], []))

    def test_nobody_else_after_all(self) -> None:
        """When the balancer has no other one, the first error is the answer."""
        self.ask()
        self.patch(self.pair, "choose", lambda request, tried: self.origin)
        self.origin.wires[0].leave()
        self.assertEqual((self.statuses(), len(self.origin.wires)), ([502], 1))

    def test_refused_framing(self) -> None:
        """An answer whose length cannot be told is none."""
        (wire,) = self.ask(method="POST")
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: gzip\r\n\r\n")
        self.assertEqual(self.statuses(), [502])

    def test_budget(self) -> None:
        """Three may be tried once more at a time; the others wait until those are answered."""
        for wire in self.ask(8):
            wire.leave()
        self.assertEqual((self.statuses(), len(self.other.wires)), ([], 3))
        for _ in range(3):
            self.answer_all()
        self.assertEqual((self.statuses(), self.pair.circuit.retried), ([200] * 8, 8))

    def test_budget_in_time(self) -> None:
        """They wait as long as for a connection, and then their clients hear what happened."""
        for wire in self.ask(5):
            wire.leave()
        self.after(5.5)
        self.assertEqual((self.statuses(), self.pair.circuit.refused["retries"]), ([502, 502], 2))
        self.answer_all()

    def test_clients_that_leave_meanwhile(self) -> None:
        """They wait no longer."""
        for wire in self.ask(4):
            wire.leave()
        self.clients[-1].leave()
        self.answer_all()
        self.assertEqual((self.statuses(), len(self.other.wires)), ([200] * 3, 3))

    def test_no_room_in_the_queue(self) -> None:
        """Who cannot even wait hears it at once."""
        self.gateway.proxy(b"/two", self.origin, self.other, circuit=Circuit(Limits(pending=1)))
        self.pair = self.gateway.cluster
        for wire in self.ask(5):
            wire.leave()
        self.assertEqual((self.statuses(), self.pair.circuit.refused["retries"]), ([502], 1))
        for _ in range(2):
            self.answer_all()

    def test_instance_goes_down(self) -> None:
        """Who waits for it is served by the other one, a few at a time; POST goes on waiting."""
        wires = [*self.ask(4), *self.ask(1, "POST")]
        for _ in range(3):
            self.pair.health.probed(self.origin, False, "")
        for _ in range(4):
            self.after(1)
            self.answer_all()
        self.assertEqual(self.statuses(), [200] * 4)
        self.assertEqual([wire.ended for wire in wires], ["cut"] * 4 + [""])
        wires[-1].send(OK)
        self.assertEqual(self.statuses(), [200] * 5)

    def test_a_choice_that_fails(self) -> None:
        """Whatever goes wrong on the way to the second try, the client gets an answer."""

        for error, status in ((Unavailable(), 503), (ValueError("a secret"), 500)):
            self.origin.at_once = False
            self.ask()
            self.patch(self.pair, "choose", Mock(side_effect=error))
            self.origin.refuse(UpstreamFailed())
            self.assertEqual(self.statuses()[-1], status)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_a_head_that_fails(self) -> None:
        """A request that cannot be written is an error, and its connection is cut."""
        self.origin.at_once = False
        self.ask()
        self.patch(self.gateway.leaf, "request_head", lambda *_: 1 / 0)
        self.origin.accept()
        self.assertEqual((self.statuses(), self.origin.wires[0].ended), ([500], "cut"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_connection_that_cannot_even_be_tried(self) -> None:
        """It does not count for ever."""
        self.patch(self.origin, "connect", lambda timeout: 1 / 0)
        self.ask()
        self.assertEqual((self.statuses(), self.pair.circuit.connections.taken), ([500], 0))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class EjectionTests(RetryCase):
    """What relays tell of their instances."""

    def lose(self, count: int) -> None:
        """So many requests lose their connection before they are answered."""
        for _ in range(count):
            self.ask()[0].leave()
            self.answer_all()

    def trial(self, method: str = "GET") -> Wire:
        """The first instance was ejected, and is on trial."""
        self.pair.health._eject(self.origin, "", silent=False)
        self.after(30)
        self.ask(0)
        self.patch(self.pair, "choose", Cluster.choose.__get__(self.pair))
        self.clients.append(self.gateway.connect())
        self.clients[-1].send(ask("/two", method=method))
        self.assertIsNotNone(self.origin.health.trial)
        return self.origin.wires[-1]

    def test_ejected(self) -> None:
        """After five failures an instance gets no more."""
        self.lose(4)
        self.assertFalse(self.origin.health.ejected)
        self.lose(1)
        self.assertTrue(self.origin.health.ejected)
        self.assertEqual(self.statuses(), [200] * 5)

    def test_errors_are_answers(self) -> None:
        """They are passed on as they are, and after three the instance gets no more."""
        for _ in range(3):
            self.ask()[0].send(ERROR)
        self.assertEqual((self.statuses(), self.origin.health.ejected), ([503] * 3, True))

    def test_bodies_the_client_does_not_send(self) -> None:
        """They are not the instance's fault."""
        for _ in range(9):
            client = self.gateway.connect()
            self.ask(0)
            self.patch(self.pair, "choose", lambda request, tried: self.origin)
            client.send(POST[:-1])
            self.origin.wires[-1].leave()
        self.assertFalse(self.origin.health.doubtful)

    def cut(self, wire: Wire) -> None:
        """An answer that begins well, and ends too early."""
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nh")
        wire.leave()

    def test_bodies_that_are_cut(self) -> None:
        """They are, however well each began."""
        for ejected in [False] * 4 + [True]:
            self.cut(self.ask()[0])
            self.assertIs(self.origin.health.ejected, ejected)

    def test_whole_answers_between(self) -> None:
        """They are no row then."""
        for _ in range(9):
            self.cut(self.ask()[0])
            self.ask()[0].send(OK)
        self.assertFalse(self.origin.health.ejected)

    def test_trial(self) -> None:
        """A good answer brings it back."""
        self.trial().send(OK)
        self.assertEqual((self.statuses(), self.origin.health.ejected), ([200], False))

    def test_trial_answered_with_an_error(self) -> None:
        """The gateway took that risk, not the client: another instance answers."""
        wire = self.trial()
        wire.send(ERROR)
        self.answer_all()
        self.assertEqual((self.statuses(), wire.ended, self.origin.health.trial), ([200], "cut", None))

    def test_trial_that_cannot_be_repeated(self) -> None:
        """The error is the answer."""
        self.trial("POST").send(ERROR)
        self.assertEqual((self.statuses(), self.other.wires), ([503], []))

    def test_old_requests_during_the_trial(self) -> None:
        """What was under way before says nothing, well or ill, and does not end the trial."""
        self.gateway.leaf.first_byte_timeout = 90
        well, ill = self.ask(2, "POST")
        wire, trial = self.trial(), self.origin.health.trial
        well.send(OK)
        ill.leave()
        self.assertEqual(self.statuses(), [200, 502])
        self.assertEqual((self.origin.health.trial, self.origin.health.ejected), (trial, True))
        wire.send(OK)
        self.assertFalse(self.origin.health.ejected)

    def test_trial_whose_client_leaves(self) -> None:
        """The next request is the trial."""
        self.trial()
        self.clients[-1].leave()
        self.assertEqual((self.origin.health.trial, self.origin.health.ejected), (None, True))


class LimitTests(ProxyTestCase):
    """What an upstream may have: two connections, two requests that wait, three requests at /small."""

    def setUp(self) -> None:
        super().setUp()
        self.limit(Limits(connections=2, pending=2, requests=9))
        self.clients: list[Wire] = []

    def limit(self, limits: Limits) -> None:
        """From now on these are the limits."""
        self.gateway.proxy(b"/small", self.origin, self.other, circuit=Circuit(limits))
        self.circuit = self.gateway.cluster.circuit

    def ask(self, count: int) -> None:
        """So many clients ask."""
        for _ in range(count):
            self.clients.append(self.gateway.connect())
            self.clients[-1].send(ask("/small"))

    def statuses(self) -> list[int]:
        """What the clients got, those that have an answer."""
        return [answer.status for client in self.clients for answer in read_answers(client.received)]

    def tearDown(self) -> None:
        """However it went: what was taken was given back."""
        super().tearDown()
        self.assertEqual((self.circuit.requests, self.circuit.connections.waiting), (0, {}))
        self.origin.close()
        self.other.close()
        self.gateway.clock.advance(0)
        self.assertEqual(self.circuit.connections.taken, 0)

    def test_connections(self) -> None:
        """Those above wait, and get the first that is free, in their order."""
        self.ask(4)
        self.assertEqual((len(self.origin.wires), len(self.other.wires)), (1, 1))
        self.origin.wires[0].send(OK)
        self.assertEqual((self.statuses(), self.circuit.connections.taken), ([200], 2))
        self.assertEqual([len(read_answers(client.received)) for client in self.clients], [1, 0, 0, 0])
        for _ in range(3):
            for wire in (*self.origin.wires, *self.other.wires):
                if not wire.ended:
                    wire.send(OK)
        self.assertEqual(self.statuses(), [200] * 4)

    def test_pending(self) -> None:
        """Who comes when the queue is full is told at once when to come again."""
        self.ask(5)
        (answer,) = read_answers(self.clients[4].received)
        self.assertEqual((answer.status, answer.code, answer.fields["Retry-After"]), (503, "SERVICE_UNAVAILABLE", "1"))
        self.assertEqual((self.statuses(), self.circuit.refused["pending"]), ([503], 1))
        self.assertEqual(self.gateway.recorded[-1].decided_by, "proxy")

    def test_pending_in_time(self) -> None:
        """Who waited as long as for a connection is told so, too."""
        self.ask(3)
        self.after(5.5)
        self.assertEqual((self.statuses(), self.circuit.refused["pending"]), ([503], 1))

    def test_pending_client_leaves(self) -> None:
        """It waits no longer."""
        self.ask(3)
        self.clients[2].leave()
        self.origin.wires[0].send(OK)
        self.assertEqual(self.statuses(), [200])

    def test_requests(self) -> None:
        """More than so many are refused, and when one is answered there is room for the next."""
        self.limit(Limits(requests=2))
        self.ask(3)
        self.assertEqual((self.statuses(), self.circuit.refused["requests"]), ([503], 1))
        self.origin.wires[0].send(OK)
        self.ask(1)
        self.assertEqual(self.statuses(), [200, 503])

    def test_room(self) -> None:
        """An idle connection to another instance makes room for a new one."""
        self.ask(2)
        self.origin.wires[0].send(OK)
        self.patch(self.gateway.cluster, "choose", lambda request, tried: self.other)
        self.ask(1)
        self.assertEqual((self.origin.wires[0].ended, len(self.other.wires)), ("cut", 2))
        self.assertEqual(self.circuit.connections.taken, 2)

    def test_connections_that_fail(self) -> None:
        """They make room, too."""
        self.origin.at_once = self.other.at_once = False
        self.ask(3)
        self.assertEqual((len(self.origin.attempts), len(self.other.attempts)), (1, 1))
        self.origin.refuse(UpstreamFailed())
        self.assertEqual((len(self.origin.attempts), len(self.other.attempts)), (0, 2))
        self.clients[0].leave()
        self.other.accept()
        self.other.accept()
