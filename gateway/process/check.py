"""Checks a configuration with the code as it is installed now: a process of its own, before a reload.

It takes the way that twistd takes: the plugin, its options, and the import of all that the gateway consists of.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.python.usage import UsageError
from twisted.scripts import twistd

from gateway.process.handover import Handover


def main(arguments: Sequence[str]) -> int:
    """Exit status 0, or 1 with what is wrong on standard error.

    :param arguments: those of ``twistd smartgate``.
    """
    if os.environ.get(Handover.FORMAT_VARIABLE, Handover.FORMAT) != Handover.FORMAT:
        print("the code as it is installed now cannot take over from what runs: restart instead", file=sys.stderr)
        return 1
    (maker,) = [each for each in getPlugins(IServiceMaker) if each.tapname == "smartgate"]
    options = maker.options()
    try:
        options.parseOptions(list(arguments))
    except UsageError as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if callable(maker.makeService) and callable(twistd.run) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
