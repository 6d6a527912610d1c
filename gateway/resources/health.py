"""What probes ask: whether the process lives, whether it can serve, and its metrics."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from gateway.core.errors import MethodNotAllowed


class Probe(Resource):
    """Answers GET and HEAD."""

    isLeaf = True

    def render(self, request: Any) -> int:
        """:raises MethodNotAllowed: for any other method."""
        if request.method not in (b"GET", b"HEAD"):
            raise MethodNotAllowed(fields=(b"Allow: GET, HEAD\r\n",))
        self.answer(request)
        return NOT_DONE_YET

    def answer(self, request: Any) -> None:
        """Answer, now or later."""
        raise NotImplementedError


def passed(checks: Iterable[Callable[[], Any]]) -> Deferred[list[Any]]:
    """What each check says, false where it does not pass: a callable that returns that or a Deferred of it; one that
    fails does not pass.
    """
    asked: Deferred[Any] = DeferredList([maybeDeferred(check) for check in checks], consumeErrors=True)
    return asked.addCallback(lambda results: [succeeded and result for succeeded, result in results])


class Health(Probe):
    """200 as long as the process answers."""

    def answer(self, request: Any) -> None:
        """At once."""
        respond(request, 200, {"status": "ok"})


class Ready(Probe):
    """200 when every check passes, else 503; says which do not.

    :param checks: name -> a callable that returns a bool or a Deferred of one; one that fails does not pass. A text
        passes too, and says how: ``degraded`` for what is done without.
    """

    def __init__(self, checks: Mapping[str, Callable[[], Any]]) -> None:
        super().__init__()
        self._checks = checks

    def answer(self, request: Any) -> None:
        """When all checks have answered."""
        passed(self._checks.values()).addCallback(self._tell, request)

    def _tell(self, results: list[Any], request: Any) -> None:
        states = {
            name: (result if isinstance(result, str) else "ok") if result else "failing"
            for name, result in zip(self._checks, results, strict=True)
        }
        ready = "failing" not in states.values()
        well = "ready" if set(states.values()) <= {"ok"} else "degraded"
        if not request.gone:
            respond(request, 200 if ready else 503, {"status": well if ready else "not ready", "checks": states})


class MetricsResource(Probe):
    """The registry in Prometheus' text format."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._registry = registry

    def answer(self, request: Any) -> None:
        """At once."""
        request.respond(200, f"Content-Type: {CONTENT_TYPE_LATEST}\r\n".encode(), generate_latest(self._registry))


def respond(request: Any, status: int, value: Any) -> None:
    """Answer with ``value`` as JSON."""
    body = json.dumps(value, separators=(",", ":")).encode()
    request.respond(status, b"Content-Type: application/json\r\nCache-Control: no-store\r\n", body)
