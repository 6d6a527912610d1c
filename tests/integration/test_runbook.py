"""Every incident of docs/runbook.md: it is made, shows as the page says, and is over when the page's commands were run.

Commands, metrics and words of logs are taken from the page: what does not stand there cannot be used here.
"""

from __future__ import annotations

import re
import resource
import shlex
import signal
import subprocess
import time
from threading import Event

from tests.certificates import Authority
from tests.integration.client import Client
from tests.integration.operations import CLIENT, OperationsCase, found
from tests.integration.origin import Origin
from tests.integration.processes import ROOT, Process, free_port, wait_for
from tests.integration.valkey import Valkey

PAGE = (ROOT / "docs" / "runbook.md").read_text()
OTHER = "127.0.0.3"
"""A client that has done nothing."""


class RunbookCase(OperationsCase):
    """What an operator does who has only this page.

    :cvar incident: the title of the section.
    """

    incident: str

    def setUp(self) -> None:
        super().setUp()
        self.section = found(rf"(?ms)^## {re.escape(self.incident)}$(.*?)(?=^## |\Z)", PAGE)
        self.stands(f"`{self._testMethodName}`")
        self.commands = re.findall(
            r"(?m)^(?:    )?(\S.*)$", "\n".join(re.findall(r"(?s)```sh\n(.*?)```", self.section))
        )

    def stands(self, text: str) -> str:
        """``text``, which the section has to have."""
        self.assertIn(text, " ".join(self.section.split()))
        return text

    def run_command(self, command: str, **instead: str) -> str:
        """Run a command of the section, with this platform's own names in place of those that it has."""
        self.assertIn(command, self.commands)
        own = {"access.log": str(self.log), ":3000": f":{self.port}", "203.0.113.5": CLIENT}
        command = replaced(command, own | instead)
        words = shlex.split(command)
        if words[0] == "smartgate":
            return self.does(*words[1:])
        if words[0] == "redis-cli":
            return str(self.valkey.ask(*words[1:]))
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=20, cwd=self.directory)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def metric(self, name: str) -> float:
        """A metric that the section names."""
        self.stands(name.partition("{")[0])
        return super().metric(name)

    def says(self, text: str, **instead: str) -> None:
        """What the section says of the log stands in the log, with this platform's own names."""
        self.stands(text)
        super().says(replaced(text, instead))

    def restart(self) -> None:
        """Start anew, with what the configuration is now."""
        self.process.stop()
        self.gateway()

    def reload(self) -> None:
        """Take up what the configuration is now, as the page's first commands do."""
        self.configure()
        self.assertIn("smartgate check && systemctl reload smartgate\n", PAGE.partition("\n## ")[0])
        self.does("check")
        self.process.child.send_signal(signal.SIGHUP)
        wait_for(lambda: "workers serve, generation 2" in self.process.said(), "the reload is over", 30)

    def description(self, *lines: str) -> str:
        """The error_description of a refusal with 401."""
        answer = self.ask(*lines)
        assert answer is not None and answer.status == 401, answer
        return found(r'error_description="([\w ]+)"', " ".join(answer.values("WWW-Authenticate")))


def replaced(text: str, instead: dict[str, str]) -> str:
    """``text`` with other names in place of those that it has."""
    for name, own in instead.items():
        text = text.replace(name, own)
    return text


class PageTests(OperationsCase):
    """The page itself."""

    def setUp(self) -> None:
        """Nothing is started."""

    def test_every_incident_is_tried(self) -> None:
        """Each section names tests, and they are here."""
        for section in PAGE.split("\n## ")[1:]:
            title = section.partition("\n")[0]
            named = re.findall(r"`(test_\w+)`", section)
            self.assertTrue(named, title)
            cases = [case for case in RunbookCase.__subclasses__() if case.incident == title]
            self.assertEqual({name for case in cases for name in dir(case) if name.startswith("test_")}, set(named))


class RedisAwayTests(RunbookCase):
    incident = "Redis is away"

    def test_redis_away(self) -> None:
        """Clients notice nothing, bans and revocations hold; when it is back it is used at once."""
        self.gateway()
        self.does("ban", OTHER)
        self.does("revoke", "--jti", "thief")
        self.until(0, path="/open", source=OTHER)
        self.until(401, self.bearer("ann", jti="thief"))
        self.valkey.stop()
        self.until(200, self.bearer("ann"))
        server = f"127.0.0.1:{self.valkey.port}/0"
        wait_for(lambda: self.metric(f'smartgate_redis_degraded{{server="{server}"}}') == 1, "the metric")
        status, said = self.ready()
        self.assertEqual((status, said["status"]), (200, "degraded"))
        self.stands('"status":"degraded"')
        self.says("Redis 127.0.0.1:6379/0 is away: ", **{"127.0.0.1:6379/0": server})
        self.assertEqual(self.status(path="/open", source=OTHER), 0)
        self.assertEqual(self.status(self.bearer("ann", jti="thief")), 401)
        self.assertEqual(self.smartgate("ban", "127.0.0.9")[0], 1)
        self.valkey = Valkey(self.valkey.port)
        self.addCleanup(self.valkey.stop)
        self.assertEqual(self.run_command("redis-cli PING"), "PONG")
        self.assertIn("loading:0", self.run_command("redis-cli INFO persistence"))
        self.says("is back")
        self.assertEqual(self.ready()[1]["status"], "ready")


