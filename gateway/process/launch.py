"""What a worker starts as: twistd, after what has to be said before it imports anything."""

from __future__ import annotations

import gc
import os
import signal

if __name__ == "__main__":
    gc.disable()  # until all is set up (gateway.process.memory): it is a fifth of what the imports take
    # The supervisor alone decides what these mean, also when a terminal sends them to everybody.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    if "LISTEN_FDS" in os.environ:
        os.environ["LISTEN_PID"] = str(os.getpid())  # systemd's sockets are meant for this process, too

    from twisted.scripts.twistd import run

    run()
