"""``smartgate reload``: tells a running gateway to use its configuration, and its code, as they are now."""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path
from typing import Any

from gateway.cli.shared import UsageError


def reload(chosen: argparse.Namespace, _: None) -> str:
    """Send SIGHUP to the process of a pid file.

    :raises UsageError: when there is none, it is no gateway's, or it cannot be told.
    """
    try:
        pid = int(Path(chosen.pidfile).read_text())
        runs = Path(f"/proc/{pid}/cmdline")
        if not runs.exists():
            raise UsageError(f"{chosen.pidfile}: process {pid} does not run any more")
        if b"smartgate" not in runs.read_bytes():  # SIGHUP would end most others
            raise UsageError(f"{chosen.pidfile}: process {pid} is no gateway")
        os.kill(pid, signal.SIGHUP)
    except ValueError:
        raise UsageError(f"{chosen.pidfile}: has no process id") from None
    except FileNotFoundError:
        raise UsageError(
            f"{chosen.pidfile}: there is no such file. --pidfile names the one that twistd was given; "
            "where systemd runs the gateway: systemctl reload smartgate"
        ) from None
    except OSError as error:
        raise UsageError(f"{chosen.pidfile}: {error.strerror}") from None
    return f"Process {pid} was told; its log says what came of it"


def plant(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add this command to the parser. It reads no configuration: that has to be done where the gateway runs."""
    reloading = commands.add_parser(
        "reload", help="let a running gateway use its configuration and code as they are now"
    )
    reloading.set_defaults(command=reload, config=None, reads=False)
    reloading.add_argument("--pidfile", default="twistd.pid", help="that of twistd (%(default)s)")
