"""``smartgate apikey``: keys for machines are made, listed and revoked; the keys themselves are kept nowhere."""

from __future__ import annotations

import argparse
import json
import time
from math import inf
from typing import Any

from gateway.cli.shared import Told, UsageError, seconds, table, with_records, written
from gateway.config import Settings
from gateway.config.quantities import limit
from gateway.core.api_keys import API_KEYS, UNLIMITED, ApiKey, digest, new_key, subject_of
from gateway.core.tokens import BY_ROLE
from gateway.interfaces import IRecords

_COLUMNS = ("ID", "NAME", "SUBJECT", "ROLE", "LIMIT", "CREATED", "EXPIRES")


def create(chosen: argparse.Namespace, settings: Settings) -> str:
    """A new key: what is returned is the only time that it is seen.

    :raises UsageError: when no gateway would take it, or Redis cannot be reached.
    """
    if not settings.api_keys.enabled:
        raise UsageError("api_keys.enabled: is false, so no gateway would accept the key")
    key_id, key = new_key()
    now = time.time()
    expires = inf if chosen.ttl is None else now + chosen.ttl
    subject = subject_of(key_id) if chosen.sub is None else chosen.sub
    record = ApiKey(key_id, chosen.name, subject, chosen.role, chosen.limit, now, expires).dump()
    try:
        ApiKey.parse(record)
    except ValueError as wrong:
        option = str(wrong).replace("subject", "sub")
        raise UsageError(f"--{option}: must be text of 1 to 255 characters, without control characters") from None

    async def write(records: IRecords, _: Told) -> None:
        await records.put(API_KEYS + digest(key.encode()), record, chosen.ttl)

    with_records(settings, API_KEYS, write)
    return key


def revoke(chosen: argparse.Namespace, settings: Settings) -> str:
    """Forget a key; what it has open ends.

    :raises UsageError: when there is no such key, or Redis cannot be reached.
    """

    async def remove(records: IRecords, told: Told) -> bool:
        found = [record for record, said in parsed(told) if said.id == chosen.id]
        for record in found:
            await records.delete(record)
        return bool(found)

    if not with_records(settings, API_KEYS, remove):
        raise UsageError(f"{chosen.id}: there is no such API key; smartgate apikey list names all")
    return f"Revoked: the API key {chosen.id}"


def listing(chosen: argparse.Namespace, settings: Settings) -> str:
    """All keys, the oldest first, as a table or as JSON.

    :raises UsageError: when Redis cannot be reached.
    """

    async def look(_: IRecords, told: Told) -> list[ApiKey]:
        return sorted((said for _, said in parsed(told)), key=lambda said: said.created)

    keys = with_records(settings, API_KEYS, look)
    if chosen.json:
        return json.dumps([json.loads(said.dump()) for said in keys], indent=2)
    return table([_COLUMNS, *map(_row, keys)]) if keys else "there are no API keys"


def parsed(told: Told) -> list[tuple[str, ApiKey]]:
    """Records and what they say; those that cannot be read are no keys."""
    found = []
    for record, (value, _) in told.items():
        try:
            found.append((record, ApiKey.parse(value)))
        except ValueError:
            continue
    return found


def _row(said: ApiKey) -> tuple[str, ...]:
    allowed = UNLIMITED if said.limit is None else "by role" if said.limit == BY_ROLE else str(said.limit)
    return said.id, said.name, said.subject, said.role, allowed, written(said.created), written(said.expires)


def _limit(text: str) -> int | None:
    try:
        return limit(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be {error}") from None


def plant(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add these commands to the parser."""
    group = commands.add_parser("apikey", help="make, revoke and list the keys that machines send instead of a token")
    actions = group.add_subparsers(required=True, metavar="ACTION")
    creating = actions.add_parser("create", parents=[common], help="make a key, and print it this once")
    creating.set_defaults(command=create)
    creating.add_argument("--name", required=True, help="what it is for")
    creating.add_argument("--role", required=True, help="the role it gives")
    creating.add_argument("--sub", help="the user it acts for; else it is a client of its own, key:ID")
    creating.add_argument("--limit", type=_limit, default=BY_ROLE, help='requests in a window, or "unlimited"')
    creating.add_argument("--ttl", type=seconds, help="how long it is good, like 90d; else until it is revoked")
    revoking = actions.add_parser("revoke", parents=[common], help="forget a key, and end what it has open")
    revoking.set_defaults(command=revoke)
    revoking.add_argument("id", metavar="ID", help="the part between the underscores")
    showing = actions.add_parser("list", parents=[common], help="show what is known of all keys")
    showing.set_defaults(command=listing)
    showing.add_argument("--json", action="store_true", help="as JSON; times are seconds since the epoch")
