"""``smartgate revoke``: tokens that no gateway accepts any longer, and whose open streams end."""

from __future__ import annotations

import argparse
import re
import sys
import time
from datetime import UTC, datetime
from typing import Any, Final

import jwt

from gateway.cli.api_keys import parsed
from gateway.cli.shared import Told, UsageError, seconds, with_records, written
from gateway.config import Settings
from gateway.core.api_keys import API_KEYS
from gateway.core.revocations import BLACKLIST, KEYS, USERS
from gateway.core.tokens import LATEST
from gateway.interfaces import IRecords

_SECONDS: Final = re.compile(r"\d{1,11}(?:\.\d+)?", re.ASCII)


def revoke(chosen: argparse.Namespace, settings: Settings) -> str:
    """Write the record that every gateway watches.

    :raises UsageError: when a token cannot be revoked by itself, or Redis cannot be reached.
    """
    if chosen.user is not None:
        return _user(chosen, settings)
    life: float = chosen.life
    if chosen.key is not None:
        record, told = KEYS + chosen.key, f"tokens of the key {chosen.key}"
    else:
        token_id = chosen.jti
        if chosen.token is not None:
            token_id, life = _read(chosen.token, settings.jwt.leeway)
        record, told = BLACKLIST + token_id, f"the token {token_id}"

    async def write(records: IRecords, _: Told) -> None:
        await records.put(record, "1", life)

    with_records(settings, (), write)  # nothing is to be known first: one server of several is enough
    return f"Revoked until {written(time.time() + life)}: {told}"


def _user(chosen: argparse.Namespace, settings: Settings) -> str:
    """A user's API keys are removed, since they may live longer than the record does."""
    before = time.time() if chosen.before is None else chosen.before

    async def write(records: IRecords, told: Told) -> list[str]:
        await records.put(USERS + chosen.user, repr(before), chosen.life)
        removed = []
        for record, said in parsed(told):
            if said.subject == chosen.user and said.created < before:
                await records.delete(record)
                removed.append(said.id)
        return removed

    removed = with_records(settings, API_KEYS, write)
    until = written(time.time() + chosen.life)
    told = f"Revoked until {until}: tokens of {chosen.user} issued before {written(before)}"
    return "\n".join([told, *(f"Removed: the API key {key_id}" for key_id in removed)])


def _read(token: str, leeway: float) -> tuple[str, float]:
    """The ``jti`` of a token, and the seconds in which gateways could still accept it. Its signature does not matter.

    :raises UsageError: when it has none, or is none.
    """
    if token == "-":
        token = sys.stdin.read().strip()
    try:
        said: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        raise UsageError("--token: is no token") from None
    token_id, expires = said.get("jti"), said.get("exp")
    if not isinstance(token_id, str) or not token_id:
        raise UsageError("--token: has no jti, so it cannot be revoked alone; revoke its --user")
    if not isinstance(expires, int | float) or not 0 <= expires < LATEST:
        raise UsageError("--token: has no exp that is a time, so no gateway accepts it")
    life = expires + leeway - time.time()
    if life <= 0:
        raise UsageError("--token: has expired, so no gateway accepts it")
    return token_id, life


def _time(text: str) -> float:
    """Seconds since the epoch, for argparse, from those or from ISO 8601; UTC where no zone is named."""
    try:
        if _SECONDS.fullmatch(text):
            return float(text)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("write it like 2026-01-31T12:00:00Z, or in seconds since 1970") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _name(text: str) -> str:
    """Who or what is revoked, for argparse: nothing has an empty name, but variables that were not set do."""
    if not text:
        raise argparse.ArgumentTypeError("is empty, so nothing would be revoked")
    return text


def plant(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to the parser."""
    revoking = commands.add_parser(
        "revoke", parents=[common], help="refuse tokens from now on, and end the streams they have open"
    )
    revoking.set_defaults(command=revoke)
    which = revoking.add_mutually_exclusive_group(required=True)
    which.add_argument("--jti", type=_name, metavar="ID", help="the one token with this id")
    which.add_argument("--token", help="this token, for as long as it would live; - reads it from standard input")
    which.add_argument("--user", type=_name, metavar="SUB", help="all of this user's, and the user's API keys")
    which.add_argument(
        "--key", type=_name, metavar="KID", help="all that are verified with this published key of the issuer"
    )
    revoking.add_argument(
        "--for",
        dest="life",
        type=seconds,
        default="30d",
        metavar="TIME",
        help="how long: as long as any such token may live, like 24h or 30d (%(default)s)",
    )
    revoking.add_argument(
        "--before", type=_time, metavar="TIME", help="with --user: only what was issued earlier than this (now)"
    )
