"""Records as a file keeps them: how they are written down, read again, and merged into what is there."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from ipaddress import ip_network
from math import inf
from typing import Any, Final, NamedTuple

from gateway.core.api_keys import API_KEYS, ApiKey
from gateway.core.revocations import BLACKLIST, KEYS, USERS, issued_before
from gateway.core.tokens import LATEST
from gateway.store.bans import BANS

FORMAT: Final = "smartgate state"
VERSION: Final = 1
KINDS: Final = {
    BANS: "ban",
    BLACKLIST: "revoked token",
    USERS: "revoked user",
    KEYS: "revoked issuer key",
    API_KEYS: "API key",
}
"""What is saved, by the prefix of its keys. Counters are not: they end within a window, or are told anew."""
SLACK: Final = 1.0
"""Seconds by which ends may differ that are the same: nobody reads all records in one moment."""

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class Record(NamedTuple):
    """One of them."""

    key: str
    value: str
    until: float | None
    """Seconds since the epoch; None when it stays."""

    @property
    def end(self) -> float:
        """For comparing."""
        return inf if self.until is None else self.until


def dump(records: Iterable[Record], now: float) -> str:
    """The document: JSON, with a line for each record, so that two of them can be compared by line.

    :param now: seconds since the epoch.
    """
    head = json.dumps({"format": FORMAT, "version": VERSION, "exported": now})[:-1]
    lines = [json.dumps(record._asdict()) for record in sorted(records)]
    return f'{head}, "records": [\n' + ",\n".join(lines) + "\n]}"


def load(text: str) -> list[Record]:
    """Read the document.

    :raises ValueError: when it is another one, or anything in it is not right; says where.
    """
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no whole JSON document: {error}") from None
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise ValueError("is not what smartgate state export writes")
    if said.get("version") != VERSION:
        raise ValueError(f"is of version {said.get('version')!r}; this smartgate reads version {VERSION}")
    listed = said.get("records")
    if not isinstance(listed, list):
        raise ValueError("has no list of records")
    records: dict[str, Record] = {}
    for number, item in enumerate(listed):
        try:
            record = parsed(item)
            if record.key in records:
                raise ValueError("is there twice")
        except ValueError as error:
            raise ValueError(f"records[{number}]: {error}") from None
        records[record.key] = record
    return list(records.values())


def merged(there: Record | None, saved: Record) -> Record | None:
    """What has to be written so that neither is lost; None when what is there says it all.

    An API key stays as it is: whoever changed it did so after it was saved.
    """
    if there is None:
        return saved
    if there.key.startswith(API_KEYS):
        return None
    value = saved.value if saved.end > there.end + SLACK else there.value
    if there.key.startswith(USERS):
        value = max(there.value, saved.value, key=issued_before)
    until = None if inf in (there.end, saved.end) else max(there.end, saved.end)
    unchanged = value == there.value and saved.end <= there.end + SLACK
    return None if unchanged else Record(there.key, value, until)


def counted(records: Iterable[Record]) -> str:
    """How many of each kind, for people."""
    numbers = Counter(_kind(record.key) for record in records)
    told = [f"{numbers[kind]} {kind}{'s' * (numbers[kind] > 1)}" for kind in KINDS.values() if numbers[kind]]
    return ", ".join(told) or "nothing"


def _kind(key: str) -> str:
    return next((kind for prefix, kind in KINDS.items() if key.startswith(prefix) and key != prefix), "")


def parsed(item: Any) -> Record:
    """A member of the document's list.

    :raises ValueError: when no gateway would heed it.
    """
    if not isinstance(item, dict) or item.keys() != set(Record._fields):
        raise ValueError('must have "key", "value" and "until"')
    key, value, until = item["key"], item["value"], item["until"]
    if not isinstance(key, str) or not _kind(key):
        raise ValueError(f"key: must begin with one of {', '.join(KINDS)}")
    if not isinstance(value, str):
        raise ValueError(f"{key}: value: must be text")
    if until is not None and (type(until) not in (int, float) or not 0 < until < LATEST):
        raise ValueError(f"{key}: until: must be seconds since 1970, or null")
    if key.startswith(BANS):
        try:
            ip_network(key.removeprefix(BANS))
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
    if key.startswith(API_KEYS):
        if not _DIGEST.fullmatch(key.removeprefix(API_KEYS)):
            raise ValueError(f"{key}: must end with a SHA-256 in hex")
        try:
            ApiKey.parse(value)
        except ValueError as error:
            raise ValueError(f"{key}: value: is no API key: {error}") from None
    return Record(key, value, None if until is None else float(until))
