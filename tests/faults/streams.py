"""Clients that stay: WebSockets that say something now and then, and event streams. What ends is opened again at once.

All in a process of its own; the life of each is kept: from when to when, and how it ended.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import random
import time
from typing import Any, Final, NamedTuple

from tests.faults.apart import Apart
from tests.resources.wires import frame

SILENCE: Final = 2.0
"""Seconds between two messages of a WebSocket, on average."""
PATIENCE: Final = 10.0
"""Seconds in which an echo, an event or a handshake has to come."""
TEXT, CLOSE = 1, 8


class Life(NamedTuple):
    """One connection; times in seconds since 1970."""

    kind: str
    """websocket or events."""
    began: float
    ended: float
    """0 when it was still open at the end."""
    how: str
    """Closing code of a WebSocket, ``cut`` for a connection that just ended, or what was wrong."""
    heard: int
    """Echoes or events."""


class Streams(Apart):
    """Open from :meth:`start`, which returns when all are, to :meth:`stop`.

    :param socket_head: the head of the upgrade, without its key; ``stream_head`` of the event stream.
    """

    def __init__(self, port: int, socket_head: bytes, sockets: int, stream_head: bytes, streams: int) -> None:
        super().__init__(_run, port, socket_head, sockets, stream_head, streams)

    def stop(self) -> list[Life]:
        """Leave; returns the life of each connection there was."""
        return [Life(*each) for each in self.end()]


def _run(end: Any, *arguments: Any) -> None:
    asyncio.run(_Clients(*arguments).run(end))


class _Clients:
    def __init__(self, port: int, socket_head: bytes, sockets: int, stream_head: bytes, streams: int) -> None:
        self._port = port
        self._wanted = [*[(self._socket, socket_head)] * sockets, *[(self._stream, stream_head)] * streams]
        self._lives: list[Life] = []
        self._open = 0
        self._stopping = False

    async def run(self, end: Any) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        tasks = [loop.create_task(self._keep(talk, head)) for talk, head in self._wanted]
        while self._open < len(self._wanted):
            await asyncio.sleep(0.05)
        end.send("open")
        loop.add_reader(end.fileno(), stop.set)
        await stop.wait()
        loop.remove_reader(end.fileno())
        self._stopping = True
        pending = set(tasks)
        while pending:  # wait_for() lets a cancellation pass unnoticed when what it waits for comes just then
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=0.5)
        end.send([tuple(life) for life in self._lives])

    async def _keep(self, talk: Any, head: bytes) -> None:
        while not self._stopping:
            life: dict[str, Any] = {
                "kind": "events" if talk == self._stream else "websocket",
                "began": time.time(),
                "heard": 0,
            }
            how, ended = "open", 0.0
            writer: asyncio.StreamWriter | None = None
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                how = await talk(reader, writer, head, life)
            except (asyncio.IncompleteReadError, ConnectionError):
                how = "cut"
            except TimeoutError:
                how = "silent"
            except asyncio.CancelledError:
                pass
            finally:
                if how != "open":
                    ended = time.time()
                self._lives.append(Life(ended=ended, how=how, **life))
                if writer is not None:
                    writer.close()
            if how not in ("1012", "cut"):
                await asyncio.sleep(0.5)  # not at once what is wrong

    async def _socket(self, reader: Any, writer: Any, head: bytes, life: dict[str, Any]) -> str:
        key = b"Sec-WebSocket-Key: " + base64.b64encode(os.urandom(16)) + b"\r\n\r\n"
        writer.write(head.removesuffix(b"\r\n") + key)
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        if not answer.startswith(b"HTTP/1.1 101 "):
            return f"status {answer[9:12].decode()}"
        self._open += 1
        number = 0
        with contextlib.closing(_Frames(reader)) as frames:
            while True:
                try:
                    opcode, payload = await frames.next(random.uniform(0.5, 1.5) * SILENCE)
                except TimeoutError:
                    number += 1
                    said = b"%d" % number
                    writer.write(frame(TEXT, said, True))
                    opcode, payload = await frames.next(PATIENCE)
                    if opcode == TEXT:
                        if payload != said:
                            return "wrong echo"
                        life["heard"] = number
                        continue
                if opcode == CLOSE:
                    writer.write(frame(CLOSE, payload[:2], True))
                    return str(int.from_bytes(payload[:2], "big"))
                if opcode != TEXT:  # a ping
                    writer.write(frame(10, payload, True))

    async def _stream(self, reader: Any, writer: Any, head: bytes, life: dict[str, Any]) -> str:
        writer.write(head)
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        if not answer.startswith(b"HTTP/1.1 200 "):
            return f"status {answer[9:12].decode()}"
        self._open += 1
        expected = 0
        while True:
            size = int(await asyncio.wait_for(reader.readuntil(b"\r\n"), PATIENCE), 16)
            event = await asyncio.wait_for(reader.readexactly(size + 2), PATIENCE)
            if not size:
                return "finished as if it were whole"
            for line in event.split(b"\n\n")[:-1]:
                if line != b"data: %d" % expected:
                    return "an event is missing"
                expected += 1
                life["heard"] = expected


class _Frames:
    """Frames as they come; one that is waited for in vain is not lost."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._reading: asyncio.Task[tuple[int, bytes]] | None = None

    async def next(self, seconds: float) -> tuple[int, bytes]:
        if self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(self._read())
        done, _ = await asyncio.wait([self._reading], timeout=seconds)
        if not done:
            raise TimeoutError
        reading, self._reading = self._reading, None
        return reading.result()

    def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self) -> tuple[int, bytes]:
        first, second = await self._reader.readexactly(2)
        size = second & 127
        if size == 126:
            size = int.from_bytes(await self._reader.readexactly(2), "big")
        return first & 15, await self._reader.readexactly(size)
