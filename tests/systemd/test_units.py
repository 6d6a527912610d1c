"""What the units promise besides: sockets that systemd holds, several instances, secrets, a sandbox, a boot."""

from __future__ import annotations

import re
import resource
import socket
import ssl
import time

from tests.faults.load import Load, closed
from tests.integration.client import Client
from tests.integration.test_websocket import pair
from tests.integration.websockets import Upstream
from tests.packages.debian import PYTHON, run
from tests.resources.wires import TEXT
from tests.systemd.case import AUTHORITY, PORT, SOON, UNIT, ServiceCase
from tests.systemd.machine import SOURCES

SOCKET = "smartgate.socket"
MOST = 1.5
"""The worst rating of ``systemd-analyze security`` that is good enough."""
ALLOWED = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
"""Files that a process here may open: a container's systemd cannot give more, where root may not raise it."""


class SocketTests(ServiceCase):
    """A port that systemd holds."""

    def setUp(self) -> None:
        """The socket's port is served, and nothing is started yet."""
        super().setUp()
        self.values["listen"] = '"systemd:domain=INET6:index=0"'
        self.write()
        self.machine.run("systemctl", "stop", UNIT)
        self.machine.run("systemctl", "start", SOCKET)
        self.addCleanup(self.machine.run, "systemctl", "stop", SOCKET, UNIT)

    def test_starts_when_somebody_comes(self) -> None:
        """The first client waits for the start, and is answered; whoever has an IPv4 address is known by that."""
        self.assertEqual(self.machine.show(UNIT, "ActiveState"), "inactive")
        self.assertEqual(self.request(), 200)
        self.soon(lambda: self.machine.show(UNIT, "ActiveState") == "active", "all workers serve")
        self.soon(lambda: '"client":"127.0.0.1"' in self.log.read_text(), "the line of that request")

    def test_restart(self) -> None:
        """While the service restarts, and reloads, clients wait: none is refused, and none is left unanswered."""
        self.request()
        with Load(PORT, "/api/x", self.user, "Connection: close", clients=6, patience=SOON) as load:
            time.sleep(0.3)
            self.machine.run("systemctl", "restart", UNIT)
            time.sleep(0.3)
            self.machine.run("systemctl", "reload", UNIT)
            self.serves(2)
            self.machine.run("systemctl", "restart", UNIT)
            time.sleep(0.3)
        self.assertEqual(set(load.statuses()), {200})
        self.assertGreater(load.statuses()[200], 30)

    def test_cannot_start(self) -> None:
        """A service that cannot start does not close the port: who comes is answered when it can."""
        self.write("nonsense")
        with Client(PORT, seconds=SOON) as client:
            client.send(f"GET /api/x HTTP/1.1\r\nHost: gateway.example\r\n{self.user}\r\n\r\n".encode())
            began = time.time()
            self.soon(lambda: self.machine.journal(UNIT, began).count("Failed with result") > 3, "it is tried again")
            self.write()
            self.assertEqual(client.answer().status, 200)


class InstanceTests(ServiceCase):
    """Several gateways of one machine."""

    def test_instance(self) -> None:
        """smartgate@x serves its own configuration beside the other one, reloads and ends apart from it."""
        text = self.text(listen='"tcp:3100"', admin=9910).replace(':443"', ':3143"')
        self.write(text, "x")
        unit = "smartgate@x.service"
        self.machine.run("systemctl", "start", unit)
        self.addCleanup(self.machine.run, "systemctl", "stop", unit)
        self.assertEqual((self.request(port=3100), self.request()), (200, 200))
        self.assertEqual(self.machine.show(unit, "RuntimeDirectory"), "smartgate-x")
        with self.load(lambda: -2):
            self.admin = 9910
            self.machine.run("systemctl", "reload", unit)
            self.serves(2)
            self.machine.run("logrotate", "--force", "/etc/logrotate.d/smartgate")
            time.sleep(0.5)
            self.machine.run("systemctl", "stop", unit)
        self.assertTrue(closed(3100))
        self.assertEqual(self.machine.show(unit, "Result"), "success")
        self.admin = 9901
        self.assertTrue(self.generation(1))


class SecretTests(ServiceCase):
    """Secrets as credentials."""

    def test_secret(self) -> None:
        """What root alone can read verifies tokens, and no other secret does; the service cannot read that file."""
        self.assertEqual(self.request(), 200)
        forged = self.user[:-3] + ("AAA" if self.user[-3:] != "AAA" else "BBB")
        self.assertEqual([self.request("/api/x", line) for line in (forged, "X: y")], [401, 401])
        cat = ["runuser", "-u", "smartgate", "--", "cat", "/etc/smartgate/jwt-secret"]
        self.assertIn("Permission denied", str(self.assertRaises(RuntimeError, self.machine.run, *cat)))
        self.assertEqual(self.machine.run("smartgate", "check"), "OK\n")

    def test_none(self) -> None:
        """Who has no such file can start, when the configuration names another secret; and with this one it cannot."""
        kept = self.machine.place / "etc/smartgate/jwt-secret"
        content = kept.read_bytes()
        kept.unlink()

        def restore() -> None:
            kept.write_bytes(content)
            kept.chmod(0o600)

        self.addCleanup(restore)
        began = time.time()
        self.assertRaises(RuntimeError, self.begin)
        self.assertIn("32", self.machine.journal(UNIT, began))
        self.write(self.text().replace("secret_file =", "#").replace("[jwt]", '[jwt]\nsecret = "${JWT_SECRET}"'))
        default = self.machine.place / "etc/default/smartgate"
        before = default.read_text()
        self.addCleanup(default.write_text, before)
        default.write_text(f"{before}\nJWT_SECRET={content.decode()}\n")
        self.begin()
        self.assertEqual(self.request(), 200)


