"""``smartgate check`` and ``smartgate token``: a look at a configuration, and tokens for development."""

from __future__ import annotations

import argparse
import time
import uuid
from typing import Any

import jwt

from gateway.cli.shared import UsageError, seconds
from gateway.config import Settings


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


def plant(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add these commands to the parser."""
    checking = commands.add_parser("check", parents=[common], help="print OK, or every mistake of a configuration")
    checking.set_defaults(command=check)
    signing = commands.add_parser(
        "token", parents=[common], help="sign a token for development with the configuration's secret"
    )
    signing.set_defaults(command=token)
    signing.add_argument("--sub", required=True, help="who it is for")
    signing.add_argument("--role", required=True, help="the role it gives")
    signing.add_argument("--ttl", type=seconds, default="1h", help="how long it is good, like 90s or 1h (%(default)s)")
