"""The ``smartgate`` command: looks at a configuration before it is served, and signs tokens for development."""

from __future__ import annotations

import argparse
import os
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import TextIO

import jwt
from pydantic import TypeAdapter, ValidationError

from gateway.config import PLACES, ConfigError, Seconds, Settings, load, place


class UsageError(Exception):
    """The command cannot be carried out with this configuration; its text says why."""


def main(
    arguments: Sequence[str] | None = None,
    environ: Mapping[str, str] = os.environ,
    out: TextIO | None = None,
    err: TextIO | None = None,
) -> int:
    """Run one command, and return its exit status: 0, or 1 with every mistake on ``err``.

    :param arguments: the command line without the program's name; the process's own when None.
    :raises SystemExit: when the command line cannot be understood (status 2), or asks for help.
    """
    out, err = out or sys.stdout, err or sys.stderr
    chosen = _parser().parse_args(arguments)
    try:
        settings = load(chosen.config or place(), environ)
        print(chosen.command(chosen, settings), file=out)
    except (ConfigError, UsageError) as mistakes:
        print(mistakes, file=err)
        return 1
    return 0


def check(chosen: argparse.Namespace, settings: Settings) -> str:
    """A configuration that could be loaded is a good one."""
    return "OK"


def token(chosen: argparse.Namespace, settings: Settings) -> str:
    """A token (RFC 7519) that the configuration's own secret signs and its own gateway accepts.

    :raises UsageError: when the configuration has no secret, as where tokens are signed with a private key.
    """
    if not settings.jwt.symmetric:
        raise UsageError(f"jwt.algorithms: {settings.jwt.algorithms[0]} tokens are signed by their issuer only")
    if not (key := settings.jwt.key()):
        raise UsageError("jwt.secret: is missing")
    now = int(time.time())
    claims = {
        "sub": chosen.sub,
        settings.jwt.role_claim: chosen.role,
        "jti": uuid.uuid4().hex,
        "iat": now,
        "exp": now + int(chosen.ttl),
    }
    named = {"iss": settings.jwt.issuer, "aud": settings.jwt.audience}
    claims |= {name: value for name, value in named.items() if value}
    return jwt.encode(claims, key, settings.jwt.algorithms[0])


def _seconds(text: str) -> float:
    try:
        return TypeAdapter(Seconds).validate_python(text)
    except ValidationError as error:
        raise argparse.ArgumentTypeError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="smartgate", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    checking = commands.add_parser("check", help="print OK, or every mistake of a configuration")
    checking.set_defaults(command=check)
    signing = commands.add_parser("token", help="sign a token for development with the configuration's secret")
    signing.set_defaults(command=token)
    signing.add_argument("--sub", required=True, help="who it is for")
    signing.add_argument("--role", required=True, help="the role it gives")
    signing.add_argument("--ttl", type=_seconds, default="1h", help="how long it is good, like 90s or 1h (%(default)s)")
    for command in (checking, signing):
        command.add_argument("--config", help=f"the configuration file; else the first of {', '.join(PLACES)}")
    return parser
