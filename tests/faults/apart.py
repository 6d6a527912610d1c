"""A loop in a process of its own, so that it neither waits for what starts it nor lets it wait."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any, Self


class Apart:
    """Runs from :meth:`start` to :meth:`stop`.

    :param run: called in the other process with the end of a pipe and the arguments. It sends something when it has
        begun, goes on until something comes, and sends what came of it.
    """

    def __init__(self, run: Callable[..., None], *arguments: Any) -> None:
        context = multiprocessing.get_context("fork")
        self._end, self._theirs = context.Pipe()
        self._child = context.Process(target=run, args=(self._theirs, *arguments), daemon=True)

    def start(self) -> Self:
        """Begin; returns when it has."""
        self._child.start()
        self._theirs.close()
        self._end.recv()
        return self

    def end(self) -> Any:
        """End; returns what came of it."""
        self._end.send("end")
        result = self._end.recv()
        self._child.join()
        return result
