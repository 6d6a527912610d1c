"""The whole platform on loopback, for ``make run``: a Valkey, three stand-in services and the gateway, until ^C."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time
from pathlib import Path

from tests.integration.processes import ROOT, Process, answers, free_port, start_valkey

PORT = int(os.environ.get("PORT", "3000"))

COMMANDS = """
The gateway answers at http://127.0.0.1:{port}. Four commands to paste into another terminal, in this directory:

  # log in
  TOKEN=$(curl -s 127.0.0.1:{port}/api/auth/login -d '{{"user":"ann","role":"user"}}' | cut -d'"' -f4)
  # call users
  curl -i 127.0.0.1:{port}/api/users/7 -H "Authorization: Bearer $TOKEN"
  # open the WebSocket
  .venv/bin/python -m tests.platform.talk ws://127.0.0.1:{port}/api/ws/echo "$TOKEN" hello
  # run into the limit
  for i in $(seq 65); do curl -so /dev/null -w '%{{http_code}} ' 127.0.0.1:{port}/api/users/7 \\
    -H "Authorization: Bearer $TOKEN"; done; echo

^C stops everything.
"""


def main() -> int:
    """Start everything, wait for ^C, stop everything; exit status 1 when a part does not start."""
    if answers(PORT):
        print(f"Port {PORT} is taken: stop what listens there, or say PORT=... make run", file=sys.stderr)
        return 1
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: stopped.append(received))
    running: list[Process] = []
    try:
        valkey = start_valkey()
        running.append(valkey)
        environ = {
            "JWT_SECRET": secrets.token_hex(32),
            "REDIS_URL": f"redis://127.0.0.1:{valkey.port}/0",
            "PORT": str(PORT),
            "ADMIN_PORT": os.environ.get("ADMIN_PORT", "9901"),
        }
        for name, variable in (("auth", "AUTH"), ("core", "CORE"), ("mcp", "MCP")):
            port = free_port()
            running.append(Process([sys.executable, "-m", "tests.platform.services", name, str(port)], port, environ))
            running[-1].wait()
            service = "SERVER" if name == "mcp" else "SERVICE"
            environ[f"{variable}_{service}_URL"] = f"http://127.0.0.1:{port}"
        twistd = str(Path(sys.executable).parent / "twistd")
        config = str(ROOT / "etc" / "smartgate.toml")
        running.append(Process([twistd, "-n", "--pidfile=", "smartgate", "--config", config], PORT, environ))
        running[-1].wait()
        print(COMMANDS.format(port=PORT), flush=True)
        while not stopped and all(process.child.poll() is None for process in running):
            time.sleep(0.2)
        for process in running:
            if not stopped and process.child.poll() is not None:
                print(f"{process.child.args!r} ended:\n{process.said()}", file=sys.stderr)
                return 1
    except (RuntimeError, TimeoutError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        for process in reversed(running):
            process.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
