"""What probes ask: whether the process lives, whether it can serve, and its metrics."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET


class Health(Resource):
    """200 as long as the process answers."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        """The answer."""
        return _json(request, 200, {"status": "ok"})


class Ready(Resource):
    """200 when every check passes, else 503; says which do not.

    :param checks: name -> a callable that returns a bool or a Deferred of one.
    """

    isLeaf = True

    def __init__(self, checks: Mapping[str, Callable[[], Any]]) -> None:
        super().__init__()
        self._checks = checks

    def render_GET(self, request: Any) -> int:
        """Ask all checks, then answer."""
        asked: list[Deferred[Any]] = [maybeDeferred(check) for check in self._checks.values()]
        gatherResults(asked, consumeErrors=True).addBoth(self._answer, request)
        return NOT_DONE_YET

    def _answer(self, results: Any, request: Any) -> None:
        passed = results if isinstance(results, list) else [False] * len(self._checks)
        states = {name: "ok" if good else "failing" for name, good in zip(self._checks, passed, strict=True)}
        ready = all(passed)
        body = _json(request, 200 if ready else 503, {"status": "ready" if ready else "not ready", "checks": states})
        if not getattr(request, "gone", False):
            request.setHeader(b"content-length", b"%d" % len(body))
            request.write(body)
            request.finish()


class MetricsResource(Resource):
    """The registry in Prometheus' text format."""

    isLeaf = True

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._registry = registry

    def render_GET(self, request: Any) -> bytes:
        """The answer."""
        request.setHeader(b"content-type", CONTENT_TYPE_LATEST.encode())
        return generate_latest(self._registry)


def _json(request: Any, status: int, value: Any) -> bytes:
    request.setResponseCode(status)
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"cache-control", b"no-store")
    return json.dumps(value, separators=(",", ":")).encode()
