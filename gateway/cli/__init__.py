"""The ``smartgate`` command: looks at a configuration before it is served, and tells running gateways what to do."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from typing import TextIO

from gateway import __version__
from gateway.cli import api_keys, bans, processes, revocations, state, tokens
from gateway.cli.environment import with_service
from gateway.cli.shared import UsageError
from gateway.config import PLACES, ConfigError, load, place

_GROUPS = (tokens, revocations, api_keys, bans, state, processes)
"""Modules of commands; ``plant`` adds each one's to the parser."""


def main(
    arguments: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
    out: TextIO | None = None,
    err: TextIO | None = None,
) -> int:
    """Run one command, and return its exit status: 0, or 1 with every mistake on ``err``.

    :param arguments: the command line without the program's name; the process's own when None.
    :param environ: for ``${VAR}``; when None the process's own, and the service's for what that lacks.
    :raises SystemExit: when the command line cannot be understood (status 2), or asks for help.
    """
    out, err = out or sys.stdout, err or sys.stderr
    chosen = _parser().parse_args(arguments)
    environ = with_service(os.environ) if environ is None else environ
    try:
        settings = load(chosen.config or place(), environ) if getattr(chosen, "reads", True) else None
        said = chosen.command(chosen, settings)
    except (ConfigError, UsageError) as mistakes:
        print(mistakes, file=err)
        return 1
    return _write(said, out, err)


def _write(said: str, out: TextIO, err: TextIO) -> int:
    """All of it, at once: a saved state that did not fit is a failure, and so is a reader that has gone."""
    try:
        print(said, file=out, flush=True)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            print(f"standard output: {error.strerror}", file=err)
        with contextlib.suppress(
            OSError, ValueError
        ):  # what is left would be tried again, and complained of, at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="smartgate",
        description="Looks at a configuration before it is served, and tells running gateways what to do.",
        epilog="smartgate COMMAND --help lists a command's options. The gateway itself is run by: twistd smartgate",
    )
    version = f"smartgate {__version__} (Python {platform.python_version()})"
    parser.add_argument("--version", action="version", version=version, help="show the version, and exit")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--config", metavar="FILE", help=f"the configuration file; else the first of {', '.join(PLACES)}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in _GROUPS:
        group.plant(commands, common)
    return parser
