"""The Debian package: what it is, and its life on a Debian 12."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from tests.integration.processes import ROOT
from tests.packages.case import ServingCase
from tests.packages.debian import PYTHON, Tree, archive, run

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


def give(tree: Tree, package: Path) -> None:
    """Install a package's file, as an upgrade where there is one."""
    run("cp", package, tree.place / "root/smartgate.deb")
    tree.run("dpkg", "--force-confdef", "--force-confold", "-i", "/root/smartgate.deb")
    (tree.place / "root/smartgate.deb").unlink()


class DebTests(ServingCase):
    """From ``dpkg -i`` to ``dpkg --purge``, on one Debian 12: a test's number is its place in that life."""

    @classmethod
    @cache
    def tree(cls) -> tuple[Tree, set[str]]:
        """A Debian 12 with the package, and the files that were there before it."""
        place = Path(tempfile.mkdtemp())
        atexit.register(shutil.rmtree, place, ignore_errors=True)
        place.chmod(0o755)
        tree = Tree(place / "tree", archive())
        before = tree.files()
        give(tree, package())
        return tree, before

    def test_0_lintian_is_content(self) -> None:
        """lintian has no error and no warning to tell."""
        said = run("lintian", "--fail-on", "error,warning", "--tag-display-limit", "0", package())
        self.assertNotIn("smartgate:", said)

    def test_1_serves_and_ends(self) -> None:
        """Installed, it checks its configuration, serves as the user smartgate, and ends with 0 when told to."""
        tree, _ = self.tree()
        environ = self.environ()
        self.assertEqual(tree.run("smartgate", "check", environ=environ), "OK\n")
        command = ["/usr/lib/smartgate/bin/twistd", "-n", "--pidfile=", "smartgate"]
        gateway = self.serve(tree.place, "smartgate", command, environ)
        self.assertEqual(gateway.stop(), 0, gateway.said())

    def test_2_upgrade_keeps_what_was_changed(self) -> None:
        """A configuration that the administrator has changed outlives an upgrade that brings another one."""
        tree, _ = self.tree()
        (tree.place / CONFIG).write_text("# mine\n")
        give(tree, later(package(), Path(self.mktemp()).resolve()))
        version = tree.run("dpkg-query", "-Wf", "${Version}", "smartgate")
        self.assertEqual((version[:2], (tree.place / CONFIG).read_text()), ("9:", "# mine\n"))

    def test_3_removal_keeps_the_configuration(self) -> None:
        """What is removed can be installed again as it was."""
        tree, before = self.tree()
        tree.run("dpkg", "-r", "smartgate")
        left = tree.files() - before
        self.assertLessEqual({CONFIG, "etc/default/smartgate"}, left)
        self.assertFalse({path for path in left if not path.startswith("etc/")})

    def test_4_purge_leaves_nothing(self) -> None:
        """Purged, no file is there that was not there before, and no user."""
        tree, before = self.tree()
        tree.run("dpkg", "--purge", "smartgate")
        self.assertEqual(
            (tree.files() - before, "smartgate" in (tree.place / "etc/passwd").read_text()), (set(), False)
        )
