"""What a service manager sees of a gateway with workers: notifications, sockets that it holds, pid files."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.integration.client import Client
from tests.integration.processes import ROOT, wait_for
from tests.integration.workers import WorkersCase, alive

BIN = Path(sys.executable).parent
REQUEST = b"GET /api/x HTTP/1.1\r\nHost: gateway.example\r\n\r\n"


class NotifyTests(WorkersCase):
    """What systemd is told."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.systemd.close)
        self.systemd.bind(f"{self.folder.name}/notify")
        self.messages: list[tuple[float, str]] = []
        threading.Thread(target=self.listen, daemon=True).start()
        self.environ = {"NOTIFY_SOCKET": f"{self.folder.name}/notify", "WATCHDOG_USEC": "400000"}
        self.start(environ=self.environ)

    def listen(self) -> None:
        """Keep what is said, and when."""
        while True:
            try:
                self.messages.append((time.monotonic(), self.systemd.recv(4096).decode()))
            except OSError:
                return

    def others(self) -> list[str]:
        """What was said besides that it lives."""
        return [message for _, message in self.messages if message != "WATCHDOG=1"]

    def said_since(self, moment: float) -> bool:
        """Whether it has said that it lives."""
        return any(when > moment and message == "WATCHDOG=1" for when, message in self.messages)

    def test_states(self) -> None:
        """Ready when all workers serve, and again after each reload; alive in between; stopping at the end."""
        wait_for(lambda: self.said_since(0), "it lives")
        self.reload()
        wait_for(lambda: len(self.others()) == 3 and self.generation(2), "the reload is over", 20)
        self.config.write_text("nonsense")
        self.reload()
        wait_for(lambda: len(self.others()) == 5, "the next one is, too", 20)
        self.gateway.child.terminate()
        wait_for(lambda: len(self.others()) == 6, "it stops")
        for message, expected in zip(
            self.others(),
            (
                "READY=1\nSTATUS=2 workers serve, generation 1",
                "RELOADING=1\nMONOTONIC_USEC=",
                "READY=1\nSTATUS=2 workers serve, generation 2",
                "RELOADING=1\nMONOTONIC_USEC=",
                "READY=1\nSTATUS=the last reload was refused",
                "STOPPING=1\nSTATUS=",
            ),
            strict=True,
        ):
            self.assertTrue(message.startswith(expected), message)

    def test_hang(self) -> None:
        """While a worker hangs it is not said to be alive for long; then that worker is killed."""
        os.kill(self.workers()[0]["pid"], signal.SIGSTOP)
        wait_for(lambda: not self.said_since(time.monotonic() - 1), "no more signs of life", 15)
        wait_for(lambda: self.said("hangs: it is killed"), "it is killed", 20)
        killed = time.monotonic()
        wait_for(lambda: self.said_since(killed), "it lives", 20)


class ActivationTests(WorkersCase):
    """Sockets that systemd has bound."""

    def test_sockets(self) -> None:
        """Workers of every generation accept from them, and operators are listened to at another one."""
        clients, operators = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
        self.port, self.admin = clients.getsockname()[1], operators.getsockname()[1]
        text = self.text()
        for port, name in ((self.port, "clients"), (self.admin, "operators")):
            text = text.replace(f"tcp:{port}:interface=127.0.0.1", f"systemd:domain=INET:name={name}")
        config = tempfile.NamedTemporaryFile("w", suffix=".toml")  # noqa: SIM115
        self.addCleanup(config.close)
        config.write(text)
        config.flush()
        start = (
            f"exec 3<&{clients.fileno()} 4<&{operators.fileno()}; LISTEN_PID=$$ LISTEN_FDS=2 "
            f"LISTEN_FDNAMES=clients:operators exec {BIN}/twistd -n --pidfile= smartgate --config {config.name}"
        )
        output = tempfile.TemporaryFile()  # noqa: SIM115
        self.addCleanup(output.close)
        os.set_inheritable(clients.fileno(), True)
        os.set_inheritable(operators.fileno(), True)
        child = subprocess.Popen(
            ["bash", "-c", start], cwd=ROOT, stdout=output, stderr=output,
            pass_fds=(clients.fileno(), operators.fileno()),
        )  # fmt: skip
        try:
            clients.close()
            operators.close()
            wait_for(lambda: self.ask("/ready")[0] == 200, "it is ready", 30)
            for number in (1, 2, 3):
                wait_for(lambda: self.generation(number), f"generation {number}", 30)  # noqa: B023
                for _ in range(4):
                    with Client(self.port) as client:
                        client.send(REQUEST)
                        self.assertEqual(client.answer().status, 200)
                os.kill(child.pid, signal.SIGHUP)
            wait_for(lambda: self.generation(4), "the last one", 30)
        finally:
            child.terminate()
            self.assertEqual(child.wait(20), 0)


class DaemonTests(WorkersCase):
    """twistd in the background."""

    def test_daemon(self) -> None:
        """It keeps its process id, its log and its pid file through a reload, and leaves no pid file behind."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        pidfile, log, config = folder / "gate.pid", folder / "gate.log", folder / "c.toml"
        config.write_text(self.text())
        command = [f"{BIN}/twistd", f"--pidfile={pidfile}", f"--logfile={log}", "smartgate", "--config", str(config)]
        self.assertEqual(subprocess.run(command, cwd=folder, timeout=30).returncode, 0)
        pid = int(pidfile.read_text())
        try:
            wait_for(lambda: self.ask("/ready")[0] == 200, "it is ready", 30)
            command = [f"{BIN}/smartgate", "reload", "--pidfile", str(pidfile)]
            told = subprocess.run(command, capture_output=True, text=True, timeout=30)
            self.assertEqual((told.returncode, str(pid) in told.stdout), (0, True), told.stderr)
            wait_for(lambda: self.generation(2), "the reload is over", 30)
            self.assertTrue(alive(pid))
            self.assertEqual(int(pidfile.read_text()), pid)
            self.assertEqual(log.read_text().count("workers serve, generation"), 2)
            moved = log.rename(folder / "gate.log.1")
            os.kill(pid, signal.SIGUSR1)
            wait_for(log.exists, "a new log")
        finally:
            os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not alive(pid), "it has ended", 20)
        self.assertFalse(pidfile.exists())
        self.assertIn("Server Shut Down", log.read_text())
        self.assertIn("generation 2", moved.read_text())

    def test_nobody(self) -> None:
        """To tell a process that is not there, or is no gateway, is a mistake: SIGHUP would end it."""
        other = subprocess.Popen(["sleep", "60"])
        self.addCleanup(other.wait)
        self.addCleanup(other.kill)
        for text, expected in (
            ("999999999", "process 999999999 does not run any more"),
            (str(other.pid), f"process {other.pid} is no gateway"),
            ("x", "has no process id"),
            (None, "systemctl reload smartgate"),
        ):
            path = Path(self.mktemp())
            if text is not None:
                path.write_text(text)
            told = subprocess.run(
                [f"{BIN}/smartgate", "reload", "--pidfile", str(path)], capture_output=True, text=True, timeout=30
            )
            self.assertEqual((told.returncode, expected in told.stderr), (1, True), told.stderr)
        self.assertIsNone(other.poll())
