"""Tests of what one process leaves to another: snapshots, places, handovers and command lines."""

from __future__ import annotations

import io
import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

from twisted.logger import textFileLogObserver
from twisted.scripts import twistd
from twisted.trial.unittest import SynchronousTestCase

from gateway.process import check, launch, snapshot
from gateway.process.commands import Commands
from gateway.process.fleet import Generation
from gateway.process.handover import Handover
from gateway.process.worker import Place

GOOD = """
[[upstreams]]
name = "core"
instances = ["http://192.0.2.1:8080"]
[[routes]]
prefix = "/api"
upstream = "core"
auth = "none"
"""


class SnapshotTests(SynchronousTestCase):
    """A configuration as it was read."""

    def test_copy(self) -> None:
        """It stays what it was, and can be read more than once."""
        path = Path(self.mktemp())
        path.write_text("one")
        taken = snapshot.take(str(path))
        self.addCleanup(os.close, taken)
        path.write_text("another")
        for _ in range(2):
            self.assertEqual(Path(snapshot.place(taken)).read_text(), "one")

    def test_given(self) -> None:
        """The process that is to read it knows where, and hands it to nobody."""
        self.assertEqual((snapshot.chosen({}), snapshot.given({})), (None, None))
        path = Path(self.mktemp())
        path.write_text("one")
        taken = snapshot.take(str(path))
        self.addCleanup(os.close, taken)
        os.set_inheritable(taken, True)
        environ = {snapshot.VARIABLE: str(taken)}
        self.assertEqual(snapshot.chosen(environ), f"/proc/self/fd/{taken}")
        self.assertEqual(snapshot.given(environ), taken)
        self.assertEqual((environ, os.get_inheritable(taken)), ({}, False))


class PlaceTests(SynchronousTestCase):
    """Where a worker stands."""

    def test_given_and_taken(self) -> None:
        """It is told in the environment, once."""
        self.assertIsNone(Place.take({}))
        place = Place(1, 2, 3, 4, {"tcp  80": 5})
        environ = place.give()
        self.assertEqual((Place.take(environ), environ), (place, {}))


class HandoverTests(SynchronousTestCase):
    """What a supervisor leaves to the next program."""

    def test_given_and_taken(self) -> None:
        """All of it arrives, and the descriptors are inherited only on the way."""
        self.assertIsNone(Handover.take({}))
        files = [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) for _ in range(5)]
        for each in files:
            self.addCleanup(os.close, each)
        generation = Generation(7, 2, 30.0, files[0], files[4], {"tcp  80": files[1]}, "tcp:81", {"tcp  81": files[2]})
        counted: Any = [["a", "counter", "Some.", [["a_total", {}, 1.0]]]]
        workers: Any = [[0, 4711, files[3], 1.5]]
        handover = Handover(generation, workers, counted, {"reloads": 3}, True, "/run/x.pid")
        environ = handover.give()
        self.assertTrue(all(map(os.get_inheritable, files)))
        self.assertEqual(Handover.take(environ), handover)
        self.assertFalse(any(map(os.get_inheritable, files)))
        self.assertEqual(environ, {})


