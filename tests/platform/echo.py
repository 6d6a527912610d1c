"""A WebSocket server that echoes: ``python -m tests.platform.echo PORT [PEM]``; with a certificate, over TLS."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny
from twisted.internet import reactor
from twisted.internet.ssl import PrivateCertificate


class Echo(WebSocketServerProtocol):
    """Echoes below /api/ws/echo, selects the subprotocol mcp, and knows no other path."""

    def onConnect(self, request: Any) -> str | None:
        if request.path != "/api/ws/echo":
            raise ConnectionDeny(404, "no such socket")
        return "mcp" if "mcp" in request.protocols else None

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.sendMessage(payload, isBinary)


if __name__ == "__main__":
    factory = WebSocketServerFactory()
    factory.protocol = Echo
    factory.setProtocolOptions(echoCloseCodeReason=True, failByDrop=False)
    if sys.argv[2:]:
        certificate = PrivateCertificate.loadPEM(Path(sys.argv[2]).read_bytes())
        options = certificate.options()
        reactor.listenSSL(int(sys.argv[1]), factory, options, interface="127.0.0.1")  # type: ignore[attr-defined]
    else:
        reactor.listenTCP(int(sys.argv[1]), factory, interface="127.0.0.1")
    reactor.run()
