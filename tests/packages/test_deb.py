"""The Debian package: what it is, and its life on a Debian 12."""

from __future__ import annotations

import os
import signal
import subprocess
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.client import ask
from tests.integration.processes import ROOT, SECRET, Process, free_port
from tests.packages.debian import PYTHON, Tree, run

CONFIG = "etc/smartgate/smartgate.toml"


@cache
def package() -> Path:
    """What ``make deb`` makes of this tree."""
    return ROOT / run("make", "-s", "deb", f"PYTHON={PYTHON}").splitlines()[-1]


def later(package: Path, place: Path) -> Path:
    """The same package under a higher version, with a configuration that the new version has changed."""
    run("dpkg-deb", "-R", package, place)
    control = place / "DEBIAN/control"
    control.write_text(control.read_text().replace("\nVersion: ", "\nVersion: 9:"))
    (place / CONFIG).write_text((place / CONFIG).read_text() + "# new\n")
    return Path(run("dpkg-deb", "-b", place, f"{place}.deb").split("'")[-2])


class DebTests(SynchronousTestCase):
    """From ``dpkg -i`` to ``dpkg --purge``."""

    def tree(self) -> Tree:
        """A Debian 12 with the package's file in it."""
        tree = Tree(Path(self.mktemp()).resolve())
        self.addCleanup(run, "rm", "-rf", str(tree.place))
        return tree

    def give(self, tree: Tree, package: Path) -> None:
        """Install a package's file, as an upgrade where there is one."""
        run("cp", package, tree.place / "root/smartgate.deb")
        tree.run("dpkg", "--force-confdef", "--force-confold", "-i", "/root/smartgate.deb")
        (tree.place / "root/smartgate.deb").unlink()

    def test_lintian_is_content(self) -> None:
        """lintian has no error and no warning to tell."""
        said = run("lintian", "--fail-on", "error,warning", "--tag-display-limit", "0", package())
        self.assertNotIn("smartgate:", said)

    def test_serves_and_ends(self) -> None:
        """Installed, it checks its configuration, serves as the user smartgate, and ends with 0 when told to."""
        tree = self.tree()
        self.give(tree, package())
        port, admin = free_port(), free_port()
        environ = {"JWT_SECRET": SECRET, "PORT": str(port), "ADMIN_PORT": str(admin), "REDIS_URL": "memory:"}
        self.assertEqual(tree.run("smartgate", "check", environ=environ), "OK\n")
        command = tree.command("/usr/lib/smartgate/bin/twistd", "-n", "--pidfile=", "smartgate", user="smartgate")
        gateway = Process(command, port, environ)
        self.addCleanup(gateway.stop)
        gateway.wait()
        self.assertEqual(ask(port, "/health").status, 200)
        self.assertEqual(gateway.stop(), 0)

    def test_upgrade_keeps_what_was_changed(self) -> None:
        """A configuration that the administrator has changed outlives an upgrade."""
        tree = self.tree()
        self.give(tree, package())
        (tree.place / CONFIG).write_text("# mine\n")
        self.give(tree, later(package(), Path(self.mktemp()).resolve()))
        self.assertEqual(
            (tree.run("dpkg-query", "-Wf", "${Version}", "smartgate")[:2], (tree.place / CONFIG).read_text()),
            ("9:", "# mine\n"),
        )

    def test_removal_keeps_the_configuration(self) -> None:
        """What is removed can be installed again as it was."""
        tree = self.tree()
        self.give(tree, package())
        tree.run("dpkg", "-r", "smartgate")
        left = {path for path in tree.files() if "smartgate" in path}
        self.assertLessEqual({CONFIG, "etc/default/smartgate"}, left)
        self.assertFalse({path for path in left if path.startswith("usr/lib/smartgate")})

    def test_purge_leaves_nothing(self) -> None:
        """Purged, no file is there that was not there before, and no user."""
        tree = self.tree()
        before = tree.files()
        self.give(tree, package())
        tree.run("smartgate", "--help")
        tree.run("dpkg", "--purge", "smartgate")
        self.assertEqual((tree.files() - before, "smartgate" in (tree.place / "etc/passwd").read_text()), (set(), False))
