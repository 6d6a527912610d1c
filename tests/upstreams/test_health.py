"""Tests of gateway.upstreams.health: instances of one upstream held against each other."""

from __future__ import annotations

from typing import Any

from twisted.internet.testing import EventLoggingObserver, MemoryReactorClock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.health import Rules
from gateway.upstreams.cluster import Cluster
from gateway.upstreams.health import ClusterHealth
from gateway.upstreams.instance import Instance

RULES = Rules(rise=1, fall=1)


class HealthCase(SynchronousTestCase):
    """Three instances, 1, 2 and 3; ``chance`` is what slow start draws."""

    count = 3

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.chance = 0.5
        self.request: Any = object()
        self.instances = [
            Instance(self.reactor, f"http://192.0.2.{number}", rules=RULES) for number in range(1, self.count + 1)
        ]
        self.health = ClusterHealth("core", self.reactor, lambda: self.chance)
        self.cluster = Cluster("core", self.instances, "round-robin", self.health)
        self.log = EventLoggingObserver()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)

    def chosen(self, count: int, tried: Instance | None = None) -> str:
        """Where so many requests would go, in order of the number; :attr:`request` is the last of them."""
        hosts = []
        for _ in range(count):
            self.request = object()
            hosts.append(self.cluster.choose(self.request, tried).host[-1])
        return "".join(sorted(hosts))

    def eject(self, number: int, times: int = 5) -> None:
        """So many requests to an instance fail."""
        for _ in range(times):
            self.health.failed(self.instances[number - 1], self.request)

    def probed(self, number: int, good: bool) -> None:
        self.health.probed(self.instances[number - 1], good, "no answer in time")

    def said(self) -> list[str]:
        """What was logged."""
        return [event["log_format"].format(**event) for event in self.log]


class ProbedTests(HealthCase):
    """Probes."""

    def test_all_are_well(self) -> None:
        """When it has been looked, nobody need look again."""
        self.assertEqual(self.chosen(3), "123")
        self.assertFalse(self.health.troubled)

    def test_one_is_down(self) -> None:
        """It gets nothing, until it is up again and its slow start is over."""
        self.probed(2, False)
        self.assertEqual(self.chosen(4), "1133")
        self.probed(2, True)
        self.assertEqual(self.chosen(4), "1133")
        self.chance = 0.05
        self.assertIn("2", self.chosen(3))
        self.reactor.advance(10)
        self.chance = 0.99
        self.assertEqual(self.chosen(3), "123")
        self.assertFalse(self.health.troubled)

    def test_all_are_down(self) -> None:
        """That is believed of none: an attempt may fail, a refusal would for sure."""
        for number in (1, 2, 3):
            self.probed(number, False)
        self.assertEqual(self.chosen(3), "123")
        self.assertTrue(self.health.troubled)

    def test_what_is_logged(self) -> None:
        """Each change, with the name of the instance, and nothing else."""
        for good in (True, False, False, True):
            self.probed(1, good)
        self.assertEqual(
            self.said(), ["core: 192.0.2.1:80 is down: no answer in time", "core: 192.0.2.1:80 is up again"]
        )

    def test_idle_connections(self) -> None:
        """Those of an instance that goes down are not kept."""
        closed: list[str] = []
        for instance in self.instances:
            self.patch(instance, "close", lambda name=instance.name: closed.append(name))
        self.probed(1, False)
        self.eject(2)
        self.assertEqual(closed, ["192.0.2.1:80", "192.0.2.2:80"])


