"""``make install``: what it puts where, and what is left of it."""

from __future__ import annotations

from functools import cache

from tests.integration.processes import SECRET
from tests.packages.case import ServingCase, fresh
from tests.packages.debian import PYTHON, Tree, run

NOBODY = "65534"
"""The user, and his group, which has another name."""


def make(target: str, tree: Tree) -> str:
    """Run ``make`` on a tree of its own, as who builds a package or an image of it would."""
    return run("make", "-s", target, f"PYTHON={PYTHON}", f"DESTDIR={tree.place}")


class InstallTests(ServingCase):
    """On one Debian 12: a test's number is its place in that life."""

    @classmethod
    @cache
    def tree(cls) -> tuple[Tree, set[str]]:
        """A Debian 12 with the gateway installed, and the files that were there before it."""
        tree = fresh()
        before = tree.files()
        make("install", tree)
        return tree, before

    def test_1_serves_and_ends(self) -> None:
        """The command is on PATH and reads the service's environment; the service's own command serves."""
        tree, _ = self.tree()
        self.assertEqual((tree.place / "etc/default/smartgate").stat().st_mode & 0o777, 0o600)
        (tree.place / "etc/default/smartgate").write_text(f"JWT_SECRET={SECRET}\n")
        self.assertEqual(tree.run("/usr/local/bin/smartgate", "check"), "OK\n")
        unit = (tree.place / "usr/local/lib/systemd/system/smartgate.service").read_text()
        command = unit.partition("\nExecStart=")[2].partition("\n")[0].split()
        gateway = self.serve(tree.place, NOBODY, command, self.environ())
        self.assertEqual(gateway.stop(), 0, gateway.said())

    def test_2_again(self) -> None:
        """A second time, as for an upgrade, it keeps what was changed, and leaves nothing beside it."""
        tree, _ = self.tree()
        (tree.place / "etc/smartgate/smartgate.toml").write_text("# mine\n")
        before = tree.files()
        make("install", tree)
        self.assertEqual((tree.place / "etc/smartgate/smartgate.toml").read_text(), "# mine\n")
        self.assertEqual(tree.files(), before)

    def test_3_uninstall(self) -> None:
        """It leaves what is the administrator's, and says so."""
        tree, before = self.tree()
        said = make("uninstall", tree)
        left = {path for path in tree.files() - before if not (tree.place / path).is_dir()}
        self.assertEqual(left, {"etc/smartgate/smartgate.toml", "etc/default/smartgate"})
        self.assertIn("/etc/smartgate", said)
