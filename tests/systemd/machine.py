"""A Debian 12 that boots: systemd in a container, with a network of its own that has a loopback and nothing else."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.integration.processes import ROOT, wait_for
from tests.packages.debian import run

SOURCES: Final = "/srv/smartgate"
"""Where the machine has this tree, and cannot write to it."""
BOOT: Final = 60.0
"""Seconds in which it has to be up."""
_LOCK: Final = Path(tempfile.gettempdir(), "smartgate-machine.lock")
_ENVIRON: Final = ("-i", "LANG=C.UTF-8", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
_NETWORK: Final = 0x40000000
"""CLONE_NEWNET of setns(2)."""


class Machine:
    """Runs until :meth:`stop`; another one waits for that, because both would have the same control group.

    :param place: the tree that it boots.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self._console = place.with_name("console")
        self._alone = _LOCK.open("w")
        fcntl.flock(self._alone, fcntl.LOCK_EX)
        self._boot()

    def _boot(self) -> None:
        flags = ("--boot", "--register=no", "--keep-unit", "--private-network", "--console=pipe")
        with self._console.open("wb") as console:
            self._container = subprocess.Popen(
                ["systemd-nspawn", *flags, f"--bind-ro={ROOT}:{SOURCES}", f"--directory={self.place}"],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        wait_for(self._is_up, "it is up", BOOT)

    def _is_up(self) -> bool:
        if self._container.poll() is not None:
            raise RuntimeError(f"systemd-nspawn ended:\n{self._console.read_text(errors='replace')}")
        with suppress(RuntimeError, ValueError, OSError):
            return self.run("systemctl", "is-system-running", "--wait") == "running\n"
        return False

    def _first(self) -> int:
        """The process id, out here, of its first process.

        :raises ValueError: when there is none yet.
        """
        pid = self._container.pid
        (first,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(first)

    def inside(self, *command: str) -> list[str]:
        """The command line that runs one in the machine, as root."""
        return ["nsenter", f"--target={self._first()}", "--all", "--root", "--wd", "env", *_ENVIRON, *command]

    def outside(self, *command: str) -> list[str]:
        """The command line that runs one in the network that this process began in, from wherever it is now."""
        return ["nsenter", f"--target={self._container.pid}", "--net", *command]

    def run(self, *command: str) -> str:
        """What a command writes inside, as root.

        :raises RuntimeError: with all it wrote, when its exit status is not 0.
        """
        return run(*self.inside(*command))

    @contextmanager
    def network(self) -> Iterator[None]:
        """Lets this thread, and what it starts meanwhile, live in the machine's network."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        other = os.open(f"/proc/{self._first()}/ns/net", os.O_RDONLY)
        try:
            _move(other)
            yield
        finally:
            _move(home)
            os.close(home)
            os.close(other)

    def reboot(self) -> None:
        """Shut it down in good order, and boot it again: with another network."""
        self._shut_down()
        self._boot()

    def stop(self) -> None:
        """Shut it down; at once when it does not."""
        self._shut_down()
        self._alone.close()

    def _shut_down(self) -> None:
        self._container.terminate()
        try:
            self._container.wait(30)
        except subprocess.TimeoutExpired:
            self._container.kill()
            self._container.wait()

    # -- its units ------------------------------------------------------------------------------------------------

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", f"--property={name}", "--value", unit).strip()

    def journal(self, unit: str, since: float) -> str:
        """What a unit has logged, and systemd of it, since a moment in seconds since 1970."""
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}", f"--since=@{since:.3f}")

    def drop_in(self, unit: str, text: str) -> None:
        """Change a unit as ``systemctl edit --runtime`` does; an empty text takes the change back."""
        place = self.place / f"etc/systemd/system/{unit}.d"
        if text:
            place.mkdir(parents=True, exist_ok=True)
            (place / "test.conf").write_text(text)
        else:
            shutil.rmtree(place)
        self.run("systemctl", "daemon-reload")


def _move(network: int) -> None:
    """Move this thread to a network."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(network, _NETWORK):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")