class SandboxTests(ServiceCase):
    """What the service cannot do, and that it does all that it should."""

    def test_rating(self) -> None:
        """systemd rates both units well enough."""
        for unit in (UNIT, "smartgate@x.service"):
            said = self.machine.run("systemd-analyze", "security", "--no-pager", unit)
            rating = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
            assert rating is not None, said
            self.assertLessEqual(float(rating[1]), MOST, said)

    def test_verified(self) -> None:
        """systemd has nothing to say against the units."""
        units = ("smartgate.service", SOCKET, "smartgate@x.service")
        self.assertEqual(self.machine.run("systemd-analyze", "verify", "--man=no", *units), "")

    def test_is_in_force(self) -> None:
        """Every process has no rights but to bind ports, no way to get any, a filter, and room for many files."""
        right = f"{1 << 10:016x}"  # CAP_NET_BIND_SERVICE
        wanted = {"NoNewPrivs": "1", "Seccomp": "2", "CapEff": right, "CapBnd": right, "Umask": "0027"}
        for pid in (self.main, *(worker["pid"] for worker in self.workers())):
            status = dict(line.split(":\t") for line in self.machine.run("cat", f"/proc/{pid}/status").splitlines())
            self.assertEqual({name: status[name] for name in wanted}, wanted)
            (files,) = re.findall(r"Max open files +(\d+)", self.machine.run("cat", f"/proc/{pid}/limits"))
            self.assertIn(int(files), (1048576, ALLOWED))

    def test_cannot(self) -> None:
        """Where it lives even root can write its logs and its runtime directory alone; it sees no other process."""
        inside = ["nsenter", f"--target={self.main}", "--mount"]
        self.machine.run(*inside, "touch", "/var/log/smartgate/x", "/run/smartgate/x")
        self.machine.run(*inside, "rm", "/var/log/smartgate/x")
        for place in ("/etc/smartgate", "/usr/lib/smartgate", "/var/lib", "/home", "/dev"):
            told = self.assertRaises(RuntimeError, self.machine.run, *inside, "touch", f"{place}/x")
            self.assertIn("Read-only file system", str(told))
        seen = self.machine.run(*inside, "runuser", "-u", "smartgate", "ls", "/proc").split()
        self.assertNotIn("1", seen)

    def test_serves(self) -> None:
        """TLS on a port below 1024, HTTP/2, WebSockets, and metrics of the processes."""
        upstream = Upstream()
        self.addCleanup(upstream.close)
        self.values["ws"] = upstream.port
        self.write()
        self.begin()
        context = ssl.create_default_context(cadata=AUTHORITY.pem.decode())
        context.set_alpn_protocols(["h2", "http/1.1"])
        with (
            socket.create_connection(("127.0.0.1", 443), 5) as raw,
            context.wrap_socket(raw, server_hostname="gateway.example") as secure,
        ):
            self.assertEqual(secure.selected_alpn_protocol(), "h2")
        client, server = pair(self, PORT, upstream, self.user)
        client.send(TEXT, b"hello")
        received = server.receive()
        assert received is not None
        self.assertEqual(received.payload, b"hello")
        for name in ("process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"):
            self.assertGreater(self.metric(name), 0, name)


class BootTests(ServiceCase):
    """The machine boots."""

    def test_boot(self) -> None:
        """What is enabled is up after a boot, Redis first; what it needs was made again, were it missing."""
        self.machine.run("systemctl", "enable", UNIT)
        self.addCleanup(self.machine.run, "systemctl", "disable", UNIT)
        self.machine.run("sh", "-c", f"systemctl stop {UNIT}; rm -rf /var/log/smartgate")
        self.machine.reboot()
        with self.machine.network():
            self.soon(lambda: self.ask("/ready")[0] == 200, "it is up")
            self.assertEqual(self.metric("smartgate_redis_degraded"), 0)
        self.assertEqual(self.machine.run("stat", "-c", "%U %G %a", "/var/log/smartgate"), "smartgate adm 2750\n")
        self.assertEqual(self.machine.show(UNIT, "NRestarts"), "0")


class MakeTests(ServiceCase):
    """``make install``, instead of the package."""

    def make(self) -> None:
        """Run it out here, where there are wheels to fetch, into the machine's tree."""
        run(*self.machine.outside("make", "-s", "install", f"PYTHON={PYTHON}", f"DESTDIR={self.machine.place}"))

    def test_install(self) -> None:
        """It serves from its own place, takes an upgrade up without a lost request, and goes, leaving what is yours."""
        host = ("sh", f"{SOURCES}/packaging/host.sh")
        self.make()
        self.addCleanup(self.machine.run, *host, "uninstall", "/opt/smartgate")
        self.machine.run("systemctl", "daemon-reload")
        self.begin()
        self.assertIn("/opt/smartgate/bin/twistd", self.machine.show(UNIT, "ExecStart"))
        with self.load():
            self.make()
            self.machine.run("systemctl", "reload", UNIT)
            self.serves(2)
        said = self.machine.run(*host, "uninstall", "/opt/smartgate")
        self.assertIn("left as they are", said)
        self.assertEqual(self.machine.show(UNIT, "ActiveState"), "inactive")
        left = [*self.machine.place.glob("usr/local/**/*smartgate*"), *self.machine.place.glob("opt/smartgate*")]
        self.assertEqual(left, [])
