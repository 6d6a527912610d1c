"""An instance of a service as a process: answers its name. ``python -m tests.faults.instance PORT NAME HOST``.

SIGUSR1 lets it answer 503 from then on, SIGUSR2 well again. ``/slow`` answers a byte every 50 ms, a hundred of them. Of
each POST it says the path.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from pathlib import Path

from tests.integration.processes import ROOT, Process, free_port

WELL, ILL = b"200 OK", b"503 Service Unavailable"


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
    state = {"status": WELL}

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                if b"/slow" in head.partition(b"\r\n")[0]:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
                    for _ in range(100):
                        writer.write(b".")
                        await asyncio.sleep(0.05)
                else:
                    if head.startswith(b"POST "):
                        print(head.split(b" ", 2)[1].decode(), flush=True)
                    status = state["status"]
                    writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(name), name))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, state.update, {"status": ILL})
    loop.add_signal_handler(signal.SIGUSR2, state.update, {"status": WELL})
    server = await asyncio.start_server(talk, host, port)
    await server.serve_forever()


if __name__ == "__main__":
    assert Path.cwd() == ROOT
    asyncio.run(_serve(int(sys.argv[1]), sys.argv[2].encode(), sys.argv[3]))
