"""The gateway as a real process, between raw clients, a recording origin and a real Valkey."""

from __future__ import annotations

import atexit
import json
import signal
import socket
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import jwt
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.origin import Origin, talk
from tests.integration.processes import (
    ROOT,
    SECRET,
    Process,
    answers,
    free_port,
    start_gateway,
    start_valkey,
    wait_for,
)

CONFIG = """
[server]
listen = ["tcp:{port}:interface=127.0.0.1"]
admin = ""
workers = 0
max_body = "1 MiB"
[redis]
url = "redis://127.0.0.1:{redis}/0"
[jwt]
secret = "{secret}"
[rate_limit]
default = 3
roles = {{ admin = "unlimited", user = 1000 }}
[cors]
origins = ["https://app.example.com"]
[[upstreams]]
name = "core"
instances = ["http://127.0.0.1:{origin}"]
[[upstreams]]
name = "gone"
instances = ["http://127.0.0.1:1"]
[[routes]]
prefix = "/api/auth"
upstream = "core"
strip_prefix = true
auth = "none"
rate_limit = false
[[routes]]
prefix = "/api/users"
upstream = "core"
[[routes]]
prefix = "/api/admin"
upstream = "core"
roles = ["admin"]
[[routes]]
prefix = "/api/gone"
upstream = "gone"
auth = "none"
rate_limit = false
[[routes]]
prefix = "/guests"
upstream = "core"
auth = "none"
"""


def token(subject: str = "ann", role: str = "user", **claims: object) -> str:
    """A token the gateway accepts, unless ``claims`` say otherwise."""
    payload = {"sub": subject, "role": role, "jti": f"id-{subject}", "exp": time.time() + 300, **claims}
    return jwt.encode(payload, SECRET, "HS256")


def get(path: str, *lines: str, method: str = "GET", body: bytes = b"") -> bytes:
    """A request's bytes."""
    head = "\r\n".join((f"{method} {path} HTTP/1.1", "Host: api.example.com", *lines))
    return head.encode() + b"\r\n\r\n" + body


@cache
def platform() -> tuple[Origin, Process, Process]:
    """An origin, a Valkey and a gateway, started once for all tests and ended with them."""
    origin, valkey, port = Origin(), start_valkey(), free_port()
    atexit.register(valkey.stop)
    config = CONFIG.format(port=port, redis=valkey.port, secret=SECRET, origin=origin.port)
    gateway = start_gateway(config, port)
    atexit.register(gateway.stop)
    return origin, valkey, gateway


