"""The Debian package: what it is, and its life on a Debian 12."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.integration.processes import ROOT, SECRET
from tests.packages.case import ServingCase, fresh
from tests.packages.debian import PYTHON, Tree, run

CONFIG = "etc/smartgate/smartgate.toml"


@cache
def package() -> Path:
    """What ``make deb`` makes of this tree."""
    return ROOT / run("make", "-s", "deb", f"PYTHON={PYTHON}").splitlines()[-1]


def later(package: Path, place: Path) -> Path:
    """The same package under a higher version, with a configuration and code that the new version has changed."""
    run("dpkg-deb", "-R", package, place)
    control = place / "DEBIAN/control"
    control.write_text(control.read_text().replace("\nVersion: ", "\nVersion: 9:"))
    (place / CONFIG).write_text((place / CONFIG).read_text() + "# new\n")
    (code,) = place.glob("usr/lib/smartgate/lib/*/site-packages/gateway/__init__.py")
    code.write_text(re.sub("^__version__ = .*", '__version__ = "9"', code.read_text(), flags=re.M))
    return Path(run("dpkg-deb", "-Znone", "-b", place, f"{place}.deb").split("'")[-2])


def give(tree: Tree, package: Path) -> None:
    """Install a package's file, as an upgrade where there is one."""
    run("cp", package, tree.place / "root/smartgate.deb")
    tree.run("dpkg", "--force-confdef", "--force-confold", "-i", "/root/smartgate.deb")
    (tree.place / "root/smartgate.deb").unlink()


@contextlib.contextmanager
def booted(tree: Tree) -> Iterator[list[str]]:
    """What systemctl is told meanwhile, in a tree that takes itself for one that systemd has booted."""
    told: list[str] = []
    systemctl, log = tree.place / "usr/local/bin/systemctl", tree.place / "tmp/systemctl"
    systemctl.write_text('#!/bin/sh\necho "$@" >>/tmp/systemctl\n')
    systemctl.chmod(0o755)
    (tree.place / "run/systemd/system").mkdir(parents=True)
    yield told
    told += log.read_text().splitlines()
    log.unlink()
    systemctl.unlink()
    (tree.place / "run/systemd/system").rmdir()


class DebTests(ServingCase):
    """From ``dpkg -i`` to ``dpkg --purge``, on one Debian 12: a test's number is its place in that life."""

    @classmethod
    @cache
    def tree(cls) -> tuple[Tree, set[str]]:
        """A Debian 12 with the package, and the files that were there before it."""
        tree = fresh()
        before = tree.files()
        give(tree, package())
        return tree, before

    def test_0_lintian_is_content(self) -> None:
        """lintian has no error and no warning to tell."""
        said = run("lintian", "--fail-on", "error,warning", "--tag-display-limit", "0", package())
        self.assertNotIn("smartgate:", said)

    def test_0_same_again(self) -> None:
        """The same commit makes the same package, byte for byte: elsewhere, later, and whatever umask and zone are."""
        once = package().read_bytes()
        place = Path(self.mktemp()).resolve() / "elsewhere"
        files = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
        for name in filter(None, files):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / name, follow_symlinks=False)
        (place / ".git").symlink_to(ROOT / ".git")
        shutil.copytree(
            ROOT / "build", place / "build", symlinks=True, ignore=shutil.ignore_patterns("deb", "image", "smartgate-*")
        )
        make = f"umask 077 && make -s -C {place} deb PYTHON={PYTHON}"
        again = run("sh", "-c", make, environ={"TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8", "MAKEFLAGS": ""})
        self.assertTrue((place / again.splitlines()[-1]).read_bytes() == once)

    def test_1_serves_and_ends(self) -> None:
        """It is checked with its environment, serves as the user smartgate, and ends with 0 when told to."""
        tree, _ = self.tree()
        environ = self.environ()
        self.assertRaises(RuntimeError, tree.run, "smartgate", "check")
        (tree.place / "etc/default/smartgate").write_text(f"JWT_SECRET={SECRET}\n")
        self.assertEqual(tree.run("smartgate", "check"), "OK\n")
        command = ["/usr/lib/smartgate/bin/twistd", "-n", "--pidfile=", "smartgate"]
        gateway = self.serve(tree.place, "smartgate", command, environ)
        self.assertEqual(gateway.stop(), 0, gateway.said())

    def test_2_upgrade_keeps_what_was_changed(self) -> None:
        """A configuration that the administrator has changed outlives an upgrade that brings another one."""
        tree, _ = self.tree()
        (tree.place / CONFIG).write_text("# mine\n")
        with booted(tree) as told:
            give(tree, later(package(), Path(self.mktemp()).resolve()))
        self.assertEqual(
            told, ["--system daemon-reload", "try-reload-or-restart smartgate.service smartgate@*.service"]
        )
        version = tree.run("dpkg-query", "-Wf", "${Version}", "smartgate")
        self.assertEqual((version[:2], (tree.place / CONFIG).read_text()), ("9:", "# mine\n"))

    def test_3_removal_keeps_the_configuration(self) -> None:
        """What is removed can be installed again as it was; what runs is stopped before its files go."""
        tree, before = self.tree()
        with booted(tree) as told:
            tree.run("dpkg", "-r", "smartgate")
        self.assertEqual(told[:2], ["stop smartgate.socket", "stop smartgate.service smartgate@*.service"])
        left = tree.files() - before
        self.assertLessEqual({CONFIG, "etc/default/smartgate"}, left)
        self.assertFalse({path for path in left if not path.startswith("etc/")})

    def test_4_purge_leaves_nothing(self) -> None:
        """Purged, no file is there that was not there before, and no user."""
        tree, before = self.tree()
        (tree.place / "etc/default/smartgate-one").write_text("PORT=1\n")
        wants = tree.place / "etc/systemd/system/multi-user.target.wants"
        wants.mkdir(parents=True, exist_ok=True)
        (wants / "smartgate@one.service").symlink_to("/lib/systemd/system/smartgate@.service")
        tree.run("dpkg", "--purge", "smartgate")
        self.assertEqual(
            (tree.files() - before, "smartgate" in (tree.place / "etc/passwd").read_text()), (set(), False)
        )
