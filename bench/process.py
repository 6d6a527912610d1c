"""Processes under measurement: pinned to a core, their processor time read from /proc, ended by their pid."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """A child on one core.

    :param log: the file that gets its standard output and error.
    """

    def __init__(self, command: Sequence[str], core: int, log: Path, environ: Mapping[str, str] | None = None) -> None:
        self.log = log
        with log.open("wb") as output:
            self.child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environ or {})},
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )

    def wait_for(self, port: int, seconds: float = 60.0) -> None:
        """Return when it takes connections on 127.0.0.1:port.

        :raises RuntimeError: with the end of its output, when it does not.
        """
        deadline = time.monotonic() + seconds
        while self.child.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 0.5).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError(f"did not start: {self.last_words()}")

    def last_words(self) -> str:
        """The last line of its output that says something."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][-300:] if lines else "it said nothing"

    def cpu(self) -> float:
        """Processor time of it and its children so far, user and system, seconds."""
        return sum(map(_cpu_of, _family(self.child.pid)))

    def resident(self) -> int:
        """Memory of it and its children, bytes (VmRSS)."""
        return sum(map(_resident_of, _family(self.child.pid)))

    def stop(self) -> None:
        """End it."""
        self.child.terminate()
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


def core_time(core: int) -> float:
    """Seconds since boot that a core was busy or taken away by the hypervisor (proc(5), /proc/stat)."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *numbers = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = (int(number) / _TICK for number in numbers[:8])
            return user + nice + system + irq + softirq + steal
    raise LookupError(f"no core {core}")


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*"):
        for child in (task / "children").read_text().split():
            yield from _family(int(child))


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _resident_of(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0
