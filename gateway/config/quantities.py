"""Numbers as the file spells them: times, sizes, counts and limits.

Every function takes what the TOML has and returns what the gateway uses, or raises ValueError with the words that
follow "must be" in the report of mistakes. Strings of digits count as numbers: the environment has no others.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from pydantic import PlainValidator

_AMOUNT = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)\s*([A-Za-z]*)", re.ASCII)
_SECONDS: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES: Final = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_LONGEST_TIME: Final = 366 * 86400.0
_LARGEST_SIZE: Final = 2**40
_LARGEST_COUNT: Final = 2**31 - 1
_LARGEST_WEIGHT: Final = 1000


def _amount(value: object, units: dict[str, Any], largest: float, zero: bool, expected: str) -> float:
    """``value`` in its base unit, when it is a number, or a string of a number and one of ``units``."""
    if isinstance(value, str) and (match := _AMOUNT.fullmatch(value.strip())) and match[2] in units:
        number: float = float(match[1]) * units[match[2]]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = value
    else:
        raise ValueError(expected)
    if not (0 <= number <= largest) or (number == 0 and not zero):  # NaN compares false
        raise ValueError(expected)
    return float(number)


def duration(value: object, zero: bool = False) -> float:
    """Seconds, from ``"50ms"``, ``"5s"``, ``"10m"``, ``"1h"``, ``"30d"`` or a number of seconds."""
    above = "of 0 or more" if zero else "above 0"
    expected = f'a time {above}, at most a year: write it like "5s" (ms, s, m, h, d), or as a number of seconds'
    return _amount(value, _SECONDS, _LONGEST_TIME, zero, expected)


def size(value: object) -> int:
    """Bytes, from ``"512 KiB"``, ``"10 MiB"`` (B, KiB, MiB, GiB) or a number of bytes."""
    expected = 'a size above 0, at most 1024 GiB: write it like "10 MiB" (B, KiB, MiB, GiB), or as a number of bytes'
    number = int(_amount(value, _BYTES, _LARGEST_SIZE, False, expected))
    if number == 0:
        raise ValueError(expected)
    return number


def _count(value: object, least: int, expected: str) -> int:
    if isinstance(value, str) and re.fullmatch(r"\d{1,10}", value, re.ASCII):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _LARGEST_COUNT:
        raise ValueError(expected)
    return value


def count(least: int) -> Callable[[object], int]:
    """A whole number, ``least`` or more."""
    return lambda value: _count(value, least, f"a whole number, {least} or more")


def limit(value: object) -> int | None:
    """Requests in a window: a positive number, or None for ``"unlimited"``."""
    return None if value == "unlimited" else _count(value, 1, 'a whole number of requests, 1 or more, or "unlimited"')


def part(value: object) -> float:
    """A part of something: 0.2, or ``"0.2"``, is a fifth of it."""
    return _amount(value, {"": 1.0}, 1.0, True, "a number from 0 to 1")


def workers(value: object) -> int | Literal["auto"]:
    """A number of processes, or ``"auto"``."""
    return "auto" if value == "auto" else _count(value, 0, 'a number of processes, 0 or more, or "auto"')


def subscriber_prefix(value: object) -> int:
    """Bits of an IPv6 address that stand for one subscriber."""
    expected = "a whole number of bits from 32 to 128"
    bits = _count(value, 32, expected)
    if bits > 128:
        raise ValueError(expected)
    return bits


def weight(value: object) -> int:
    """An instance's share of the requests, held against the others'."""
    expected = f"a whole number from 1 to {_LARGEST_WEIGHT}"
    number = _count(value, 1, expected)
    if number > _LARGEST_WEIGHT:
        raise ValueError(expected)
    return number


def _duration_or_zero(value: object) -> float:
    return duration(value, zero=True)


def _duration(value: object) -> float:
    return duration(value)


Seconds = Annotated[float, PlainValidator(_duration)]
SecondsOrZero = Annotated[float, PlainValidator(_duration_or_zero)]
Bytes = Annotated[int, PlainValidator(size)]
Part = Annotated[float, PlainValidator(part)]
Limit = Annotated[int | None, PlainValidator(limit)]
Weight = Annotated[int, PlainValidator(weight)]
Workers = Annotated[int | Literal["auto"], PlainValidator(workers)]
SubscriberPrefix = Annotated[int, PlainValidator(subscriber_prefix)]
Count = Annotated[int, PlainValidator(count(1))]
CountOrZero = Annotated[int, PlainValidator(count(0))]
