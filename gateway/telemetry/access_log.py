"""The access log: one JSON line a request, appended at once and written in batches off the request's path."""

from __future__ import annotations

import os
import re
import sys
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as _json
from select import PIPE_BUF
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall, IReactorTime

if TYPE_CHECKING:
    from gateway.http.request import Request

BATCH_SECONDS = 0.2
BATCH_LINES = 500

_PRIVATE = re.compile(rb"(?<=//)[^/?#]*@|[?#].*", re.DOTALL)
"""What a target that was refused may hold and a log must not: a password before the host, a query, a fragment."""


class AccessLog:
    """Lines for a file, or ``-`` for standard output, or an empty path for none.

    What cannot be written is dropped and counted: a full disk costs lines, never requests or memory without end. A line
    that was written in part is ended before the next one, which then stands alone again.
    """

    def __init__(self, path: str, clock: IReactorTime) -> None:
        self._path = path
        self._clock = clock
        self._lines: list[str] = []
        self._timer: IDelayedCall | None = None
        self._file = -1
        self._torn = False
        self._second = -1
        self._stamp = ""
        self.dropped = 0
        self.reopen()

    def reopen(self) -> None:
        """Open the file anew, after its rotation; what has gathered belongs to the old one.

        :raises OSError: when it cannot be opened; the old one stays open.
        """
        self.flush()
        if self._path == "-":
            # What Python began with: once twistd logs, sys.stdout is its own, which has no file.
            self._file = (sys.__stdout__ or sys.stdout).fileno()
        elif self._path:
            opened = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
            if self._file >= 0:
                os.close(self._file)
            self._file = opened
            self._torn = self._torn and os.fstat(opened).st_size > 0

    def record(self, request: Request, ended: float) -> None:
        """Append the line of a request that is over; never its query, cookies or token."""
        if self._file < 0:
            return
        second = int(ended)
        if second != self._second:
            self._second = second
            self._stamp = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        path = request.path
        if request.failure is not None:  # its target was never taken apart
            path = _PRIVATE.sub(b"", path)
        claims = request.claims
        upstream_ms = "null" if request.upstream_time is None else f"{request.upstream_time * 1000:.2f}"
        lines = self._lines
        lines.append(
            f'{{"time":"{self._stamp}.{int(ended % 1 * 1000):03d}Z","requestId":{_json(request.id)},'
            f'"client":{_json(request.remote)},"method":{_json(request.method.decode("latin-1"))},'
            f'"path":{_json(path.decode("latin-1"))},"route":{_json(request.route_name)},"status":{request.status},'
            f'"bytes":{request.sent},"durationMs":{(ended - request.received) * 1000:.2f},'
            f'"upstream":{_json(request.upstream)},"upstreamMs":{upstream_ms},'
            f'"user":{_json(claims.subject) if claims else "null"},'
            f'"role":{_json(request.role) if request.role else "null"},"decidedBy":"{request.decided_by}",'
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
        if not lines:
            return
        data = ("\n" * self._torn + "".join(lines)).encode()
        written = 0
        try:
            while written < len(data):
                written += os.write(self._file, self._next(data, written))
        except OSError:
            self.dropped += data.count(b"\n", max(written, int(self._torn)))
        if written:
            self._torn = not data.endswith(b"\n", 0, written)

    def _next(self, data: bytes, start: int) -> bytes:
        """What is written at once. To standard output whole lines, as many as a pipe takes in one piece, since other
        workers write there, too (PIPE_BUF). To a file the kernel appends everything in one piece.
        """
        if self._path != "-":
            return data[start:]
        end = data.rfind(b"\n", start, start + PIPE_BUF) + 1 or data.find(b"\n", start) + 1
        return data[start : end or None]

    def close(self) -> None:
        """Write the rest."""
        self.flush()
