"""Says one thing to a WebSocket and prints what comes back: ``python -m tests.platform.talk URL TOKEN TEXT``."""

from __future__ import annotations

import sys

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol, connectWS
from twisted.internet import reactor


class Talk(WebSocketClientProtocol):
    """Sends one message, prints the answer, and closes."""

    def onOpen(self) -> None:
        self.sendMessage(sys.argv[3].encode())

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        print(payload.decode())
        self.sendClose(1000)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        if not wasClean:
            print(f"closed: {reason}", file=sys.stderr)
        reactor.stop()  # type: ignore[attr-defined]


if __name__ == "__main__":
    factory = WebSocketClientFactory(sys.argv[1], headers={"Authorization": f"Bearer {sys.argv[2]}"})
    factory.protocol = Talk
    connectWS(factory)
    reactor.run()  # type: ignore[attr-defined]