class RedisFullTests(RunbookCase):
    incident = "Redis is full, or read-only"

    def refuses(self, why: str) -> None:
        """The gateway goes on, and says what Redis said."""
        self.until(200, self.bearer("ann"))
        wait_for(lambda: self.ready()[1]["status"] == "degraded", "it is degraded")
        self.says(why)
        self.assertEqual(self.status(self.bearer("ann")), 200)
        status, said = self.smartgate("ban", "127.0.0.9")
        self.assertEqual(status, 1)
        self.assertIn(why, said)

    def well(self) -> None:
        wait_for(lambda: self.ready()[1]["status"] == "ready", "it is ready")
        self.does("ban", "127.0.0.9")

    def test_redis_full(self) -> None:
        """Clients notice nothing; with more memory it goes on."""
        self.gateway()
        self.valkey.ask("CONFIG", "SET", "maxmemory", "1")
        self.refuses("OOM command not allowed")
        self.assertIn("maxmemory_policy:noeviction", self.run_command("redis-cli INFO memory"))
        self.run_command("redis-cli DBSIZE")
        self.run_command("redis-cli CONFIG SET maxmemory 512mb")
        self.run_command("redis-cli CONFIG SET maxmemory-policy noeviction")
        self.well()

    def test_redis_read_only(self) -> None:
        """Clients notice nothing; as a master again it goes on."""
        self.gateway()
        self.valkey.ask("REPLICAOF", "127.0.0.1", str(free_port()))
        self.refuses("READONLY You can't write")
        self.assertIn("slave", self.run_command("redis-cli ROLE"))
        self.run_command("redis-cli REPLICAOF NO ONE")
        self.well()


class InstanceTests(RunbookCase):
    incident = "An instance is down, or hangs"
    find = 'grep -E \'"status":50[234]\' access.log | grep -o \'"upstream":"[^"]*"\' | sort | uniq -c | sort -rn'

    def test_instance_down(self) -> None:
        """The only one is gone: the log names it; with another one in its place all is well."""
        gone, well = f"127.0.0.1:{free_port()}", self.instances
        self.instances = [f"http://{gone}"]
        self.workers = 1
        self.gateway()
        self.assertEqual(self.code(path="/open"), (502, self.stands("UPSTREAM_UNAVAILABLE")))
        self.assertGreater(self.metric('smartgate_upstream_errors_total{reason="connect",upstream="core"}'), 0)
        self.logged(lambda line: line["status"] == 502)
        self.assertIn(f'"upstream":"{gone}"', self.run_command(self.find))
        self.instances = well
        self.reload()
        self.until(200, path="/open")

    def test_instance_hangs(self) -> None:
        """The probes find one out of two that hangs; while it is the only one clients get 504."""
        well = Origin()
        self.addCleanup(well.close)
        self.upstream = 'first_byte_timeout = "500ms"'
        self.gateway()
        self.origin.plan((Event(),))
        self.assertEqual(self.code(path="/open"), (504, self.stands("UPSTREAM_TIMEOUT")))
        self.process.stop()
        hung = self.origin.port
        self.origin.plan(*[(Event(),)] * 1000)
        self.instances.append(f"http://127.0.0.1:{well.port}")
        self.upstream = 'health = { path = "/health", interval = "100ms", timeout = "100ms", rise = 1, fall = 2 }'
        self.gateway()
        self.says("is down")
        up = 'smartgate_upstream_up{instance="127.0.0.1:%d",upstream="core"}'
        self.assertEqual((self.metric(up % hung), self.metric(up % well.port)), (0, 1))
        self.assertEqual([self.status(path="/open") for _ in range(5)], [200] * 5)


