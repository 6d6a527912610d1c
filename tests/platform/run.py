"""The whole platform on loopback, for ``make run``: a Valkey, three stand-in services and the gateway, until ^C."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.integration.processes import ROOT, Process, answers, free_port, start_valkey, wait_for


def port_of(variable: str, default: str) -> int:
    """The port that an environment variable names.

    :raises SystemExit: when it names none.
    """
    text = os.environ.get(variable) or default
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise SystemExit(f"{variable}={text}: must be a port, 1 to 65535")
    return int(text)


PORT = port_of("PORT", "3000")
ADMIN_PORT = port_of("ADMIN_PORT", "9901")
SERVICES = {"auth": "AUTH_SERVICE_URL", "core": "CORE_SERVICE_URL", "mcp": "MCP_SERVER_URL"}
"""Each stand-in, and the variable by which ``etc/smartgate.toml`` finds it."""

TALK = ".venv/bin/python -m tests.platform.talk"
COMMANDS = """
The gateway answers at {base}. Four commands to paste into another terminal, in this directory:

  # log in: the token of a user, for an hour
  TOKEN=$({curl} {base}/api/auth/login -d '{{"user":"ann","role":"user"}}' | cut -d'"' -f4); echo "$TOKEN"
  # call users: 200, how much of the limit is left, and what the service received
  {curl} -i {base}/api/users/7 -H "Authorization: Bearer $TOKEN"
  # open the WebSocket: it says "hello" back
  {talk} ws{address}/api/ws/echo "$TOKEN" hello
  # run into the limit: 200 until a user's 60 a minute are spent, then 429
  for i in $(seq 65); do {curl} -o /dev/null -w '%{{http_code}} ' {base}/api/users/7 \\
    -H "Authorization: Bearer $TOKEN"; done; echo

Its metrics: http://127.0.0.1:{admin}/metrics   What it writes: tail -f {log}
^C stops everything.
"""


def main() -> int:
    """Start everything, wait for ^C, stop everything; exit status 1 when a part does not start, or ends."""
    for variable, number in (("PORT", PORT), ("ADMIN_PORT", ADMIN_PORT)):
        if answers(number):
            other = f"{variable}={free_port()} make run"
            print(f"Port {number} is taken: stop what listens there, or take another one: {other}", file=sys.stderr)
            return 1
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: stopped.append(received))
    running: list[Process] = []
    try:
        print("Starting a Valkey, the auth, core and MCP services and the gateway ...", flush=True)
        start(running)
        base = f"http://127.0.0.1:{PORT}"
        print(
            COMMANDS.format(
                base=base,
                address=base.removeprefix("http"),
                admin=ADMIN_PORT,
                curl="curl -s",
                talk=TALK,
                log=running[-1].output.name,
            ),
            flush=True,
        )
        if not shutil.which("curl"):
            print("There is no curl here; three of the four need it: apt install curl", flush=True)
        while not stopped:
            for process in running:
                if process.child.poll() is not None:
                    raise RuntimeError(f"{process.child.args!r} ended:\n{process.said()}")
            time.sleep(0.2)
    except (RuntimeError, TimeoutError, OSError) as error:
        if not stopped:  # ^C in a terminal reaches the children too, and then their end is no news
            print(error, file=sys.stderr)
            return 1
    finally:
        print("\nStopping ...", flush=True)
        for process in running:  # all at once, as ^C in a terminal does: no part waits for another's streams to end
            process.child.terminate()
        for process in running:
            process.stop()
    print("Everything has stopped.")
    return 0


def start(running: list[Process]) -> None:
    """Start every part, and wait until the gateway is ready.

    :param running: gets each part as soon as there is something to stop.
    :raises RuntimeError: with what a part wrote, when it ended.
    :raises TimeoutError: when a part does not come up.
    """
    valkey = start_valkey()
    running.append(valkey)
    environ = {
        "JWT_SECRET": secrets.token_hex(32),
        "REDIS_URL": f"redis://127.0.0.1:{valkey.port}/0",
        # Whoever asks gets a token here, so nobody but this machine may ask.
        "PORT": f"{PORT}:interface=127.0.0.1",
        "ADMIN_PORT": str(ADMIN_PORT),
    }
    for name, variable in SERVICES.items():
        port = free_port()
        running.append(Process([sys.executable, "-m", "tests.platform.services", name, str(port)], port, environ))
        environ[variable] = f"http://127.0.0.1:{port}"
    twistd = str(Path(sys.executable).parent / "twistd")
    config = str(ROOT / "etc" / "smartgate.toml")
    for process in running:
        process.wait()
    running.append(Process([twistd, "-n", "--pidfile=", "smartgate", "--config", config], PORT, environ))
    running[-1].wait()
    wait_for(ready, "/ready")


def ready() -> bool:
    """Whether the gateway says it can take requests."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/ready", timeout=5):
            return True
    except (urllib.error.URLError, TimeoutError):
        return False


if __name__ == "__main__":
    sys.exit(main())
