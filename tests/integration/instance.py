"""An instance in a process of its own, to be killed and stopped: ``python -m tests.integration.instance PORT NAME``.

It answers every request with its name, says each POST it gets, and answers 503 between ``/break`` and ``/mend``.
"""

from __future__ import annotations

import asyncio
import sys


class Instance(asyncio.Protocol):
    """One connection."""

    broken = False
    name = b""
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        while b"\r\n\r\n" in self._data:
            head, _, self._data = self._data.partition(b"\r\n\r\n")
            self._answer(*head.split(b" ", 2)[:2])

    def _answer(self, method: bytes, path: bytes) -> None:
        if path in (b"/break", b"/mend"):
            Instance.broken = path == b"/break"
        if method == b"POST":
            print(path.decode(), flush=True)
        status = b"503 Broken" if self.broken and path != b"/break" else b"200 OK"
        self.transport.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(self.name), self.name))


async def serve(port: int) -> None:
    """Serve for ever."""
    server = await asyncio.get_running_loop().create_server(Instance, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    Instance.name = sys.argv[2].encode()
    asyncio.run(serve(int(sys.argv[1])))
