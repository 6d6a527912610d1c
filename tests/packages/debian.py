"""Trees of Debian 12 to install in: made once by debootstrap, and kept in ``.cache``."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from tests.integration.processes import ROOT

CACHE = ROOT / ".cache"
PYTHON = "/usr/bin/python3"
"""The machine's own Python, which packages are made for."""
WITH = ("ca-certificates", "dbus", "logrotate", "python3", "python3-venv", "redis-server", "systemd-sysv")
TOOLS = {
    "debootstrap": "debootstrap",
    "unshare": "util-linux",
    "dpkg-buildpackage": "build-essential",
    "dh": "debhelper",
    "lintian": "lintian",
    "buildah": "buildah",
    "systemd-nspawn": "systemd-container",
    "nsenter": "util-linux",
}
"""What the suites call, and the package that has it."""


def missing(*tools: str) -> str:
    """Why what calls these tools besides those that make a tree cannot run here; empty when it can."""
    if os.geteuid():
        return "root is needed, to make trees of Debian and to go into them"
    absent = [tool for tool in ("debootstrap", "unshare", "dpkg-buildpackage", "dh", *tools) if not shutil.which(tool)]
    if absent:
        return f"not on PATH: {', '.join(absent)} (apt install {' '.join(sorted({TOOLS[tool] for tool in absent}))})"
    return ""


def run(*command: str | Path, environ: dict[str, str] | None = None) -> str:
    """What a command writes.

    :raises RuntimeError: with all it wrote, when its exit status is not 0.
    """
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env={**os.environ, **(environ or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode:
        raise RuntimeError(f"{command} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


@cache
def archive() -> Path:
    """A tar of Debian 12 with what the packages depend on; about two minutes the first time."""
    kept = CACHE / "debian-12.tar"
    if not kept.exists():
        CACHE.mkdir(exist_ok=True)
        mirror = run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Codename: bookworm")
        with tempfile.TemporaryDirectory() as place:
            os.chmod(place, 0o755)  # it becomes the tree's root, which every user has to get through
            run("debootstrap", "--variant=minbase", f"--include={','.join(WITH)}", "bookworm", place, mirror.split()[0])
            run("tar", "--one-file-system", "-cf", f"{kept}.new", "-C", place, ".")
        os.rename(f"{kept}.new", kept)
    return kept


def inside(place: Path, user: str, *command: str, read_only: bool = False) -> list[str]:
    """The command line that runs one in the tree at ``place``, under its own pid, with a /proc and a /dev.

    :param user: a name or a number, of a group too.
    :param read_only: nothing of the tree can be written then.
    """
    mounts = 'mount -t proc proc "$0/proc" && mount --bind /dev "$0/dev"'
    if read_only:
        mounts = f'mount --bind "$0" "$0" && {mounts} && mount -o remount,bind,ro "$0"'
    script = f'{mounts} && exec /usr/sbin/chroot --userspec="$1" "$0" "${{@:2}}"'
    return ["unshare", "--mount", "bash", "-c", script, str(place), f"{user}:{user}", *command]


class Tree:
    """A Debian 12 below ``place``, to install and run in; the network is this machine's.

    :param contents: a tar of what it begins with.
    """

    def __init__(self, place: Path, contents: Path) -> None:
        self.place = place
        place.mkdir(parents=True)
        run("tar", "-xf", contents, "-C", place)

    def run(self, *command: str, environ: dict[str, str] | None = None) -> str:
        """What a command writes inside, as root; raises as :func:`run` does."""
        return run(*inside(self.place, "root", *command), environ=environ)

    def files(self) -> set[str]:
        """Every path, but those of logs, of caches and of Debian's own book-keeping."""
        aside = (
            "var/log",
            "var/cache",
            "var/lib/dpkg",
            "var/lib/systemd/deb-systemd-helper",
            "tmp",
            "proc",
            "dev",
            "run",
        )
        found = {str(path.relative_to(self.place)) for path in self.place.rglob("*")}
        return {path for path in found if not path.startswith(aside)}


if __name__ == "__main__":
    print(archive())
