"""An instance of a service as a process: answers its name. ``python -m tests.faults.instance PORT NAME HOST``.

``PUT /become/STATE`` lets it do from then on what STATES say. What ends in ``/slow`` answers a byte every 50 ms, a
hundred of them. Of each POST it says the path.
"""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import struct
import sys
from pathlib import Path

from tests.integration.processes import ROOT, Process, free_port

STATES = {
    "well": "answers",
    "ill": "answers 503",
    "resetting": "resets the connection in place of an answer",
    "truncating": "closes the connection in the middle of its answer",
    "half-closing": "answers, and says that it will say no more",
}


class Instance:
    """The process, from outside.

    :param port: where it listens; 0 for any port that is free.
    """

    def __init__(self, name: str, port: int = 0, host: str = "127.0.0.1") -> None:
        self.name = name.encode()
        self.host = host
        self.port = port or free_port()
        self.start()

    def start(self) -> None:
        """Start it, again after it has ended."""
        arguments = [sys.executable, "-m", "tests.faults.instance", str(self.port), self.name.decode(), self.host]
        self._process = Process(arguments, self.port)
        self._process.wait(self.host)

    def said(self) -> str:
        """What it has said since it was started."""
        return self._process.said()

    @property
    def url(self) -> str:
        """As the configuration has it."""
        return f"http://{self.host}:{self.port}"

    def become(self, state: str) -> None:
        """Let it do from now on what STATES say."""
        assert state in STATES
        with socket.create_connection((self.host, self.port), 5) as connection:
            connection.sendall(f"PUT /become/{state} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            while connection.recv(1024):
                pass

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.child.send_signal(number)

    def kill(self) -> None:
        """kill -9."""
        self._process.child.kill()
        self._process.child.wait(10)

    def stop(self) -> None:
        """End it, however it is."""
        if self._process.child.poll() is None:
            self.signal(signal.SIGCONT)
        self._process.stop()


async def _serve(port: int, name: bytes, host: str) -> None:
    state = "well"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal state
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                target = head.split(b" ", 2)[1]
                if target.startswith(b"/become/"):
                    state = target.rpartition(b"/")[2].decode()
                    writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                    break
                if target.partition(b"?")[0].endswith(b"/slow"):
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
                    for _ in range(100):
                        writer.write(b".")
                        await asyncio.sleep(0.05)
                else:
                    if head.startswith(b"POST "):
                        print(target.decode(), flush=True)
                    if state == "resetting":
                        connection = writer.get_extra_info("socket")
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        writer.transport.abort()
                        break
                    status = b"503 Service Unavailable" if state == "ill" else b"200 OK"
                    whole = name if state != "truncating" else name[:2]
                    writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(name), whole))
                    if state == "truncating":
                        break
                    if state == "half-closing" and writer.can_write_eof():
                        writer.write_eof()
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        writer.close()

    server = await asyncio.start_server(serve, host, port)
    await server.serve_forever()


if __name__ == "__main__":
    assert Path.cwd() == ROOT
    asyncio.run(_serve(int(sys.argv[1]), sys.argv[2].encode(), sys.argv[3]))