class AbuseTests(RunbookCase):
    incident = "A client is abusive"

    def test_abusive_client(self) -> None:
        """It is found in the log and banned; the user it has is revoked; others are served."""
        self.gateway()
        token = self.bearer("mallory")
        for _ in range(70):
            self.status(token)
        self.assertEqual(self.metric('smartgate_refusals_total{guard="admit",status="429"}'), 10)
        self.stands("smartgate_bans_made_total")
        wait_for(lambda: len(list(self.lines())) >= 70, "70 lines")
        find = 'tail -n 100000 access.log | grep -o \'"%s":"[^"]*"\' | sort | uniq -c | sort -rn | head'
        self.assertIn(f'"client":"{CLIENT}"', self.run_command(find % "client").splitlines()[0])
        self.assertIn('"user":"mallory"', self.run_command(find % "user").splitlines()[0])
        with Client(self.port, CLIENT) as held:
            self.run_command('smartgate ban 203.0.113.5 --for 1h --reason "scraper"')
            self.assertEqual(held.rest(), b"")
        self.assertEqual(self.status(path="/open"), 0)
        self.assertEqual(self.status(self.bearer("ann"), source=OTHER), 200)
        self.run_command("smartgate revoke --user mallory")
        self.until(401, token, source=OTHER)
        self.assertIn("scraper", self.run_command("smartgate bans"))


class BannedTests(RunbookCase):
    incident = "A client is banned that should not be"

    def test_legitimate_client_banned(self) -> None:
        """Its refusals have banned it: the log and the list say so, and it is let in again, all forgotten."""
        self.gateway()
        for _ in range(310):
            if not self.status():
                break
        self.until(0, path="/open")
        wait_for(lambda: self.metric("smartgate_banned_connections_total") > 0, "the metric")
        self.says("Banned 203.0.113.5 for 300 s, the 1. time: refusals that weigh", **{"203.0.113.5": CLIENT})
        self.assertRegex(self.run_command("smartgate bans"), rf"(?m)^{CLIENT} .* refusals that weigh")
        self.run_command("smartgate unban 203.0.113.5")
        self.until(200, path="/open")


class CertificateTests(RunbookCase):
    incident = "The certificate ends"

    def test_certificate_ends(self) -> None:
        """One that ends soon is announced; the new one is in use without a restart, which openssl shows."""
        authority, name = Authority("authority"), "api.example.com"
        directory, tls = self.directory / "certificates", free_port()
        directory.mkdir()
        file = directory / f"{name}.pem"
        file.write_bytes(authority.certificate(name, days=3))
        (self.directory / "new.pem").write_bytes(authority.certificate(name, days=90))
        self.listen.append(f"tls:{directory}:{tls}:interface=127.0.0.1")
        self.gateway()
        self.says("The certificate in")
        self.says("ends in")
        left = f'smartgate_certificate_expiry_seconds{{file="{file}"}}'
        self.assertLess(self.metric(left), 1209600)
        own = {":443": f":{tls}", "/etc/smartgate/certificates": str(directory)}
        look = next(command for command in self.commands if command.startswith("openssl"))
        before = self.run_command(look, **own)
        self.assertIn("notAfter=", before)
        self.run_command("install -m 0640 new.pem /etc/smartgate/certificates/api.example.com.pem", **own)
        wait_for(lambda: self.metric(left) > 1209600, "the new one is in use", 8)
        self.assertNotEqual(self.run_command(look, **own), before)
        self.run_command("smartgate check")


class LeakTests(RunbookCase):
    incident = "A secret or a key has leaked, or is rotated"

    def test_secret_leaked(self) -> None:
        """With the new secret old tokens are void, and new ones are good."""
        self.gateway()
        old = self.bearer("ann")
        self.assertEqual(self.status(old), 200)
        self.secret = "another-secret-of-at-least-thirty-two-bytes"
        self.restart()
        self.assertEqual(self.description(old), "bad signature")
        self.stands('error_description="bad signature"')
        self.assertEqual(self.metric('smartgate_refusals_total{guard="authenticate",status="401"}'), 1)
        self.assertEqual(self.status(self.bearer("ann")), 200)

    def test_credentials_leaked(self) -> None:
        """One user's tokens, or one machine's key, are void everywhere at once, and nobody else's."""
        self.gateway()
        key = self.does("apikey", "create", "--name", "nightly", "--role", "batch")
        token = self.bearer("ann")
        self.until(200, f"X-API-Key: {key}")
        self.assertEqual(self.status(token), 200)
        self.run_command("smartgate revoke --user ann")
        self.until(401, token)
        identity = key.split("_")[1]
        self.assertIn(identity, self.run_command("smartgate apikey list"))
        self.run_command("smartgate apikey revoke 5f0c6d1b92aa", **{"5f0c6d1b92aa": identity})
        self.until(401, f"X-API-Key: {key}")
        self.assertEqual(self.status(self.bearer("bob")), 200)
        self.run_command("smartgate revoke --key 2026-01")


