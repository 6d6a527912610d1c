"""The rate limits of the gateway and of the specification's Express stack: the same requests to both, one by one.

Both count in Redis with the platform's limits; the stack is ``bench/express/server.js``, on the node it installs.
"""

from __future__ import annotations

import atexit
import http.client
import json
import shutil
import time
from functools import cache
from math import ceil
from typing import NamedTuple

import jwt
from twisted.trial.unittest import SynchronousTestCase

from bench import install
from tests.integration.origin import Origin
from tests.integration.processes import ROOT, SECRET, Process, free_port, start_gateway, start_valkey
from tests.run import NO_NODE

LEGACY = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit")
"""What other drafts and older software say instead."""


class Answer(NamedTuple):
    """What one answer tells about the limit; fields that are not there are None."""

    status: int
    policy: str | None
    limit: str | None
    remaining: str | None
    reset: str | None
    retry_after: str | None
    legacy: tuple[str, ...]
    """The fields of :data:`LEGACY` that it has."""
    body: bytes
    """Without its request id, of which no two answers have the same."""


def ask(connection: http.client.HTTPConnection, path: str, bearer: str) -> Answer:
    """One request and its answer, on a connection that is kept."""
    connection.request("GET", path, headers={"Authorization": f"Bearer {bearer}"} if bearer else {})
    answer = connection.getresponse()
    names = ("RateLimit-Policy", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "Retry-After")
    policy, limit, remaining, reset, retry_after = map(answer.getheader, names)
    legacy = tuple(name for name in LEGACY if answer.getheader(name) is not None)
    body = answer.read().replace((answer.getheader("X-Request-ID") or "no id").encode(), b"<its id>")
    return Answer(answer.status, policy, limit, remaining, reset, retry_after, legacy, body)


class Express(NamedTuple):
    """The node that runs the stack; or why there is none, found out once and not once a test."""

    node: str
    missing: install.Missing | None


@cache
def express() -> Express:
    """Install the stack, unless that was done before."""
    try:
        return Express(install.express(), None)
    except install.Missing as why:
        return Express("", why)


@cache
def stacks() -> tuple[int, int]:
    """The ports of the gateway and of the Express stack, started once for all tests and ended with them.

    :raises bench.install.Missing: when the stack could not be installed.
    """
    node, missing = express()
    if missing is not None:
        raise missing
    origin, valkey = Origin(), start_valkey()
    atexit.register(origin.close)
    atexit.register(valkey.stop)
    common = {"JWT_SECRET": SECRET, "ADMIN_PORT": str(free_port()), "UPSTREAM": f"http://127.0.0.1:{origin.port}"}
    common |= {f"{name}_URL": common["UPSTREAM"] for name in ("AUTH_SERVICE", "CORE_SERVICE", "MCP_SERVER")}

    def environ(port: int, database: int) -> dict[str, str]:
        return {**common, "PORT": str(port), "REDIS_URL": f"redis://127.0.0.1:{valkey.port}/{database}"}

    port = free_port()
    # A Redis that has to wait for its turn on a busy machine is not away here.
    config = (ROOT / "etc" / "smartgate.toml").read_text().replace("[redis]\n", '[redis]\ntimeout = "5s"\n')
    gateway = start_gateway(config, port, environ(port, 0))
    atexit.register(gateway.stop)
    port = free_port()
    peer = Process([node, str(install.EXPRESS / "server.js")], port, environ(port, 1))
    atexit.register(peer.stop)
    peer.wait()
    return gateway.port, peer.port


def token(subject: str, **claims: object) -> str:
    """A token that both accept."""
    return jwt.encode({"sub": subject, "jti": f"id-{subject}", "exp": time.time() + 300, **claims}, SECRET, "HS256")


