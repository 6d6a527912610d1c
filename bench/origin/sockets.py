"""A service that takes WebSockets, and then says nothing: ``python -m bench.origin.sockets PORT``."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import sys
from typing import Any

_HEAD = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n"
)


class Silent(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: Any) -> None:
        """It is there."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """A handshake is answered; anything else is not."""
        key = re.search(rb"(?i)\r\nsec-websocket-key: *(\S+)", data)
        if key is not None:
            accept = hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
            self._transport.write(_HEAD % base64.b64encode(accept))


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Silent, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