class ConfigurationTests(RunbookCase):
    incident = "The configuration has a mistake"

    def test_configuration_mistake(self) -> None:
        """It is named; a gateway does not take it up, and does not start with it; the right file is good again."""
        self.workers = 1
        self.gateway()
        right = self.file.read_text()
        self.file.write_text(right.replace("[rate_limit]", "[rate_limit]\nwindov = 1"))
        self.assertIn("smartgate check", self.commands)
        status, said = self.smartgate("check")
        self.assertEqual(status, 1)
        self.assertIn('rate_limit.windov: there is no such key; did you mean "window"?', said)
        self.process.child.send_signal(signal.SIGHUP)
        self.says("The reload is refused, and nothing has changed")
        self.assertEqual(self.status(path="/open"), 200)
        self.process.stop()
        process = Process(self.twistd(), self.port, {"JWT_SECRET": self.secret})
        self.addCleanup(process.stop)
        self.assertEqual(process.child.wait(20), 1)
        self.assertIn("rate_limit.windov", process.said())
        self.file.write_text(right)
        self.run_command("smartgate check")
        self.gateway()


class DiskTests(RunbookCase):
    incident = "The disk is full"

    def test_disk_full(self) -> None:
        """No request fails; with room again whole lines are written again, and only those that had no room are missing.

        The limit of a file's size is the full disk.
        """
        self.gateway()
        size = 20_000
        pid = self.process.child.pid
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        sent = 0
        while not self.metric("smartgate_access_log_dropped_total"):
            self.assertEqual([self.status(path="/open") for _ in range(20)], [200] * 20)
            sent += 20
            self.assertLess(sent, 1000)
        self.run_command("df -h .")
        self.run_command("truncate -s 0 access.log")
        self.assertEqual([self.status(path="/open") for _ in range(5)], [200] * 5)
        self.logged(lambda line: line["status"] == 200)


class FloodTests(RunbookCase):
    incident = "Connections or open files run out"
    server = "max_connections = 50"

    def test_connection_flood(self) -> None:
        """A client that holds all connections is found and banned, and others are served."""
        self.gateway()
        held = [Client(self.port, CLIENT) for _ in range(49)]
        for client in held:
            self.addCleanup(client.close)
            client.send(b"POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
        wait_for(lambda: self.metric("smartgate_open_connections") >= 49, "they are open")
        more = Client(self.port, CLIENT)
        self.addCleanup(more.close)
        more.send(b"GET /open HT")
        self.until(0, path="/open", source=OTHER)
        self.assertGreater(self.metric('smartgate_connections_refused_total{reason="total"}'), 0)
        self.says("All 20000 connections are taken: new ones are closed", **{"20000": "50"})
        find = next(command for command in self.commands if command.startswith("ss "))
        self.assertRegex(self.run_command(find).splitlines()[0], rf"^ +50 {CLIENT}$")
        self.run_command('smartgate ban 203.0.113.5 --for 1h --reason "connection flood"')
        self.until(200, path="/open", source=OTHER)


class ClockTests(RunbookCase):
    incident = "A clock is wrong"

    def test_clock_wrong(self) -> None:
        """Tokens of an issuer that is ten minutes off are refused with the reason; a larger leeway takes them."""
        self.workers = 1
        self.gateway()
        now = int(time.time())
        ahead = self.bearer("ann", iat=now + 600, nbf=now + 600, exp=now + 1200)
        behind = self.bearer("bob", iat=now - 1200, nbf=now - 1200, exp=now - 600)
        for token, why in ((ahead, "not yet valid"), (behind, "expired")):
            self.assertEqual(self.description(token), why)
            self.stands(f'"{why}"')
        self.run_command("date -u")
        self.leeway = "15m"
        self.reload()
        self.until(200, ahead)
        self.until(200, behind)


class LostDataTests(RunbookCase):
    incident = "Redis has lost its data"

    def test_redis_lost_its_data(self) -> None:
        """What was decided is in force again as soon as the newest export is written back."""
        self.gateway()
        export = self.directory / "smartgate.json"
        own = {"/var/backups/smartgate-Mon-09.json": str(export)}
        self.does("ban", OTHER)
        self.does("revoke", "--jti", "thief")
        key = "X-API-Key: " + self.does("apikey", "create", "--name", "nightly", "--role", "batch")
        self.until(0, path="/open", source=OTHER)
        wait_for(lambda: self.metric("smartgate_blacklist_known") == 1, "it is known")
        self.does("state", "export", str(export))
        self.valkey.ask("FLUSHALL")
        self.until(200, path="/open", source=OTHER)
        wait_for(lambda: self.metric("smartgate_bans") == self.metric("smartgate_blacklist_known") == 0, "they are 0")
        self.until(401, key)
        self.assertEqual(self.description(key), "unknown")
        self.run_command("redis-cli DBSIZE")
        check, write = (command for command in self.commands if "state import" in command)
        self.assertIn("1 ban, 1 revoked token, 1 API key", self.run_command(check, **own))
        self.run_command(write, **own)
        self.until(0, path="/open", source=OTHER)
        self.until(200, key)
        self.assertEqual(self.status(self.bearer("ann", jti="thief")), 401)
