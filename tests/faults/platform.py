"""A gateway between a load and what breaks behind it, all of it real processes."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

import jwt
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.client import Client
from tests.integration.processes import SECRET, free_port, start_gateway

CONFIG = """
access_log = {{ path = "" }}
dns = {{ servers = {servers} }}
[server]
listen = ["tcp:{port}:interface=127.0.0.1"]
admin = "tcp:{admin}:interface=127.0.0.1"
workers = 0
[redis]
url = {redis}
[jwt]
secret = "{secret}"
[rate_limit]
default = 10
roles = {{ admin = "unlimited", user = 20 }}
[[upstreams]]
name = "service"
{upstream}
[[routes]]
prefix = "/public"
upstream = "service"
auth = "none"
rate_limit = false
[[routes]]
prefix = "/api"
upstream = "service"
"""


def bearer(subject: str, role: str = "admin", **claims: Any) -> str:
    """The Authorization of somebody for an hour."""
    now = int(time.time())
    payload = {"sub": subject, "role": role, "iat": now, "exp": now + 3600, "jti": subject, **claims}
    return "Authorization: Bearer " + jwt.encode(payload, SECRET, "HS256")


class FaultCase(SynchronousTestCase):
    """Starts a gateway, and ends it with the test."""

    def gateway(
        self, *instances: str, redis: str | list[str] = "memory:", upstream: str = "", servers: tuple[str, ...] = ()
    ) -> int:
        """The port of a new gateway with these instances.

        :param upstream: more lines of its upstream's table, which name the instances where there are none.
        :param servers: name servers.
        """
        if instances:
            upstream = f"instances = {json.dumps(instances)}\n{upstream}"
        self.port, self.admin = free_port(), free_port()
        self.config = CONFIG.format(
            port=self.port,
            admin=self.admin,
            redis=json.dumps(redis),
            secret=SECRET,
            servers=json.dumps(servers),
            upstream=upstream,
        )
        self.process = start_gateway(self.config, self.port)
        self.addCleanup(self.process.stop)
        return self.port

    def client(self) -> Client:
        """A new client, whose connection ends with the test."""
        client = Client(self.port)
        self.addCleanup(client.socket.close)
        return client

    def ready(self) -> tuple[int, dict[str, Any]]:
        """What the gateway says to ``/ready``."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def metric(self, name: str) -> float:
        """The sum of a metric's values."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name)
