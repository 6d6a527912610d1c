"""The README tells what the project holds."""

from __future__ import annotations

import re

from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase

from bench.readme import README, RESULTS, updated

TEXT = README.read_text()
ROOT = README.parent


class ReadmeTests(SynchronousTestCase):
    """What a newcomer reads first."""

    def test_figures(self) -> None:
        """Its table is the one of bench/RESULTS.md; ``python -m bench.readme`` copies it."""
        self.assertEqual(updated(TEXT, RESULTS.read_text()), TEXT)

    def test_links(self) -> None:
        """Each link leads to a file of the project, from the README and from every document."""
        for document in (README, *(ROOT / "docs").glob("*.md"), RESULTS):
            for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
                self.assertTrue((document.parent / target).exists(), f"{document.name}: {target}")

    def test_every_document_is_listed(self) -> None:
        """No document can only be found by looking for it."""
        listed = set(re.findall(r"\(docs/(\S+?\.md)\)", TEXT))
        self.assertEqual(listed, {path.name for path in (ROOT / "docs").glob("*.md")})

    def test_what_shows_reliability(self) -> None:
        """Each test that docs/reliability.md names is there, in the last column of every row."""
        rows = re.findall(r"^\|(.*)\|$", (ROOT / "docs/reliability.md").read_text(), re.M)
        shown = [row.rpartition("|")[2] for row in rows if not re.search("shown by|---", row)]
        self.assertGreater(len(shown), 30)
        for names in shown:
            named = re.findall(r"`([a-z][\w.]+)`", names)
            self.assertTrue(named, names)
            for name in named:
                namedAny(f"tests.{name}")
