"""``smartgate ban``, ``unban`` and ``bans``: keep a client out of all gateways, let it in again, see who is out."""

from __future__ import annotations

import argparse
import json
import time
from ipaddress import ip_network
from math import inf
from typing import Any

from gateway.cli.shared import Told, UsageError, seconds, table, with_records, written
from gateway.config import Settings
from gateway.core.addresses import Network
from gateway.core.bans import Ban, ban_prefix
from gateway.interfaces import IRecords
from gateway.store.bans import BANS
from gateway.store.strikes import OFFENCES, STRIKES


def ban(chosen: argparse.Namespace, settings: Settings) -> str:
    """Ban an address or a network; one that is banned already gets the new end and reason.

    :raises UsageError: when gateways would not heed it.
    """
    if not settings.bans.enabled:
        raise UsageError("bans.enabled: is false, so gateways do not look at bans")
    prefix = _prefix(chosen, settings)
    network = ip_network(prefix)
    for exempt in (*settings.bans.allow, *settings.server.trusted_proxies):
        if _within(network, exempt):
            raise UsageError(f"{prefix}: is never banned: {exempt} is in bans.allow or server.trusted_proxies")
    now = time.time()
    until = None if chosen.seconds is None else now + chosen.seconds
    value = Ban(now, until, chosen.reason, 0).dump()

    async def write(records: IRecords, told: Told) -> None:
        await records.put(BANS + prefix, value, chosen.seconds)

    with_records(settings, BANS, write)
    return f"{prefix} is banned until {_when(until)}"


def unban(chosen: argparse.Namespace, settings: Settings) -> str:
    """Lift a ban, and forget what led to it.

    :raises UsageError: when there is none.
    """
    prefix = _prefix(chosen, settings)

    async def lift(records: IRecords, told: Told) -> list[str]:
        if await records.delete(BANS + prefix):
            await records.delete(STRIKES + prefix)
            await records.delete(OFFENCES + prefix)
            return [prefix]
        return [wider for wider in _listed(told) if _within(ip_network(prefix), ip_network(wider))]

    lifted = with_records(settings, BANS, lift)
    if lifted == [prefix]:
        return f"{prefix} is not banned any longer"
    also = f", but it is within {', '.join(lifted)}, which is" if lifted else ""
    raise UsageError(f"{prefix}: is not banned{also}")


def bans(chosen: argparse.Namespace, settings: Settings) -> str:
    """The bans in force, those that end first at the top."""

    async def read(records: IRecords, told: Told) -> Told:
        return told

    found = _listed(with_records(settings, BANS, read))
    ordered = sorted(found.items(), key=lambda item: (item[1].until is None, item[1].until or 0.0, item[0]))
    if chosen.json:
        return json.dumps([{"prefix": prefix, **ban._asdict()} for prefix, ban in ordered], indent=2)
    if not ordered:
        return "nobody is banned"
    rows = [("BANNED", "UNTIL", "TIMES", "WHY")]
    rows += [(prefix, _when(ban.until), str(ban.times or "-"), _printable(ban.why)) for prefix, ban in ordered]
    return table(rows)


def _prefix(chosen: argparse.Namespace, settings: Settings) -> str:
    try:
        return ban_prefix(chosen.address, settings.bans.ipv6_prefix)
    except ValueError as error:
        raise UsageError(f"ADDRESS: {error}") from None


def _within(inner: Network, outer: Network) -> bool:
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]


def _listed(told: Told) -> dict[str, Ban]:
    """The bans among records; those of a name that is no network ban nobody."""
    found = {}
    now = time.time()
    for key, (value, end) in told.items():
        prefix = key.removeprefix(BANS)
        try:
            ip_network(prefix)
        except ValueError:
            continue
        found[prefix] = Ban.load(value, now, None if end is None else end - now)
    return found


def _when(until: float | None) -> str:
    return written(inf if until is None else until, "lifted")


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def plant(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add these commands to the parser."""
    banning = commands.add_parser("ban", parents=[common], help="keep an address or a network out of all gateways")
    banning.set_defaults(command=ban)
    lifting = commands.add_parser("unban", parents=[common], help="lift a ban")
    lifting.set_defaults(command=unban)
    for command in (banning, lifting):
        command.add_argument(
            "address", metavar="ADDRESS", help="like 192.0.2.1, 192.0.2.0/24, 2001:db8::1 (with its subscriber's /56)"
        )
    banning.add_argument(
        "--for", dest="seconds", metavar="TIME", type=seconds, help="how long, like 90s or 1h; else until it is lifted"
    )
    banning.add_argument("--reason", default="banned by hand", help="why (%(default)s)")
    listing = commands.add_parser("bans", parents=[common], help="show who is banned, until when and why")
    listing.set_defaults(command=bans)
    listing.add_argument("--json", action="store_true", help="as JSON; times are seconds since the epoch")
