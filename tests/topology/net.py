"""Machines as network namespaces, with cables that can be pulled: nothing of it is in the network of this machine."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.integration.processes import Process

_NETNS = Path("/var/run/netns")
_CLONE_NEWNET = 0x40000000
_TOOLS = {"ip": "iproute2", "haproxy": "haproxy", "keepalived": "keepalived"}
_libc = ctypes.CDLL(None, use_errno=True)


def missing() -> str:
    """Why nothing of this can run here; empty when it can."""
    if os.geteuid():
        return "root is needed, to make network namespaces"
    if absent := [package for tool, package in _TOOLS.items() if not shutil.which(tool)]:
        return f"not on PATH: {', '.join(absent)} (apt install {' '.join(_TOOLS.values())})"
    probe = f"sg-{os.getpid()}-probe"
    try:
        _ip("netns", "add", probe)
        _ip("netns", "delete", probe)
    except RuntimeError as error:
        return str(error)
    return ""


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Machine:
    """One network namespace.

    :param full: its name among the namespaces of this machine.
    """

    def __init__(self, name: str, full: str) -> None:
        self.name = name
        self._full = full
        _ip("netns", "add", full)
        self.ip("link", "set", "dev", "lo", "up")

    def ip(self, *arguments: str) -> None:
        """Run ``ip`` inside."""
        _ip("-n", self._full, *arguments)

    def command(self, *command: str) -> list[str]:
        """The command line that runs one inside."""
        return ["ip", "netns", "exec", self._full, *command]

    def start(self, *command: str, environ: dict[str, str] | None = None) -> Process:
        """Start a process inside."""
        return Process(self.command(*command), 0, environ)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Sockets that this thread makes meanwhile are of this machine, and stay so."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(_NETNS / self._full, os.O_RDONLY)
        try:
            _enter(there)
            try:
                yield
            finally:
                _enter(before)
        finally:
            os.close(there)
            os.close(before)


class Net:
    """Machines on bridges, which are in a namespace of their own.

    :param bridges: their names.
    """

    def __init__(self, *bridges: str) -> None:
        _sweep()
        self._prefix = f"sg-{os.getpid()}"
        self._wire = Machine("wire", f"{self._prefix}-wire")
        self.machines: dict[str, Machine] = {}
        for bridge in bridges:
            self._wire.ip("link", "add", "name", bridge, "type", "bridge")
            self._wire.ip("link", "set", "dev", bridge, "up")

    def machine(self, name: str, **addresses: str | tuple[str, ...]) -> Machine:
        """A new one.

        :param addresses: with the length of their prefix, by bridge; the first bridge is its ``eth0``.
        """
        machine = self.machines[name] = Machine(name, f"{self._prefix}-{name}")
        for number, (bridge, several) in enumerate(addresses.items()):
            port, link = _port(name, bridge), f"eth{number}"
            self._wire.ip("link", "add", "name", port, "type", "veth", "peer", "name", link, "netns", machine._full)
            self._wire.ip("link", "set", "dev", port, "master", bridge, "up")
            for address in (several,) if isinstance(several, str) else several:
                machine.ip("address", "add", address, "dev", link)
            machine.ip("link", "set", "dev", link, "up")
        return machine

    def pull(self, name: str, bridge: str) -> None:
        """Pull a machine's cable out of a bridge: what is sent through it is lost, and nobody is told."""
        self._wire.ip("link", "set", "dev", _port(name, bridge), "down")

    def plug(self, name: str, bridge: str) -> None:
        """Plug it in again."""
        self._wire.ip("link", "set", "dev", _port(name, bridge), "up")

    def close(self) -> None:
        """End whatever runs on it, and remove all of it."""
        for machine in (*self.machines.values(), self._wire):
            _remove(machine._full)


def _port(name: str, bridge: str) -> str:
    return f"{name}-{bridge}"[:15]


def _remove(name: str) -> None:
    """Kill what runs in a namespace, and remove it."""
    for pid in subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    _ip("netns", "delete", name)


def _sweep() -> None:
    """Remove what runs have left that were killed."""
    for left in _NETNS.glob("sg-*") if _NETNS.exists() else ():
        match = re.match(r"sg-(\d+)-", left.name)
        if match and not Path(f"/proc/{match[1]}").exists():
            _remove(left.name)
