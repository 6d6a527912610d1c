"""`make capacity`: measure what a request, a connection and a WebSocket cost, and write docs/capacity.md's tables."""

from __future__ import annotations

import argparse
import http.client
import json
import re
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Final

from bench import idle, install, peers, redis
from bench.costs import FIGURES, HELD, KEYS, KIB, SOCKETS, update
from bench.load import CONNECTIONS, offer, round_trips
from bench.origin import BODY
from bench.peers import LOAD_CORE, PEER_CORE, PEERS, Bed
from bench.process import Process, core_time, free_port
from bench.run import facts, request_fields
from bench.table import ELSEWHERE
from gateway.core.bans import Ban
from tests.certificates import Authority

QUIET: Final = 1
"""Connections of the load where no two requests share a turn of the reactor, or a round trip."""


class Bench:
    """A gateway on one core; Redis, services and load on the other.

    :param seconds: that each load lasts, after a third of that to warm up.
    :ivar others: shares of the gateway's core that something else took, load by load.
    """

    def __init__(self, stack: ExitStack, directory: Path, seconds: float) -> None:
        self._stack = stack
        self._directory = directory
        self._seconds = seconds
        self.figures: dict[str, float] = {}
        self.others: list[float] = []
        (directory / "origin").mkdir()
        for name, bits in (("ecdsa", 0), ("rsa", 2048)):
            place = directory / "certificates" / name
            place.mkdir(parents=True)
            (place / "localhost.pem").write_bytes(Authority("bench").certificate("localhost", bits=bits))
        origin_port, self._sockets = free_port(), free_port()
        origin, self.origin = peers.origin(directory, origin_port, BODY)
        self._company(origin)
        sockets = [sys.executable, "-m", "bench.origin.sockets", str(self._sockets)]
        self._company(Process(sockets, LOAD_CORE, directory / "sockets.out")).wait_for(self._sockets)
        self._redis: list[tuple[Process, int]] = []
        for number in range(2):
            port = free_port()
            (directory / f"redis-{number}").mkdir()
            process, self.store = redis.start(directory / f"redis-{number}", port, LOAD_CORE)
            self._redis.append((self._company(process), port))
        self._bed = Bed(directory, origin_port, self._redis[0][1], ())
        self.fields = request_fields(PEERS[0])

    def _company(self, process: Process) -> Process:
        self._stack.callback(process.stop)
        return process

    def gateway(self, name: str, servers: int = 1, workers: int = 0) -> Gateway:
        """A new one, which answers."""
        ports = {key: free_port() for key in ("PORT", "ADMIN_PORT", "ECDSA_PORT", "RSA_PORT")}
        environ = {
            **self._bed.environ(ports["PORT"], name),
            **{key: str(port) for key, port in ports.items()},
            "CERTIFICATES": str(self._directory / "certificates"),
            "SOCKETS": f"http://127.0.0.1:{self._sockets}",
            "WORKERS": str(workers),
            "REDIS_URL": ",".join(f"redis://127.0.0.1:{port}/0" for _, port in self._redis[:servers]),
        }
        twistd = str(Path(install.gateway()).with_name("twistd"))
        config = str(Path(__file__).with_name("capacity.toml"))
        command = [twistd, "-n", "--pidfile=", "smartgate", "--config", config]
        process = self._company(Process(command, PEER_CORE, self._directory / f"{name}.out", environ))
        process.wait_for(ports["PORT"], 60)
        process.wait_for(ports["ADMIN_PORT"])
        return Gateway(process, ports, Path(environ["ACCESS_LOG"]))

    def load(
        self,
        gateway: Gateway,
        url: str,
        fields: dict[str, str],
        connections: int = CONNECTIONS,
        ask: Callable[[str, dict[str, str], float, int], int] | None = None,
    ) -> dict[str, float]:
        """What one request costs under this load, in us of processor time and other units.

        :raises RuntimeError: when an answer is not 2xx.
        """

        def wrk(url: str, fields: dict[str, str], seconds: float, connections: int) -> int:
            done = offer(url, fields, seconds, LOAD_CORE, connections)
            if done.refused or done.broken > connections:
                raise RuntimeError(f"{url}: {done.refused} answers were not 2xx, {done.broken} connections broke")
            return done.requests

        ask = ask or wrk
        ask(url, fields, max(1, round(self._seconds / 3)), connections)

        def now() -> tuple[float, ...]:
            return (
                gateway.process.cpu(),
                sum(process.cpu() for process, _ in self._redis),
                round_trips(gateway.ports["ADMIN_PORT"]),
                sum(redis.traffic(port) for _, port in self._redis),
                gateway.log.stat().st_size,
                core_time(PEER_CORE),
                time.monotonic(),
            )

        before = now()
        requests = ask(url, fields, self._seconds, connections)
        time.sleep(0.3)  # the last lines of the log
        *differences, core, took = (late - early for early, late in zip(before, now(), strict=True))
        self.others.append((core - differences[0]) / took)
        used = [difference / requests for difference in differences]
        print(f"{url} {connections}: {used[0] * 1e6:.1f} us of {requests / self._seconds:,.0f}/s", file=sys.stderr)
        return {"us": used[0] * 1e6, "redis_us": used[1] * 1e6, "trips": used[2], "redis": used[3], "log": used[4]}

    # -- what is measured ------------------------------------------------------------------------------------------

    def requests(self) -> None:
        """Requests, and what they cost Redis."""
        of, gateway = self.figures, self.gateway("requests")
        plain = f"http://127.0.0.1:{gateway.ports['PORT']}"
        of["public_us"] = self.load(gateway, f"{plain}/public/42", {})["us"]
        of["public_quiet_us"] = self.load(gateway, f"{plain}/public/42", {}, QUIET)["us"]
        busy = self.load(gateway, f"{plain}/api/users/42", self.fields)
        of |= {"whole_us": busy["us"], "redis_us": busy["redis_us"], "redis_trips": busy["trips"]}
        quiet = self.load(gateway, f"{plain}/api/users/42", self.fields, QUIET)
        of |= {"whole_quiet_us": quiet["us"], "redis_quiet_us": quiet["redis_us"], "redis_bytes": quiet["redis"]}
        of["redis_one_us"] = 1e6 * redis.question(*self._redis[0])
        of |= {"log_bytes": busy["log"], "answer_bytes": float(head_size(gateway.ports["PORT"], self.fields))}
        spread = self.gateway("spread", servers=2)
        url = f"http://127.0.0.1:{spread.ports['PORT']}/api/users/42"
        of["spread_us"] = self.load(spread, url, self.fields)["us"]
        spread.process.stop()
        close = {"Connection": "close"}
        of["connection_us"] = self.load(gateway, f"{plain}/public/42", close)["us"] - of["public_us"]
        ecdsa, rsa = (f"https://127.0.0.1:{gateway.ports[name]}/public/42" for name in ("ECDSA_PORT", "RSA_PORT"))
        of["tls_us"] = self.load(gateway, ecdsa, {})["us"]
        of["h2_us"] = self.load(gateway, ecdsa, {}, ask=h2load)["us"]
        for name, url in (("ecdsa", ecdsa), ("rsa", rsa)):
            of[f"handshake_{name}_us"] = self.load(gateway, url, close)["us"] - of["tls_us"] - of["connection_us"]
        gateway.process.stop()

    def held(self) -> None:
        """Connections and WebSockets that are open."""
        for name, count, path, fields, ends in (
            ("connection", HELD, "/public/42", {}, 2),
            ("websocket", SOCKETS, "/ws/x", idle.upgrade_fields(), 4),
        ):
            gateway = self.gateway(f"{name}s")
            found = idle.hold(gateway.process, gateway.ports["PORT"], count, path, fields, ends)
            self.figures |= {f"{name}_bytes": found.memory, f"{name}s_busy": found.busy}
            self.figures[f"{name}_kernel_bytes"] = found.kernel * ends / 2
            print(f"{count} {name}s: {found.memory:.0f} bytes each, {found.busy:.1%} of a core", file=sys.stderr)
            gateway.process.stop()

    def workers(self) -> None:
        """Processes that do nothing."""
        gateway = self.gateway("workers", workers=2)
        deadline = time.monotonic() + 20
        while len(workers := gateway.workers()) < 2:
            if time.monotonic() > deadline:
                raise RuntimeError("two workers do not serve after 20 s")
            time.sleep(0.1)
        self.figures["worker_bytes"] = sum(memory(pid, "Rss") for pid in workers) / 2
        self.figures["worker_own_bytes"] = sum(memory(pid, "Pss") for pid in workers) / 2
        self.figures["supervisor_bytes"] = memory(gateway.process.child.pid, "Rss")
        gateway.process.stop()

    def keys(self) -> None:
        """What gateways share, in Redis and in each of them."""
        _, port = self._redis[0]
        gateway = self.gateway("keys")
        now = time.time()
        kinds: dict[str, Callable[[int], tuple[str, str]]] = {
            "counter": lambda number: (f"rl:user:user-{number:06}", "17"),
            "revocation": lambda _: (f"blacklist:{uuid.uuid4()}", "1"),
            "ban": lambda number: (
                f"ban:203.{number >> 16}.{number >> 8 & 255}.{number & 255}",
                Ban(now, now + 300, "refusals that weigh", 1).dump(),
            ),
        }
        for name, make in kinds.items():
            before = redis.used_memory(port)

            def write(make: Callable[[int], tuple[str, str]] = make) -> None:
                redis.write(port, [("SET", *make(number), "PX", "600000") for number in range(KEYS)])

            known = {"revocation": "smartgate_blacklist_known", "ban": "smartgate_bans"}.get(name)
            if known is None:
                write()
            else:
                metric = known
                told = idle.growth(gateway.process, KEYS, write, lambda: gateway.metric(metric) >= KEYS)  # noqa: B023
                self.figures[f"known_{name}_bytes"] = told
            self.figures[f"{name}_bytes"] = (redis.used_memory(port) - before) / KEYS
        gateway.process.stop()


