"""Says something to a WebSocket and prints what comes back: ``python -m tests.platform.talk URL TOKEN TEXT ...``."""

from __future__ import annotations

import sys
from typing import Any

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.task import react


class Talk(WebSocketClientProtocol):
    """Sends each text, prints each answer, and closes after as many answers as there were texts."""

    def onOpen(self) -> None:
        for text in self.factory.texts:
            self.sendMessage(text.encode())

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        print(payload.decode(), flush=True)
        self.factory.answered += 1
        if self.factory.answered == len(self.factory.texts):
            self.sendClose(1000)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        whole = self.factory.answered == len(self.factory.texts)
        self.factory.done.callback(None if whole else f"closed with {code}: {reason}")


class TalkFactory(WebSocketClientFactory):
    """One conversation: what to say, how much was answered, and its end."""

    protocol = Talk

    def __init__(self, url: str, token: str, texts: tuple[str, ...]) -> None:
        super().__init__(url, headers={"Authorization": f"Bearer {token}"})
        self.texts = texts
        self.answered = 0
        self.done: Deferred[str | None] = Deferred()


async def talk(reactor: Any, url: str, token: str, *texts: str) -> None:
    """Exchange ``texts`` with the WebSocket at ``url``.

    :raises SystemExit: saying why, when the connection, the handshake or an answer did not come about.
    """
    factory = TalkFactory(url, token, texts)
    try:
        await HostnameEndpoint(reactor, factory.host, factory.port).connect(factory)
    except ConnectError as error:
        raise SystemExit(f"{url}: {error}") from None
    if problem := await factory.done:
        raise SystemExit(f"{url}: {problem}")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    react(lambda reactor, *arguments: Deferred.fromCoroutine(talk(reactor, *arguments)), sys.argv[1:])
