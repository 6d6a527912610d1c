"""A leaf with guards in front: each passes the request on or refuses it; only those that must wait are waited for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from gateway.core.errors import GatewayError
from gateway.guards.cors import Preflight
from gateway.interfaces import IGuard


class GuardedResource(Resource):
    """Asks ``guards`` in their order before ``leaf`` renders.

    :param route: what guards and leaf find as ``request.route``; its ``prefix`` becomes ``request.route_name``.
    """

    isLeaf = True
    _log = Logger()

    def __init__(self, guards: Sequence[Any], leaf: IResource, route: Any = None, route_name: str = "") -> None:
        super().__init__()
        self.leaf = leaf
        self._names = [IGuard(guard).name for guard in guards]
        self._checks = [guard.check for guard in guards]
        self._route = route
        self._route_name = route_name

    def render(self, request: Any) -> int:
        """Ask the guards, then let the leaf answer."""
        request.route = self._route
        request.route_name = self._route_name
        self._proceed(request, 0)
        return NOT_DONE_YET

    def _proceed(self, request: Any, first: int) -> None:
        checks = self._checks
        index = first
        try:
            for index in range(first, len(checks)):
                waiting: Deferred[None] | None = checks[index](request)
                if waiting is not None:
                    waiting.addCallbacks(
                        self._passed, self._refused, callbackArgs=(request, index + 1), errbackArgs=(request, index)
                    )
                    return
            index = -1
            request.render(self.leaf)
        except Exception as error:
            self._end(request, error, index)

    def _passed(self, _: None, request: Any, index: int) -> None:
        if not request.gone and not request.finished:
            self._proceed(request, index)

    def _refused(self, failure: Failure, request: Any, index: int) -> None:
        self._end(request, failure.value or GatewayError(), index)

    def _end(self, request: Any, error: BaseException, index: int) -> None:
        if index >= 0:
            request.decided_by = self._names[index]
        if isinstance(error, GatewayError):
            request.refuse(error)
        elif isinstance(error, Preflight):
            request.respond(204, b"".join(error.lines))
        else:
            self._log.failure("Request {id} failed", failure=Failure(error), id=request.id)
            request.refuse(GatewayError())
