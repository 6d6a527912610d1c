"""Bytes of a client and of an instance, through the channel and the relay.

The properties of ``tests/properties`` must hold: nothing fails, nothing is forwarded that a strict server would have
read in another way, nothing is answered that is no HTTP.
"""

from __future__ import annotations

import sys
import tempfile
from itertools import product
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["gateway"]):
    from tests.fuzz.rules import check

REQUESTS = (
    b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
    b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
)
ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nbody",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 304 Not Modified\r\n\r\n",
)


def main(seconds: int) -> None:
    """Look for an input that breaks a rule; atheris ends the process, and keeps the input, when it finds one."""
    with tempfile.TemporaryDirectory() as corpus:
        for number, (request, answer) in enumerate(product(REQUESTS, ANSWERS)):
            (Path(corpus) / str(number)).write_bytes(request + b"\xff" + answer)
        atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", "-max_len=512", corpus], check)
        atheris.Fuzz()


if __name__ == "__main__":
    main(int(sys.argv[1]))
