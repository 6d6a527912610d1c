"""Tests of bench.plan and bench.costs: that docs/capacity.md tells what was measured."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from bench.costs import DOCUMENT, FIGURES, ROWS, updated
from bench.plan import plan, table

ROUND = {name: 1024.0 for name in ROWS} | {
    "whole_us": 190.0,
    "handshake_ecdsa_us": 200.0,
    "redis_one_us": 20.0,
    "log_bytes": 500.0,
    "answer_bytes": 952.0,
    "redis_bytes": 250.0,
    "counter_bytes": 100.0,
}
"""Figures that are easy to reckon with."""


class PlanTests(SynchronousTestCase):
    """What follows for a rate."""

    def test_small(self) -> None:
        """Half-busy cores, and a machine more than are needed; one Redis."""
        found = plan(ROUND, 10_000)
        self.assertAlmostEqual(found.cpu, 2.0)
        self.assertEqual((found.machines, found.workers), (2, 8))
        self.assertEqual((found.redis_servers, found.connections), (1, 100_000))
        self.assertAlmostEqual(found.redis_cpu, 0.2)
        self.assertAlmostEqual(found.redis_share, 0.2 / 2.2)
        self.assertAlmostEqual(found.redis_memory, 10_000_000)
        self.assertAlmostEqual(found.to_clients, 30_000_000)

    def test_large(self) -> None:
        """Several servers are asked twice for each request; a tenth of the machines is spare."""
        found = plan(ROUND, 1_000_000)
        self.assertAlmostEqual(found.cpu, 200.0)
        self.assertEqual(found.machines, 8)
        self.assertAlmostEqual(found.redis_cpu, 40.0)
        self.assertEqual(found.redis_servers, 80)
        self.assertAlmostEqual(found.to_redis, 500_000_000)

    def test_table(self) -> None:
        """A column for each rate in every line."""
        self.assertEqual({line.count("|") for line in table(ROUND)}, {5})


class DocumentTests(SynchronousTestCase):
    """docs/capacity.md."""

    def test_figures(self) -> None:
        """Its tables are made of bench/capacity.json; ``python -m bench.capacity --write`` copies them."""
        text = DOCUMENT.read_text()
        self.assertEqual(updated(text, json.loads(FIGURES.read_text())), text)

    def test_marks(self) -> None:
        """A document without its marks is not written to."""
        self.assertRaises(ValueError, updated, "", json.loads(FIGURES.read_text()))