class Gateway:
    """A gateway that is measured."""

    def __init__(self, process: Process, ports: dict[str, int], log: Path) -> None:
        self.process = process
        self.ports = ports
        self.log = log

    def admin(self, path: str) -> str:
        """What operators get."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["ADMIN_PORT"], timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        """A metric without labels; 0 where it is not there."""
        match = re.search(rf"^{name} (\S+)$", self.admin("/metrics"), re.M)
        return float(match[1]) if match else 0.0

    def workers(self) -> list[int]:
        """The process ids of the workers that serve."""
        return [each["pid"] for each in json.loads(self.admin("/workers")) if each["state"] == "serving"]


def h2load(url: str, fields: dict[str, str], seconds: float, connections: int) -> int:
    """Ask over HTTP/2, four requests at a time on each of a quarter of the connections.

    :raises RuntimeError: when one fails.
    """
    command = ["taskset", "-c", str(LOAD_CORE), install.tool("h2load"), "-t1", f"-c{connections // 4}", "-m4"]
    done = subprocess.run([*command, f"-D{seconds:.0f}", url], capture_output=True, text=True, timeout=seconds + 30)
    match = re.search(r"(\d+) succeeded, (\d+) failed", done.stdout)
    if match is None or int(match[2]):
        raise RuntimeError(f"h2load: {(match[0] if match else done.stderr or done.stdout).strip()[-300:]}")
    return int(match[1])


def head_size(port: int, fields: dict[str, str]) -> int:
    """Bytes of the head of an answer."""
    lines = ["GET /api/users/42 HTTP/1.1", "Host: api.example.com", *(f"{name}: {fields[name]}" for name in fields)]
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return len(connection.recv(65536).partition(b"\r\n\r\n")[0]) + 4


def memory(pid: int, kind: str) -> float:
    """Bytes of a process' memory: ``Rss``, or ``Pss``, where what is shared counts in parts."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    match = re.search(rf"^{kind}: +(\d+) kB", text, re.M)
    assert match is not None
    return float(match[1]) * KIB


