"""Commands that write records, run on records in memory."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway import cli
from gateway.cli.shared import Told
from gateway.cli.shared import with_records as real
from gateway.config import Settings
from gateway.interfaces import IRecords
from gateway.store.memory_records import MemoryRecords

CONFIG = """
jwt = {{ secret = "a-secret-of-at-least-thirty-two-bytes" }}
redis = {{ url = "{url}" }}
api_keys = {{ enabled = {enabled} }}
[[upstreams]]
name = "core"
instances = ["http://127.0.0.1:3002"]
[[routes]]
prefix = "/api"
upstream = "core"
"""


class RecordsCase(SynchronousTestCase):
    """Each test runs commands of ``group``, a module of them."""

    group: Any

    def setUp(self) -> None:
        self.clock = Clock()
        self.records = MemoryRecords(self.clock)
        self.patch(self.group, "with_records", self.with_records)

    def with_records(
        self, settings: Settings, prefix: str | tuple[str, ...], work: Callable[[IRecords, Told], Awaitable[Any]]
    ) -> Any:
        """As the real one, without a process's reactor."""
        if settings.redis.url == "memory:":
            return real(settings, prefix, work)
        now = self.clock.seconds()
        told = {
            key: (value, None if left is None else now + left)
            for key, (value, left) in self.written().items()
            if key.startswith(prefix)
        }

        async def working() -> Any:
            return await work(self.records, told)

        return self.successResultOf(Deferred.fromCoroutine(working()))

    def written(self) -> dict[str, tuple[str, float | None]]:
        """All records: their values, and the seconds they have left."""
        told: dict[str, tuple[str, float | None]] = {}
        self.records.watch("", lambda key, value, left: told.__setitem__(key, (value or "", left)))
        return told

    def run_cli(self, *arguments: str, url: str = "redis://127.0.0.1", enabled: bool = True) -> tuple[int, str, str]:
        """The exit status, and what was written to each stream."""
        path = Path(self.mktemp())
        path.write_text(CONFIG.format(url=url, enabled=str(enabled).lower()))
        out, err = io.StringIO(), io.StringIO()
        status = cli.main([*arguments, "--config", str(path)], {}, out, err)
        return status, out.getvalue(), err.getvalue()

    def succeeds(self, *arguments: str) -> str:
        """What a command says on standard output, and nothing elsewhere."""
        status, out, err = self.run_cli(*arguments)
        self.assertEqual((status, err), (0, ""))
        return out.strip()

    def fails(self, *arguments: str, **more: Any) -> str:
        """Why a command could not be carried out."""
        status, out, err = self.run_cli(*arguments, **more)
        self.assertEqual((status, out), (1, ""))
        return err.strip()
