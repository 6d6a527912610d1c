"""A service that answers its name, and talks without an end: ``python -m tests.topology.service PORT NAME``.

Every 200 ms an event comes of a path that ends with ``/events``, and a message to a WebSocket.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import sys

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b"c\r\ndata: tick\n\n\r\n"
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n"
)
MESSAGE = b"\x81\x04tick"
_CLOSE = 8
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


async def _endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes, piece: bytes) -> None:
    """Until a close frame comes, or the connection ends."""
    writer.write(head)
    over = asyncio.ensure_future(_over(reader))
    while not over.done():
        writer.write(piece)
        await asyncio.wait([over], timeout=0.2)
    over.exception()
    writer.close()


async def _over(reader: asyncio.StreamReader) -> None:
    while (data := await reader.read(65536)) and data[0] & 15 != _CLOSE:
        pass


async def _serve(port: int, name: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                key = re.search(rb"(?i)\r\nsec-websocket-key: *(\S+)", head)
                if key is not None:
                    accept = base64.b64encode(hashlib.sha1(key[1] + _GUID).digest())
                    return await _endless(reader, writer, SWITCH % accept, MESSAGE)
                if head.split(b" ", 2)[1].partition(b"?")[0].endswith(b"/events"):
                    return await _endless(reader, writer, STREAM, EVENT)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    server = await asyncio.start_server(talk, "0.0.0.0", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), sys.argv[2].encode()))