class GatewayTests(SynchronousTestCase):
    """What clients and origins see."""

    def setUp(self) -> None:
        self.origin, self.valkey, self.gateway = platform()
        self.port = self.gateway.port
        self.origin.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        self.origin.cut = False
        self.origin.received.clear()
        self.origin.closed.clear()

    def ask(self, path: str, *lines: str, method: str = "GET", body: bytes = b"") -> bytes:
        return talk(self.port, get(path, *lines, method=method, body=body))

    def as_user(self, path: str, *lines: str, **claims: object) -> bytes:
        return self.ask(path, f"Authorization: Bearer {token(**claims)}", *lines)  # type: ignore[arg-type]

    def status(self, answer: bytes) -> int:
        return int(answer.split(b" ", 2)[1])

    def test_answer_comes_back(self) -> None:
        """A request with a token reaches the origin, and its answer comes back."""
        answer = self.as_user("/api/users/7?x=1")
        self.assertEqual(self.status(answer), 200)
        self.assertTrue(answer.endswith(b"\r\n\r\nok"))
        self.assertTrue(self.origin.received[0].startswith(b"GET /api/users/7?x=1 HTTP/1.1\r\n"))

    def test_tokens_that_are_not_accepted(self) -> None:
        """Missing, forged, unsigned and expired tokens get 401 with a challenge, and go no further."""
        unsigned = jwt.encode({"sub": "eve", "exp": time.time() + 60}, "", "none")
        forged = jwt.encode({"sub": "eve", "exp": time.time() + 60}, "x" * 40, "HS256")
        for sent in (unsigned, forged, token(exp=time.time() - 300), token(exp="soon"), "x.y.z"):
            answer = self.ask("/api/users", f"Authorization: Bearer {sent}")
            self.assertEqual(self.status(answer), 401, sent)
            self.assertIn(b'WWW-Authenticate: Bearer error="invalid_token"', answer)
        self.assertIn(b"WWW-Authenticate: Bearer\r\n", self.ask("/api/users"))
        self.assertEqual(self.origin.received, [])

    def test_roles(self) -> None:
        """A route for admins refuses users."""
        self.assertEqual(self.status(self.as_user("/api/admin")), 403)
        self.assertEqual(self.status(self.as_user("/api/admin", subject="root", role="admin")), 200)

    def test_revoked_token_is_refused(self) -> None:
        """A jti on the blacklist in Valkey is refused at once."""
        self.assertEqual(self.status(self.as_user("/api/users", subject="mallory")), 200)
        talk_redis(self.valkey.port, b"SET", b"blacklist:id-mallory", b"1", b"EX", b"60")
        self.assertEqual(self.status(self.as_user("/api/users", subject="mallory")), 401)

    def test_limit_counts_in_valkey(self) -> None:
        """A guest has three requests a minute; the fourth gets 429 in the standard format."""
        answers = [self.ask("/guests") for _ in range(4)]
        self.assertEqual([self.status(answer) for answer in answers], [200, 200, 200, 429])
        for remaining, answer in zip((2, 1, 0, 0), answers, strict=True):
            self.assertIn(b"RateLimit-Policy: 3;w=60\r\nRateLimit-Limit: 3\r\n", answer)
            self.assertIn(b"RateLimit-Remaining: %d\r\n" % remaining, answer)
        self.assertIn(b"Retry-After: ", answers[3])
        error = json.loads(answers[3].partition(b"\r\n\r\n")[2])
        self.assertEqual(error["code"], "RATE_LIMIT_EXCEEDED")
        self.assertIn(f"X-Request-ID: {error['requestId']}\r\n".encode(), answers[3])
        self.assertEqual(talk_redis(self.valkey.port, b"GET", b"rl:ip:127.0.0.1"), b"$1\r\n4\r\n")

    def test_admin_is_unlimited(self) -> None:
        """No RateLimit fields where there is no limit."""
        self.assertNotIn(b"RateLimit", self.as_user("/api/users", subject="root", role="admin"))

    def test_log_has_a_line_a_request_and_no_secret(self) -> None:
        """The line has the request's id and no token or query."""
        sent = token()
        answer = self.ask("/api/users/log?key=hidden", f"Authorization: Bearer {sent}")
        request_id = answer.partition(b"X-Request-ID: ")[2].split(b"\r\n")[0].decode()
        wait_for(lambda: request_id in self.gateway.said(), "the line is written")
        line = next(line for line in self.gateway.said().splitlines() if request_id in line)
        entry = json.loads(line)
        self.assertEqual((entry["path"], entry["status"], entry["user"]), ("/api/users/log", 200, "ann"))
        self.assertNotIn("hidden", self.gateway.said())
        self.assertNotIn(sent, self.gateway.said())


class RedisAwayTests(SynchronousTestCase):
    """What holds when Redis is gone."""

    def test_requests_go_on_and_limits_too(self) -> None:
        """With Valkey killed, users are served and guests are still limited, by this process."""
        origin, valkey, port = Origin(), start_valkey(), free_port()
        gateway = start_gateway(CONFIG.format(port=port, redis=valkey.port, secret=SECRET, origin=origin.port), port)
        try:
            authorization = f"Authorization: Bearer {token()}"
            self.assertIn(b" 200 ", talk(port, get("/api/users", authorization))[:20])
            valkey.child.kill()
            valkey.child.wait()
            self.assertIn(b" 200 ", talk(port, get("/api/users", authorization))[:20])
            statuses = [talk(port, get("/guests"))[9:12] for _ in range(4)]
            self.assertEqual(statuses, [b"200", b"200", b"200", b"429"])
        finally:
            gateway.stop()
            origin.close()


