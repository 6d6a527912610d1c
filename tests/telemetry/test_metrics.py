"""Tests of gateway.telemetry.metrics, read as Prometheus reads them."""

from __future__ import annotations

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from gateway import __version__
from gateway.telemetry.metrics import BUCKETS, Metrics

Labels = frozenset[tuple[str, str]]


class MetricsCase(SynchronousTestCase):
    """Metrics, and what they say in the text format."""

    def setUp(self) -> None:
        self.metrics = Metrics()

    def text(self) -> str:
        return generate_latest(self.metrics.registry).decode()

    def samples(self) -> dict[tuple[str, Labels], float]:
        """Every sample by name and labels; none may stand twice."""
        found: dict[tuple[str, Labels], float] = {}
        for family in text_string_to_metric_families(self.text()):
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                self.assertNotIn(key, found)
                found[key] = sample.value
        return found

    def value(self, name: str, **labels: str) -> float:
        """One sample; ``class_`` stands for ``class``."""
        return self.samples()[name, frozenset((key.rstrip("_"), value) for key, value in labels.items())]


class RequestTests(MetricsCase):
    """Requests and how long they took."""

    def test_counted_by_route_and_class(self) -> None:
        """Each status counts for its class."""
        for status in (200, 204, 404, 429, 499, 502, 101):
            self.metrics.record("/api/users", status, 0.01)
        self.metrics.record("/api/auth", 200, 0.01)
        counts = {"1xx": 1, "2xx": 2, "4xx": 3, "5xx": 1}
        for status_class, count in counts.items():
            self.assertEqual(self.value("smartgate_requests_total", route="/api/users", class_=status_class), count)
        self.assertEqual(self.value("smartgate_requests_total", route="/api/auth", class_="2xx"), 1)

    def test_no_route(self) -> None:
        """Requests that no route took are counted together, whatever their paths were."""
        self.metrics.record("", 404, 0.01)
        self.metrics.record("", 404, 0.01)
        self.assertEqual(self.value("smartgate_requests_total", route="none", class_="4xx"), 2)

    def test_histogram(self) -> None:
        """Buckets are cumulative, each holds its own bound, and the last holds all."""
        for seconds in (0.0, 0.001, 0.0011, 0.25, 9.0, 11.0):
            self.metrics.record("/a", 200, seconds)
        name = "smartgate_request_duration_seconds"
        found = [
            self.value(f"{name}_bucket", route="/a", class_="2xx", le=bound) for bound in (*map(str, BUCKETS), "+Inf")
        ]
        self.assertEqual(found, [2, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 5, 6])
        self.assertEqual(self.value(f"{name}_count", route="/a", class_="2xx"), 6)
        self.assertAlmostEqual(self.value(f"{name}_sum", route="/a", class_="2xx"), 20.2521)

    def test_counts_agree(self) -> None:
        """The counter and the histogram never say different things."""
        for number in range(20):
            self.metrics.record("/a", 200 + 100 * (number % 4), number)
        samples = self.samples()
        for (name, labels), value in samples.items():
            if name == "smartgate_requests_total":
                self.assertEqual(samples["smartgate_request_duration_seconds_count", labels], value)
                self.assertEqual(samples["smartgate_request_duration_seconds_bucket", labels | {("le", "+Inf")}], value)

    def test_labels_are_few(self) -> None:
        """Ten thousand requests to one route are one series a class: nothing of the request itself is a label."""
        for number in range(10_000):
            self.metrics.record("/api/users", 200 + number % 300, number / 1000)
        routes = [labels for name, labels in self.samples() if name == "smartgate_requests_total"]
        self.assertEqual(len(routes), 3)
        self.assertEqual({key for labels in routes for key, _ in labels}, {"route", "class"})


class FailureTests(MetricsCase):
    """What was refused, and what failed."""

    def test_refusals(self) -> None:
        """By the guard that refused, and the status it refused with."""
        for guard, status in (("admit", 429), ("admit", 429), ("admit", 401), ("authenticate", 401)):
            self.metrics.refused(guard, status)
        self.assertEqual(self.value("smartgate_refusals_total", guard="admit", status="429"), 2)
        self.assertEqual(self.value("smartgate_refusals_total", guard="admit", status="401"), 1)
        self.assertEqual(self.value("smartgate_refusals_total", guard="authenticate", status="401"), 1)

    def test_upstream_errors(self) -> None:
        """By upstream and reason."""
        for upstream, reason in (("core", "connect"), ("core", "timeout"), ("core", "timeout")):
            self.metrics.upstream_failed(upstream, reason)
        self.assertEqual(self.value("smartgate_upstream_errors_total", upstream="core", reason="connect"), 1)
        self.assertEqual(self.value("smartgate_upstream_errors_total", upstream="core", reason="timeout"), 2)


class ReadingTests(MetricsCase):
    """Numbers that others know."""

    def test_read_when_asked(self) -> None:
        """They are read anew for each answer, and never in between."""
        asked: list[int] = []

        def read() -> float:
            asked.append(1)
            return len(asked) * 1.5

        self.metrics.count("round_trips", "Round trips.", read)
        before = len(asked)
        self.assertEqual(self.value("smartgate_round_trips_total"), 1.5 * (before + 1))
        self.assertEqual(self.value("smartgate_round_trips_total"), 1.5 * (before + 2))

    def test_kinds(self) -> None:
        """What only grows is a counter, what goes up and down a gauge; each has its help text."""
        self.metrics.count("questions", "Questions asked.", lambda: 3)
        self.metrics.gauge("open_connections", "Connections of clients.", lambda: 4)
        families = {family.name: family for family in text_string_to_metric_families(self.text())}
        self.assertEqual(
            [(families[name].type, families[name].documentation) for name in
             ("smartgate_questions", "smartgate_open_connections")],
            [("counter", "Questions asked."), ("gauge", "Connections of clients.")],
        )  # fmt: skip
        self.assertEqual(self.value("smartgate_open_connections"), 4)

    def test_counts_by_a_label(self) -> None:
        """Numbers that somebody else counts, as they are when they are asked for."""
        numbers = {"requests": 1, "lag": 0}
        self.metrics.counts("shed", "Requests refused.", "reason", numbers)
        numbers["lag"] = 7
        for reason, number in numbers.items():
            self.assertEqual(self.value("smartgate_shed_total", reason=reason), number)

    def test_labelled(self) -> None:
        """Of what there are several, each is told with its label."""
        self.metrics.gauges("days", "Days left.", "file", lambda: {"a": 1.0, "b": 2.0})
        self.assertEqual([self.value("smartgate_days", file=name) for name in "ab"], [1, 2])

    def test_build(self) -> None:
        """The version that runs is told."""
        self.assertEqual(self.value("smartgate_build_info", version=__version__), 1)

    def test_process(self) -> None:
        """Memory, processor time and descriptors of the process are there, as dashboards know them."""
        names = {name for name, _ in self.samples()}
        self.assertLessEqual({"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"}, names)

    def test_instances_are_apart(self) -> None:
        """Two gateways in one process count for themselves."""
        Metrics().record("/a", 200, 0.1)
        self.assertNotIn("smartgate_requests_total", {name for name, _ in self.samples()})

    def test_odd_names(self) -> None:
        """A prefix may hold what the text format must escape."""
        self.metrics.record('/a"b\\c\nd', 200, 0.1)
        self.assertEqual(self.value("smartgate_requests_total", route='/a"b\\c\nd', class_="2xx"), 1)
