"""The leaf of WebSocket routes: an upgrade is held against the rules, then an instance decides about it."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IReactorTime
from twisted.web.server import NOT_DONE_YET

from gateway.core.errors import BadRequest, Forbidden, UpgradeRequired
from gateway.resources.bridges import Bridges
from gateway.resources.handshake import UPGRADE_FIELDS, accept, accepting_factory
from gateway.resources.proxy import ProxySettings, ReverseProxyResource
from gateway.resources.upgrade import Upgrade, forwarded

if TYPE_CHECKING:
    from gateway.http.request import Request
    from gateway.upstreams.cluster import Cluster
    from gateway.upstreams.instance import Instance


class WebSocketResource(ReverseProxyResource):
    """Carries an upgrade that has passed the guards to an instance, which decides about it, and joins the two.

    :param origins: the pages that may connect, or ``*``; a client without Origin is no page (RFC 6455 section 10.2).
    :param bridges: where sockets that are open belong.
    :param leeway: seconds that a token is still good after its ``exp``.
    :param opened: called with each request whose socket has opened; the site records it when it has closed.
    """

    def __init__(
        self,
        clock: IReactorTime,
        cluster: Cluster,
        settings: ProxySettings,
        report: Callable[[str, str], None],
        *,
        origins: Container[str],
        bridges: Bridges,
        leeway: float,
        opened: Callable[[Request], None],
    ) -> None:
        super().__init__(cluster, settings, report)
        self.clock = clock
        self.bridges = bridges
        self.leeway = leeway
        self.opened = opened
        self._origins = origins
        self._factory = accepting_factory(clock)

    def render(self, request: Any) -> int:
        """Ask an instance; the client's 101 is only written when it has answered so.

        :raises UpgradeRequired: for a request that is no WebSocket handshake.
        :raises BadRequest: for a handshake with a body, or one that is not right.
        :raises Forbidden: for a page of an origin that may not connect.
        """
        if not request.upgrading or (request.field(b"upgrade") or b"").lower() != b"websocket":
            raise UpgradeRequired(fields=UPGRADE_FIELDS)
        if not request.body_complete:
            raise BadRequest("A WebSocket handshake has no body")
        origin = request.field(b"origin")
        if origin is not None and "*" not in self._origins and origin.decode("latin-1") not in self._origins:
            raise Forbidden("Pages of this origin may not connect")
        upgrade = Upgrade(self, request, self.target(request).decode("ascii"), forwarded(request))
        accept(self._factory, request, upgrade)
        upgrade.start()
        return NOT_DONE_YET

    def host_and_port(self, request: Request, instance: Instance) -> tuple[str, int]:
        """What the instance finds in Host."""
        usual = instance.port
        authority = instance.authority
        if self.settings.preserve_host:
            authority, usual = request.authority, 443 if request.secure else 80
        host, colon, port = authority.decode("ascii").rpartition(":")
        if not colon or port.endswith("]"):
            host, port = authority.decode("ascii"), ""
        return host, int(port or usual)