def main(arguments: Sequence[str]) -> int:
    """Measure, keep the figures, and write the document."""
    parser = argparse.ArgumentParser(prog="python -m bench.capacity", description=__doc__)
    parser.add_argument("--seconds", type=float, default=6, help="that each load lasts (default 6)")
    parser.add_argument("--only", default="", help="requests, held, workers or keys: shown alone, and not written")
    parser.add_argument("--write", action="store_true", help="measure nothing, write the document from what is kept")
    settings = parser.parse_args(arguments)
    if settings.write:
        update()
        return 0
    try:
        for name in ("wrk", "h2load"):
            install.tool(name)
        idle.room_for(20_000)
    except (install.Missing, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 2
    parts = [each for each in settings.only.split(",") if each] or ["workers", "requests", "held", "keys"]
    with tempfile.TemporaryDirectory(prefix="smartgate-capacity-") as name, ExitStack() as stack:
        bench = Bench(stack, Path(name), settings.seconds)
        for part in parts:
            getattr(bench, part)()
    if settings.only:
        print(json.dumps(bench.figures, indent=1))
        return 0
    first, machine, *_ = facts(argparse.Namespace(rounds=1, seconds=settings.seconds, warm_up=0), "", "")
    setting = (
        f"the gateway on core {PEER_CORE}; load ({CONNECTIONS} connections, {QUIET} where no other request is under "
        f"way), {bench.origin} and {bench.store} on core {LOAD_CORE}; {settings.seconds:g} s each"
    )
    others = f"{median(bench.others):.0%} of the gateway's core (median; {max(bench.others):.0%} at most)"
    doubt = f"something else took {others}"
    if max(bench.others) > ELSEWHERE:
        doubt = f"**provisional**: {doubt}"
    kept = {"facts": [first, machine, setting, doubt], "figures": bench.figures}
    FIGURES.write_text(json.dumps(kept, indent=1) + "\n")
    update()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
