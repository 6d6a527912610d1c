"""The command lines of a gateway's other processes: they log and run as the first one was told to."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any


class Commands:
    """Made once, before twistd changes the working directory.

    :param twistd: twistd's options.
    :param config: the configuration's path.
    :ivar directory: where the processes run.
    :ivar log_file: where they log, if it is a file.
    """

    def __init__(self, twistd: Mapping[str, Any], config: str) -> None:
        self.directory = os.getcwd()
        self.config = os.path.abspath(config)
        self.log_file = ""
        name = twistd.get("logfile")
        own_way = twistd.get("syslog") or twistd.get("logger") or name == "-"
        if not own_way and (name or not twistd.get("nodaemon", True)):
            self.log_file = os.path.abspath(name or "twistd.log")
        script = os.path.abspath(sys.argv[0])
        flags = sys.orig_argv[1 : sys.orig_argv.index(sys.argv[0])] if sys.argv[0] in sys.orig_argv else []
        is_twistd = os.path.basename(script) == "twistd" and os.path.exists(script)
        self._python = [sys.executable, *flags]
        self._twistd = [script] if is_twistd else ["-P", "-m", "gateway.process.launch"]
        self._options = [*_options(twistd, self.log_file), "smartgate", "--config", self.config]

    @property
    def supervisor(self) -> list[str]:
        """What goes on as the supervisor."""
        return [*self._python, *self._twistd, *self._options]

    @property
    def worker(self) -> list[str]:
        """What a worker starts as."""
        return [*self._python, "-P", "-m", "gateway.process.launch", *self._options]

    @property
    def check(self) -> list[str]:
        """What checks the configuration."""
        return [*self._python, "-P", "-m", "gateway.process.check", "--config", self.config]


def _options(twistd: Mapping[str, Any], log_file: str) -> list[str]:
    """Options of twistd for a process that stays in the foreground and has no pid file of its own."""
    options = ["--nodaemon", "--pidfile="]
    if log_file:
        options.append(f"--logfile={log_file}")
    if twistd.get("syslog"):
        options += ["--syslog", f"--prefix={twistd['prefix']}"]
    if logger := twistd.get("logger"):
        options.append(f"--logger={logger.__module__}.{logger.__qualname__}")
    if reactor := twistd.get("reactor"):
        options.append(f"--reactor={reactor}")
    return options
