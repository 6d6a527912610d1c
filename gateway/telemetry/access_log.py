"""The access log: one JSON line a request, appended at once and written in batches off the request's path."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall, IReactorTime

if TYPE_CHECKING:
    from gateway.http.request import Request

BATCH_SECONDS = 0.2
BATCH_LINES = 500
LINES_LIMIT = 50_000


class AccessLog:
    """Lines for a file, or ``-`` for standard output, or an empty path for none.

    What cannot be written is dropped and counted: a full disk costs lines, never requests or memory without end.
    """

    def __init__(self, path: str, clock: IReactorTime) -> None:
        self._path = path
        self._clock = clock
        self._lines: list[str] = []
        self._timer: IDelayedCall | None = None
        self._file = -1
        self._second = -1
        self._stamp = ""
        self.dropped = 0
        self.reopen()

    def reopen(self) -> None:
        """Open the file anew, after its rotation.

        :raises OSError: when it cannot be opened.
        """
        if self._path == "-":
            self._file = sys.stdout.fileno()
        elif self._path:
            opened = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
            if self._file >= 0:
                os.close(self._file)
            self._file = opened

    def record(self, request: Request, ended: float) -> None:
        """Append the line of a request that is over; never its query, cookies or token."""
        if self._file < 0:
            return
        lines = self._lines
        if len(lines) >= LINES_LIMIT:
            self.dropped += 1
            return
        second = int(ended)
        if second != self._second:
            self._second = second
            self._stamp = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        claims = request.claims
        upstream_ms = "null" if request.upstream_time is None else f"{request.upstream_time * 1000:.2f}"
        lines.append(
            f'{{"time":"{self._stamp}.{int(ended % 1 * 1000):03d}Z","requestId":"{request.id}",'
            f'"client":"{request.remote}","method":{_text(request.method)},"path":{_text(request.path.partition(b"?")[0])},'
            f'"route":"{request.route_name}","status":{request.status},"bytes":{request.sent},'
            f'"durationMs":{(ended - request.received) * 1000:.2f},"upstream":"{request.upstream}",'
            f'"upstreamMs":{upstream_ms},"user":{json.dumps(claims.subject) if claims else "null"},'
            f'"role":{json.dumps(request.role) if request.role else "null"},"decidedBy":"{request.decided_by}",'
            f'"complete":{"false" if request.gone or request.incomplete else "true"}{request.log_more}}}\n'
        )
        if len(lines) >= BATCH_LINES:
            self.flush()
        elif self._timer is None:
            self._timer = self._clock.callLater(BATCH_SECONDS, self.flush)

    def flush(self) -> None:
        """Write what has gathered."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        lines, self._lines = self._lines, []
        data = memoryview("".join(lines).encode())
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError:
            self.dropped += len(lines)

    def close(self) -> None:
        """Write the rest."""
        self.flush()


def _text(value: bytes) -> str:
    text = value.decode("latin-1")
    plain = text.isascii() and text.isprintable() and '"' not in text and "\\" not in text
    return f'"{text}"' if plain else json.dumps(text)
