"""A gateway that was installed in a tree, started as its user would."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.client import Client
from tests.integration.processes import SECRET, Process, free_port, start_valkey
from tests.packages.debian import Tree, archive, inside

ProcessT = TypeVar("ProcessT", bound=Process)


def fresh() -> Tree:
    """A Debian 12 for the tests of one class."""
    place = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    place.chmod(0o755)
    return Tree(place / "tree", archive())


def health(port: int) -> int:
    """The status of the gateway's own ``/health``, once there is a worker that answers."""
    with Client(port, seconds=30) as client:
        client.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return client.answer().status


class ServingCase(SynchronousTestCase):
    """Tests that start what was installed; it ends with the test."""

    def environ(self) -> dict[str, str]:
        """What etc/smartgate.toml takes from the environment: free ports, a secret, and a Redis of this test's own."""
        redis = start_valkey()
        self.addCleanup(redis.stop)
        url = f"redis://127.0.0.1:{redis.port}/0"
        return {"PORT": str(free_port()), "ADMIN_PORT": str(free_port()), "JWT_SECRET": SECRET, "REDIS_URL": url}

    def serve(self, place: Path, user: str, command: Sequence[str], environ: Mapping[str, str]) -> Process:
        """Start a gateway in the tree at ``place``, and see it answer."""
        return self.serving(Process(inside(place, user, *command), int(environ["PORT"]), dict(environ)))

    def serving(self, gateway: ProcessT) -> ProcessT:
        """See a gateway answer that was just started."""
        self.addCleanup(gateway.stop)
        gateway.wait()
        self.assertEqual(health(gateway.port), 200)
        return gateway
