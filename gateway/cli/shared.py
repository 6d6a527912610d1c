"""What several commands need: how they fail, how they read and write, and how they reach the records gateways share."""

from __future__ import annotations

import argparse
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from gateway.config import Seconds, Settings
from gateway.core.tokens import LATEST
from gateway.http.poller import Poller
from gateway.interfaces import IRecords
from gateway.wiring.store import make_records

PATIENCE: Final = 3.0
"""Seconds without a sign of Redis until a command gives up; what it asks then has an end of its own."""
MOST: Final = 10_000_000
"""Records of a kind that a command can hold: more than gateways keep, since nothing may go missing here."""
_LOOK: Final = 0.01

ResultT = TypeVar("ResultT")
Told = dict[str, tuple[str, float | None]]
"""Records by their keys: each one's value, and when it ends (seconds since the epoch; None when it stays)."""


class UsageError(Exception):
    """The command cannot be carried out with this configuration; its text says why."""


def seconds(text: str) -> float:
    """A time as the configuration spells it, for argparse."""
    try:
        return TypeAdapter(Seconds).validate_python(text)
    except ValidationError as error:
        raise argparse.ArgumentTypeError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None


def written(moment: float, without_end: str = "never") -> str:
    """A time in seconds since the epoch, for people (ISO 8601, UTC)."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment < LATEST else without_end


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of equally many words, the first of them the head, in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def with_records(
    settings: Settings, prefix: str | tuple[str, ...], work: Callable[[IRecords, Told], Awaitable[ResultT]]
) -> ResultT:
    """Run ``work`` with the records that the gateways of this configuration share; the process's reactor runs for it.

    :param prefix: of the keys that ``work`` is handed, as they are when it begins; several in a tuple.
    :raises UsageError: when there is no Redis to share them in, or it cannot be reached.
    """
    if settings.redis.url == "memory:":
        raise UsageError('redis.url: is "memory:", so each gateway keeps its records to itself: nothing is shared')
    results: list[ResultT] = []
    failures: list[str] = []

    async def working(reactor: Any) -> None:
        poller = Poller(reactor)
        records = make_records(settings, reactor, poller, MOST)
        told: Told = {}
        heard: float = reactor.seconds()

        def tell(key: str, value: str | None, left: float | None) -> None:
            nonlocal heard
            heard = reactor.seconds()
            if value is None:
                told.pop(key, None)
            else:
                told[key] = value, None if left is None else time.time() + left

        async def loaded_and_done() -> ResultT:
            for each in (prefix,) if isinstance(prefix, str) else prefix:
                records.watch(each, tell)
            while not records.loaded:
                if reactor.seconds() - heard > PATIENCE:
                    why = f": {records.trouble}" if records.trouble else ""
                    raise TimeoutError(f"Redis cannot be reached within {PATIENCE:g} s{why}")
                await deferLater(reactor, _LOOK)
            return await work(records, told)

        try:
            results.append(await loaded_and_done())
        except Exception as failure:
            failures.append(str(failure))
        finally:
            await records.close()
            poller.close()

    try:
        react(lambda reactor: Deferred.fromCoroutine(working(reactor)))
    except SystemExit:
        if not results and not failures:  # interrupted
            raise
    if failures:
        raise UsageError(f"redis.url: {failures[0]}")
    return results[0]
