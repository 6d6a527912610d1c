"""The topology of docs/topology.md, started from the very files of ``packaging/topology``."""

from __future__ import annotations

import atexit
import functools
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hiredis
from hiredis import pack_command

from tests.faults.load import Load
from tests.faults.platform import bearer
from tests.integration.client import Client
from tests.integration.processes import ROOT, SECRET, Process, server_binary, wait_for
from tests.integration.websockets import Peer, upgrade
from tests.topology.net import Machine, Net

FILES = ROOT / "packaging/topology"
BIN = Path(sys.executable).parent
ADDRESS = "10.0.0.4"
"""That clients know."""
CLIENTS = [f"198.51.100.{number}" for number in range(1, 9)]
"""Where clients come from."""
DRAIN = 4.0
"""Seconds of ``server.drain``, shorter than in the file for the test's sake."""


class Gateway:
    """A machine with a gateway on it."""

    def __init__(self, machine: Machine, config: Path, log: Path) -> None:
        self.machine = machine
        self.config = config
        self.log = log
        self.start()

    def start(self) -> None:
        """Start it, again after it has ended."""
        command = (str(BIN / "twistd"), "-n", "--pidfile=", "smartgate", "--config", str(self.config))
        environ = {"JWT_SECRET": SECRET, "DRAIN": f"{DRAIN:g}s", "ACCESS_LOG": str(self.log)}
        self.process = self.machine.start(*command, environ=environ)

    def ask(self, path: str, port: int = 9901) -> tuple[int, Any]:
        """What it answers on its own machine; status 0 when nothing."""
        try:
            with self.machine.inside(), Client(port, seconds=3) as client:
                client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                answer = client.answer()
        except (OSError, EOFError):
            return 0, ""
        return answer.status, answer.body.decode()

    def ready(self) -> bool:
        """Whether all its workers serve, and have what they need."""
        if self.process.child.poll() is not None:
            raise RuntimeError(f"{self.machine.name} has ended:\n{self.process.said()}")
        return self.ask("/ready")[0] == 200

    def cut_off(self) -> int:
        """For how many of its workers Redis is away."""
        return int(self.metric("smartgate_redis_degraded"))

    @property
    def workers(self) -> int:
        """How many there are: one for each CPU."""
        return int(self.metric("smartgate_workers"))

    def metric(self, name: str) -> float:
        """The sum of a metric's values."""
        lines = self.ask("/metrics")[1].splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def generation(self) -> tuple[set[int], set[str]]:
        """Which generations of workers there are, and their states."""
        status, text = self.ask("/workers")
        workers = json.loads(text) if status == 200 else []
        return {worker["generation"] for worker in workers}, {worker["state"] for worker in workers}

    def smartgate(self, *arguments: str) -> str:
        """Run the command on its machine."""
        command = [str(BIN / "smartgate"), *arguments, "--config", str(self.config)]
        process = self.machine.start(*command, environ={"JWT_SECRET": SECRET})
        status = process.child.wait(20)
        process.stop()
        assert status == 0, process.said()
        return process.said().strip()


