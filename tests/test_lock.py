"""The lock file of what production installs, held against setup.cfg."""

from __future__ import annotations

import configparser
import re

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from twisted.trial.unittest import SynchronousTestCase

from tests.run import ROOT

LOCK = ROOT / "packaging/requirements.lock"


def pins() -> dict[str, tuple[str, str]]:
    """Each package of the lock: its version, and the hashes and reasons that stand below it."""
    found = re.findall(r"^(\S+)==(\S+) \\\n((?: +.*\n?)+)", LOCK.read_text(), re.M)
    return {name: (version, below) for name, version, below in found}


class LockTests(SynchronousTestCase):
    """``make lock`` renews it; these tell when that is due."""

    def setUp(self) -> None:
        """Read both."""
        setup = configparser.ConfigParser()
        setup.read(ROOT / "setup.cfg")
        lines = setup["options"]["install_requires"].split("\n")
        wanted = [Requirement(line) for line in lines if line and line[0] != "#"]
        self.wanted = {str(canonicalize_name(requirement.name)): requirement for requirement in wanted}

    def test_names(self) -> None:
        """What setup.cfg asks for is what the lock was made for: nothing was added or taken away since."""
        made_for = {name for name, (_, below) in pins().items() if "smartgate (setup.cfg)" in below}
        self.assertEqual(made_for, set(self.wanted))

    def test_versions(self) -> None:
        """Every pin is within setup.cfg's bounds."""
        wrong = [
            f"{name} {version}"
            for name, (version, _) in pins().items()
            if name in self.wanted and not self.wanted[name].specifier.contains(version)
        ]
        self.assertEqual(wrong, [])

    def test_hashes(self) -> None:
        """Every package has hashes, without which pip would install none."""
        self.assertEqual([name for name, (_, below) in pins().items() if "--hash=sha256:" not in below], [])

    def test_names_no_place(self) -> None:
        """Where packages come from is the business of who installs them: no line says."""
        lines = LOCK.read_text().splitlines()
        self.assertEqual([line for line in lines if "://" in line or line.startswith("-")], [])