class StartTests(SynchronousTestCase):
    """What an operator sees."""

    def test_every_mistake_is_listed_at_once(self) -> None:
        """A wrong file ends the start with all its mistakes, and no secret."""
        path = self.mktemp()
        Path(path).write_text(
            CONFIG.format(port=1, redis=1, secret="short-secret", origin=1).replace('"gone"\nauth', '"nobody"\nauth')
            + "\n[serverr]\nx = 1\n"
        )
        twistd = str(Path(sys.executable).parent / "twistd")
        ended = subprocess.run(
            [twistd, "-n", "--pidfile=", "smartgate", "--config", str(Path(path).resolve())],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
        )
        said = ended.stdout + ended.stderr
        self.assertNotEqual(ended.returncode, 0)
        self.assertIn("serverr: there is no such key", said)
        self.assertNotIn("short-secret", said)

    def test_taken_port_ends_the_start(self) -> None:
        """A port that somebody else has: the process ends and says which endpoint it is."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            path = Path(self.mktemp()).resolve()
            path.write_text(CONFIG.format(port=port, redis=1, secret=SECRET, origin=1))
            twistd = str(Path(sys.executable).parent / "twistd")
            ended = subprocess.run(
                [twistd, "-n", "--pidfile=", "smartgate", "--config", str(path)],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=30,
            )
        self.assertNotEqual(ended.returncode, 0)
        self.assertIn(f"smartgate: tcp:{port}", ended.stdout + ended.stderr)

    def test_sigterm_ends_it_cleanly(self) -> None:
        """SIGTERM: it ends by that signal, as twistd does once the reactor has stopped."""
        port = free_port()
        config = CONFIG.format(port=port, redis=1, secret=SECRET, origin=1).replace("redis://127.0.0.1:1/0", "memory:")
        self.assertIn(start_gateway(config, port).stop(), (0, -signal.SIGTERM))


def talk_redis(port: int, *words: bytes) -> bytes:
    """Send a command in RESP, and return the raw reply."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words))
        return connection.recv(4096)


class PlatformTests(SynchronousTestCase):
    """``make run``: the configuration of etc/ with all services behind it."""

    def test_the_whole_platform(self) -> None:
        """Log in, call users, follow the event stream, log out, and be refused."""
        port = free_port()
        environ = {"PORT": str(port), "ADMIN_PORT": str(free_port())}
        platform = Process([sys.executable, "-m", "tests.platform.run"], port, environ)
        try:
            wait_for(lambda: "Four commands" in platform.said(), "the platform runs", 30)
            body = b'{"user":"ann","role":"manager"}'
            login = talk(port, get("/api/auth/login", f"Content-Length: {len(body)}", method="POST", body=body))
            bearer = "Authorization: Bearer " + json.loads(login.partition(b"\r\n\r\n")[2])["token"]
            users = talk(port, get("/api/users/7?a=b", bearer))
            self.assertIn(b"RateLimit-Limit: 120\r\n", users)
            self.assertIn(b'"path": "/api/users/7?a=b"', users)
            with socket.create_connection(("127.0.0.1", port), 5) as client:
                client.sendall(get("/api/mcp/events", bearer))
                seen = b""
                while b"event 1" not in seen:
                    seen += client.recv(4096)
                self.assertNotIn(b"event 2", seen)
            talk(port, get("/api/auth/logout", bearer, "Content-Length: 0", method="POST"))
            self.assertIn(b" 401 ", talk(port, get("/api/users/7", bearer))[:20])
        finally:
            self.assertEqual(platform.stop(), 0, platform.said())
        wait_for(lambda: not answers(port), "the gateway is gone")