class EjectedTests(HealthCase):
    """Requests."""

    def test_ejected(self) -> None:
        """It gets nothing for its time."""
        self.eject(1)
        self.reactor.advance(29)
        self.assertEqual((self.chosen(4), self.health.ejections), ("2233", 1))
        self.assertEqual(self.said(), ["core: 192.0.2.1:80 is ejected for 30 s: it does not answer"])

    def test_errors(self) -> None:
        """Only those that say something of the instance count; the good answers between them, too."""
        for status in (500, 502, 501, 503, 504, 404, 500, 500):
            self.health.answered(self.instances[0], self.request, status)
        self.assertEqual(self.health.ejections, 0)
        self.health.answered(self.instances[0], self.request, 503)
        self.assertEqual(self.chosen(2), "23")
        self.assertEqual(self.said(), ["core: 192.0.2.1:80 is ejected for 30 s: it answers 503"])

    def test_never_the_last(self) -> None:
        """One that can be used always stays."""
        self.eject(1)
        self.probed(2, False)
        self.eject(3, 100)
        self.assertEqual((self.chosen(2), self.health.ejections), ("33", 1))

    def test_trial(self) -> None:
        """One request at a time, and its good answer brings the instance back, slowly."""
        self.eject(1)
        self.reactor.advance(30)
        self.assertEqual(self.chosen(1), "1")
        trial = self.request
        self.assertEqual(self.chosen(2), "23")
        self.health.answered(self.instances[0], self.request, 200)
        self.assertTrue(self.instances[0].health.ejected)
        self.health.answered(self.instances[0], trial, 200)
        self.assertEqual(self.chosen(2), "23")
        self.chance = 0
        self.assertIn("1", self.chosen(3))
        self.assertEqual(self.said()[1:], ["core: 192.0.2.1:80 is used again"])

    def test_failed_trial(self) -> None:
        """It takes twice as long until the next one."""
        self.eject(1)
        self.reactor.advance(30)
        self.assertEqual(self.chosen(1), "1")
        self.eject(1, 1)
        self.reactor.advance(59)
        self.assertEqual(self.chosen(2), "23")
        self.reactor.advance(1)
        self.assertEqual(self.chosen(1), "1")

    def test_second_tries(self) -> None:
        """They are no trials, and go to instances that start slowly as to the others."""
        self.eject(1)
        self.reactor.advance(30)
        self.assertEqual(self.chosen(2, self.instances[1]), "33")
        self.chosen(1)
        self.health.answered(self.instances[0], self.request, 200)
        self.assertIn("1", self.chosen(2, self.instances[1]))

    def test_only_what_is_ejected_is_up(self) -> None:
        """It is better than what is down."""
        self.eject(1)
        self.probed(2, False)
        self.probed(3, False)
        self.assertEqual(self.chosen(2), "11")

    def test_all_start_slowly(self) -> None:
        """Somebody has to serve all the same."""
        for number in (1, 2, 3):
            self.probed(number, False)
            self.probed(number, True)
        self.chance = 0.99
        self.assertEqual(self.chosen(3), "123")

    def test_others(self) -> None:
        """Whether there is another one to ask."""
        first = self.instances[0]
        self.assertTrue(self.health.others(first))
        self.eject(2)
        self.probed(3, False)
        self.assertFalse(self.health.others(first))
        self.assertTrue(self.health.others(self.instances[1]))


class PriorityTests(HealthCase):
    """The third instance stands in for the other two."""

    def setUp(self) -> None:
        super().setUp()
        self.instances[2].priority = 7
        self.cluster.update(self.instances)

    def test_the_best(self) -> None:
        """It gets nothing as long as one of the others can be used."""
        self.assertEqual(self.chosen(4), "1122")
        self.assertFalse(self.health.troubled)
        self.assertEqual(self.chosen(4), "1122")
        self.probed(1, False)
        self.assertEqual(self.chosen(2), "22")

    def test_none_of_the_best(self) -> None:
        """It gets everything, until one of them is back: then what a slow start leaves."""
        self.probed(1, False)
        self.eject(2)
        self.assertEqual((self.chosen(2), self.health.ejections), ("33", 1))
        self.probed(1, True)
        self.assertEqual(self.chosen(2), "33")
        self.chance = 0.05
        self.assertEqual(self.chosen(2), "11")
        self.reactor.advance(10)
        self.chance = 0.99
        self.assertEqual(self.chosen(2), "11")

    def test_second_tries(self) -> None:
        """They go to another one of the best, or to it where there is none."""
        self.assertEqual(self.chosen(2, self.instances[0]), "22")
        self.probed(2, False)
        self.assertEqual(self.chosen(2, self.instances[0]), "33")
        self.assertTrue(self.health.others(self.instances[0]))

    def test_trials(self) -> None:
        """Nobody takes the risk of its trial while it is not needed; it is needed when the others are gone."""
        self.eject(3)
        self.reactor.advance(30)
        self.assertEqual(self.chosen(2), "12")
        self.probed(1, False)
        self.probed(2, False)
        self.assertEqual((self.chosen(1), self.instances[2].health.trial is self.request), ("3", True))


class AloneTests(HealthCase):
    """An upstream of one instance."""

    count = 1

    def test_it_is_always_used(self) -> None:
        """Whatever probes and requests say."""
        self.eject(1, 100)
        self.probed(1, False)
        self.assertEqual((self.chosen(2), self.health.ejections), ("11", 0))