class Platform:
    """All of it."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="sg-topology-"))
        self.processes: list[Process] = []
        self.gateways: list[Gateway] = []
        self.net = Net("front", "state")

    def start(self) -> None:
        """Start everything, and wait until it serves.

        :raises TimeoutError: when it does not.
        """
        self.client = self.net.machine("client", front=("10.0.0.100/24", *(f"{each}/24" for each in CLIENTS)))
        self._services()
        self._redis()
        for name, address in (("first", "5"), ("second", "6")):
            self._balancer(name, address)
        self.config = self.directory / "smartgate.toml"
        shutil.copy(FILES / "smartgate.toml", self.config)
        for number in (1, 2, 3):
            name, address = f"gateway-{number}", f".1{number}/24"
            machine = self._reachable(name, front=f"10.0.0{address}", state=f"10.0.1{address}")
            self.gateways.append(Gateway(machine, self.config, self.directory / f"{name}.log"))
        wait_for(lambda: all(gateway.ready() for gateway in self.gateways), "the gateways are ready", 120)
        wait_for(lambda: self.up() == {1, 2, 3}, "the balancer uses all of them", 20)
        wait_for(lambda: self._sentinels() == 3, "three Sentinels know each other and the replicas", 30)

    def _started(self, machine: Machine, *command: str, environ: dict[str, str] | None = None) -> Process:
        process = machine.start(*command, environ=environ)
        self.processes.append(process)
        return process

    def _reachable(self, name: str, **addresses: str) -> Machine:
        """A machine that can answer clients."""
        machine = self.net.machine(name, **addresses)
        machine.ip("route", "add", "198.51.100.0/24", "dev", "eth0")
        return machine

    def _services(self) -> None:
        for number in (1, 2):
            machine = self.net.machine(f"service-{number}", front=f"10.0.0.2{number}/24")
            arguments = ("3002", f"service-{number}")
            self._started(machine, sys.executable, "-m", "tests.topology.service", *arguments)

    def _redis(self) -> None:
        self.redis: dict[str, Machine] = {}
        for number in (1, 2, 3):
            address = f"10.0.1.3{number}"
            machine = self.redis[address] = self.net.machine(f"redis-{number}", state=f"{address}/24")
            for name in ("redis", "sentinel"):
                place = self.directory / f"{name}-{number}"
                place.mkdir()
                shutil.copy(FILES / f"{name}.conf", place)
                more = ["--sentinel"] if name == "sentinel" else ["--dir", str(place)]
                if name == "redis" and number > 1:
                    more += ["--replicaof", "10.0.1.31 6379"]
                self._started(machine, server_binary(), str(place / f"{name}.conf"), *more)

    def _sentinels(self) -> int:
        said = [self.ask_redis(address, "INFO", "sentinel", port=26379) for address in self.redis]
        return sum("slaves=2,sentinels=3" in str(each) for each in said)

    def _balancer(self, name: str, host: str) -> None:
        machine = self._reachable(f"balancer-{name}", front=f"10.0.0.{host}/24")
        place = self.directory / machine.name
        place.mkdir()
        environ = {"RUNTIME_DIRECTORY": str(place)}
        self._started(machine, "haproxy", "-db", "-f", str(FILES / "haproxy.cfg"), environ=environ)
        files = [f"--pid={place}/pid", f"--vrrp_pid={place}/vrrp-pid", f"--config-id={name}"]
        mounted = 'mount --bind "$0" /etc/keepalived && exec keepalived --vrrp --dont-fork --log-console "$@"'
        self._started(machine, "sh", "-c", mounted, str(FILES), *files)

    # -- what it is asked ------------------------------------------------------------------------------------------

    def ask_redis(self, address: str, *command: str, port: int = 6379) -> Any:
        """The reply of one of the Redis machines; None when there is none."""
        try:
            with self.redis[address].inside():
                connection = socket.create_connection(("127.0.0.1", port), 2)
            with connection:
                connection.sendall(pack_command(command))  # type: ignore[arg-type]
                reader = hiredis.Reader(encoding="utf-8")
                while (reply := reader.gets()) is False:
                    if not (data := connection.recv(65536)):
                        return None
                    reader.feed(data)
                return reply
        except OSError:
            return None

    def master(self) -> str:
        """Where most Sentinels say that the master is."""
        said: list[str] = [
            (self.ask_redis(each, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "smartgate", port=26379) or [""])[0]
            for each in self.redis
        ]
        return max(said, key=said.count)

    def haproxy(self, command: str, balancer: str = "first") -> str:
        """What an administrator's command gives on a balancer."""
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(self.directory / f"balancer-{balancer}/admin.sock"))
            admin.sendall(f"{command}\n".encode())
            said = b""
            while data := admin.recv(65536):
                said += data
        return said.decode()

    def up(self) -> set[int]:
        """Which gateways both balancers use, by their numbers."""

        def used(balancer: str) -> set[int]:
            lines = self.haproxy("show stat", balancer).splitlines()
            found = (re.match(r"gateways,gateway-(\d),.*?,(UP|DRAIN|DOWN|MAINT)[^,]*,", line) for line in lines)
            return {int(match[1]) for match in found if match and match[2] == "UP"}

        return used("first") & used("second")

    def holder(self) -> str:
        """Which balancer has the address that clients know."""
        for name in ("first", "second"):
            command = self.net.machines[f"balancer-{name}"].command("ip", "-o", "address")
            if f" {ADDRESS}/" in subprocess.run(command, capture_output=True, text=True).stdout:
                return name
        return ""

    def connect(self, source: str = CLIENTS[0], host: str = ADDRESS, port: int = 80, seconds: float = 10.0) -> Client:
        """A connection of a client."""
        with self.client.inside():
            return Client(port, source, seconds, host)

    def ask(self, *lines: str, source: str = CLIENTS[0], port: int = 80, path: str = "/api/users") -> int:
        """The status that a client gets on a connection of its own."""
        with self.connect(source, port=port) as client:
            client.send("\r\n".join((f"GET {path} HTTP/1.1", "Host: api.example.com", *lines, "", "")).encode())
            return client.answer().status

    def load(self, subject: str, lines: Sequence[str] = (), patience: float = 20.0, **more: Any) -> Load:
        """A steady load of one user who has no limit."""
        more = {"clients": 4, "pause": 0.03, **more}
        connect = functools.partial(self.connect, seconds=patience)
        return Load(80, "/api/users", bearer(subject), *lines, connect=connect, **more)

    def socket(self) -> Peer:
        """A WebSocket, past its handshake."""
        return upgrade(self.connect().socket, "/api/ws", bearer("socket"))

    def events(self) -> Client:
        """An event stream, past its head."""
        client = self.connect()
        client.send(f"GET /api/mcp/events HTTP/1.1\r\nHost: a\r\n{bearer('events')}\r\n\r\n".encode())
        assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        return client

    def close(self) -> None:
        """End all of it."""
        self.net.close()
        for process in (*(gateway.process for gateway in self.gateways), *self.processes):
            process.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


@functools.cache
def platform() -> Platform:
    """The one of this process, which ends with it."""
    made = Platform()
    try:
        made.start()
    except BaseException:
        made.close()
        raise
    atexit.register(made.close)
    return made