class RateLimitTests(SynchronousTestCase):
    """Request by request: the same status, the same RateLimit fields, the same refusal."""

    skip = None if shutil.which("node") and shutil.which("npm") else NO_NODE

    def setUp(self) -> None:
        self.gateway, self.express = (http.client.HTTPConnection("127.0.0.1", port, 10) for port in stacks())
        self.addCleanup(self.gateway.close)
        self.addCleanup(self.express.close)

    def compare(self, path: str, bearer: str, count: int) -> list[Answer]:
        """Send ``count`` requests to both, in turn, and return the gateway's answers once they are found the same.

        Seconds may differ by as much as the two answers can lie apart, rounded up: by 1 where a second ends between.
        """
        answers, apart = [], 0.0
        for number in range(1, count + 1):
            began = time.monotonic()
            ours, theirs = (ask(connection, path, bearer) for connection in (self.gateway, self.express))
            apart = max(apart, time.monotonic() - began)
            self.assertEqual(
                ours._replace(reset=None, retry_after=None),
                theirs._replace(reset=None, retry_after=None),
                f"request {number}",
            )
            for mine, other in ((ours.reset, theirs.reset), (ours.retry_after, theirs.retry_after)):
                self.assertEqual(mine is None, other is None, f"request {number}")
                self.assertLessEqual(abs(int(mine or 0) - int(other or 0)), ceil(apart), f"request {number}")
            answers.append(ours)
        return answers

    def assert_limited(self, path: str, bearer: str, limit: int, count: int) -> None:
        """Both let ``limit`` requests through, count them down, and refuse the rest until the window ends."""
        answers = self.compare(path, bearer, count)
        over = count - limit
        self.assertEqual([answer.status for answer in answers], [200] * limit + [429] * over)
        self.assertEqual([answer.policy for answer in answers], [f"{limit};w=60"] * count)
        self.assertEqual([answer.limit for answer in answers], [str(limit)] * count)
        left = [*range(limit - 1, -1, -1), *[0] * over]
        self.assertEqual([answer.remaining for answer in answers], [str(number) for number in left])
        self.assertEqual([answer.retry_after for answer in answers[:limit]], [None] * limit)
        for answer in answers[limit:]:
            self.assertEqual(answer.retry_after, answer.reset)
            self.assertEqual(
                json.loads(answer.body),
                {
                    "code": "RATE_LIMIT_EXCEEDED",
                    "message": "Too many requests, try again later",
                    "requestId": "<its id>",
                },
            )

    def test_guest(self) -> None:
        """10 a minute without a token, by address; a token where none is asked for changes nothing."""
        self.assert_limited("/api/auth/login", "", 10, 12)
        refused = self.compare("/api/auth/login", token("gus", role="admin"), 1)
        self.assertEqual(refused[0].status, 429)

    def test_user(self) -> None:
        """60 a minute, over all paths together."""
        bearer = token("uma", role="user")
        self.assert_limited("/api/users/7?a=b", bearer, 60, 62)
        self.assertEqual(self.compare("/api/credits", bearer, 1)[0].status, 429)

    def test_manager(self) -> None:
        """120 a minute."""
        self.assert_limited("/api/credits/7", token("max", role="manager"), 120, 122)

    def test_admin(self) -> None:
        """Never limited, and told nothing of limits."""
        answers = self.compare("/api/mcp", token("ada", role="admin"), 130)
        self.assertEqual(set(answers), {Answer(200, None, None, None, None, None, (), b"ok")})

    def test_unknown_role(self) -> None:
        """10 a minute, as for a guest, and counted by who it is."""
        self.assert_limited("/api/users", token("uwe", role="auditor"), 10, 12)

    def test_what_is_no_role(self) -> None:
        """No role, an empty one, one of another type or spelling, or what an object of JavaScript has by itself."""
        roles: tuple[object, ...] = ("", None, 1, ["admin"], "Admin", "admin ", "__proto__", "constructor")
        for number, role in enumerate(roles):
            first = self.compare("/api/users", token(f"nobody-{number}", role=role), 1)[0]
            self.assertEqual((first.policy, first.remaining), ("10;w=60", "9"), role)
        self.assertEqual(self.compare("/api/users", token("nobody"), 1)[0].policy, "10;w=60")

    def test_each_is_counted_alone(self) -> None:
        """Two of one role do not share; two tokens of one subject do, and the role is the one of each token."""
        self.assertEqual(self.compare("/api/users", token("eva", role="user"), 3)[-1].remaining, "57")
        self.assertEqual(self.compare("/api/users", token("eve", role="user"), 1)[-1].remaining, "59")
        self.assertEqual(self.compare("/api/users", token("eva", role="manager", jti="next"), 1)[-1].remaining, "116")

    def test_refused_tokens_count_nothing(self) -> None:
        """401 for a token that nobody signed, or that is over, and no word of limits."""
        for bearer in (token("ned", role="user")[:-4] + "AAAA", token("ned", role="user", exp=time.time() - 300)):
            for connection in (self.gateway, self.express):
                answer = ask(connection, "/api/users", bearer)
                self.assertEqual((answer.status, answer.limit, answer.legacy), (401, None, ()))
        self.assertEqual(self.compare("/api/users", token("ned", role="user"), 1)[0].remaining, "59")