class CommandTests(SynchronousTestCase):
    """Command lines of other processes."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.script = self.folder / "twistd"
        self.script.write_text("")
        self.patch(sys, "argv", [str(self.script), "-n", "smartgate"])
        self.patch(sys, "orig_argv", ["python", "-W", "error", str(self.script), "-n", "smartgate"])

    def options(self, **twistd: object) -> list[str]:
        """What a worker is told of how twistd runs."""
        command = Commands(twistd, "c.toml").worker
        return command[command.index("gateway.process.launch") + 1 : command.index("smartgate")]

    def test_commands(self) -> None:
        """They run as this process does, on the same interpreter, with the configuration by its whole path."""
        commands = Commands({"nodaemon": 1}, "c.toml")
        python, config = [sys.executable, "-W", "error"], ["--config", os.path.abspath("c.toml")]
        options = ["--nodaemon", "--pidfile=", "smartgate", *config]
        self.assertEqual(commands.supervisor, [*python, str(self.script), *options])
        self.assertEqual(commands.worker, [*python, "-P", "-m", "gateway.process.launch", *options])
        self.assertEqual(commands.check, [*python, "-P", "-m", "gateway.process.check", *config])
        self.assertEqual(commands.directory, os.getcwd())

    def test_without_the_script(self) -> None:
        """Where twistd was not started as a script, as by another program, it goes on as a module."""
        self.script.unlink()
        self.patch(sys, "orig_argv", ["python", "-m", "other"])
        python = [sys.executable, "-P", "-m", "gateway.process.launch"]
        self.assertEqual(Commands({"nodaemon": 1}, "c.toml").supervisor[:4], python)

    def test_log(self) -> None:
        """They log where this one does: by its whole path, since the working directory may change."""
        foreground = ["--nodaemon", "--pidfile="]
        self.assertEqual(self.options(nodaemon=1), foreground)
        self.assertEqual(self.options(nodaemon=1, logfile="-"), foreground)
        self.assertEqual(self.options(), foreground)
        for told, file in ((None, "twistd.log"), ("x.log", "x.log")):
            expected = [*foreground, f"--logfile={os.path.abspath(file)}"]
            self.assertEqual(self.options(nodaemon=0, logfile=told), expected)
        self.assertEqual(self.options(nodaemon=0, syslog=1, prefix="gate"), [*foreground, "--syslog", "--prefix=gate"])
        name = "--logger=twisted.logger._file.textFileLogObserver"
        self.assertEqual(self.options(nodaemon=0, logger=textFileLogObserver), [*foreground, name])
        self.assertEqual(self.options(nodaemon=1, reactor="poll"), [*foreground, "--reactor=poll"])


class CheckTests(SynchronousTestCase):
    """A configuration, checked by the code as it is installed."""

    def check(self, text: str) -> tuple[int, str]:
        path = Path(self.mktemp())
        path.write_text(text)
        err = io.StringIO()
        self.patch(sys, "stderr", err)
        return check.main(["--config", str(path)]), err.getvalue()

    def test_good(self) -> None:
        """It is good if twistd could start with it."""
        self.assertEqual(self.check(GOOD), (0, ""))

    def test_wrong(self) -> None:
        """Else what is wrong is said."""
        status, said = self.check("port = 1")
        self.assertEqual(status, 1)
        self.assertIn("port: ", said)

    def test_another_format(self) -> None:
        """Code that could not take over from what runs is refused, whatever the configuration says."""
        self.patch(os, "environ", {**os.environ, Handover.FORMAT_VARIABLE: "0"})
        status, said = self.check(GOOD)
        self.assertEqual(status, 1)
        self.assertIn("restart instead", said)
        os.environ[Handover.FORMAT_VARIABLE] = Handover.FORMAT
        self.assertEqual(self.check(GOOD), (0, ""))


class LaunchTests(SynchronousTestCase):
    """What is said before twistd starts."""

    def launch(self, **environ: str) -> dict[int, Any]:
        """The signals that were set."""
        signals: dict[int, Any] = {}
        self.patch(signal, "signal", signals.__setitem__)
        self.patch(os, "environ", environ)
        self.runs: list[None] = []
        self.patch(twistd, "run", lambda: self.runs.append(None))
        runpy.run_path(launch.__file__, run_name="__main__")
        self.assertEqual(len(self.runs), 1)
        return signals

    def test_signals(self) -> None:
        """What a terminal sends to all processes is for the supervisor alone."""
        ignored = {number: signal.SIG_IGN for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)}
        self.assertEqual(self.launch(), ignored)

    def test_sockets(self) -> None:
        """systemd's sockets are meant for this process, if there are any."""
        self.launch(LISTEN_FDS="2", LISTEN_PID="0")
        self.assertEqual(os.environ["LISTEN_PID"], str(os.getpid()))
        self.launch()
        self.assertNotIn("LISTEN_PID", os.environ)
