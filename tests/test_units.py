"""The units of systemd: held together, against what the gateway needs, and against the page that describes them."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from gateway.config.schema import Server
from gateway.process.fleet import PATIENCE, START_TIMEOUT, STOP_MARGIN
from gateway.process.service import END_MARGIN, FEEDINGS
from gateway.process.supervisor import LOOK_PERIOD
from gateway.wiring.descriptors import RESERVE
from tests.run import ROOT

UNITS = ROOT / "systemd"
PAGE = (ROOT / "docs/systemd.md").read_text()
Line = tuple[str, str, str]
"""Section, directive, value."""


def lines(path: Path) -> list[Line]:
    """What a unit says."""
    found, section = [], ""
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.append((section, name, value))
    return found


SERVICE = lines(UNITS / "smartgate.service")
TEMPLATE = lines(UNITS / "smartgate@.service")


def value(name: str) -> str:
    """What a directive of the service is set to, once."""
    (found,) = (value for _, each, value in SERVICE if each == name)
    return found


def seconds(name: str) -> float:
    """A time that is set."""
    return float(value(name).removesuffix("s"))


class UnitTests(SynchronousTestCase):
    """``systemd/``."""

    def test_template(self) -> None:
        """The template is the service, but for what makes an instance one of several."""
        own = [
            ("Unit", "Description", "smartgate, the API gateway, as %i"),
            ("Service", "EnvironmentFile", "-/etc/default/smartgate-%i"),
            ("Service", "ExecStart", value("ExecStart").replace("smartgate.toml", "%i.toml")),
            ("Service", "RuntimeDirectory", "smartgate-%i"),
        ]
        self.assertEqual([line for line in TEMPLATE if line not in SERVICE], own)
        replaced = ["Description", "ExecStart", "RuntimeDirectory"]
        self.assertEqual([name for section, name, said in SERVICE if (section, name, said) not in TEMPLATE], replaced)

    def test_comments(self) -> None:
        """Its comments are the service's, too, but for the head."""
        service, template = (
            (UNITS / name).read_text().partition("[Unit]")[2] for name in ("smartgate.service", "smartgate@.service")
        )
        comments = [[line for line in text.splitlines() if line.startswith("#")] for text in (service, template)]
        self.assertEqual(comments[0], comments[1])

    def test_described(self) -> None:
        """The page has every directive of the service in its tables, and no other."""
        named = re.findall(r"^\| ((?:`[A-Z]\w+` ?)+)\|", PAGE, re.M)
        described = [name for cell in named for name in re.findall(r"`(\w+)`", cell)]
        self.assertEqual(sorted(described), sorted({name for section, name, _ in SERVICE if section == "Service"}))

    def test_time_to_start(self) -> None:
        """A worker that does not serve is given up before the start is."""
        self.assertGreater(seconds("TimeoutStartSec"), START_TIMEOUT)

    def test_time_to_stop(self) -> None:
        """The default drain ends within the time that even a supervisor has which says nothing."""
        self.assertGreaterEqual(seconds("TimeoutStopSec"), Server().drain + STOP_MARGIN + END_MARGIN)

    def test_time_to_hang(self) -> None:
        """A worker that hangs is killed before the watchdog's time is over: 5 s, and the feedings around them."""
        feeding = seconds("WatchdogSec") / FEEDINGS
        starving = (PATIENCE - PATIENCE // 2) * LOOK_PERIOD
        self.assertLess(starving + 2 * feeding, seconds("WatchdogSec"))

    def test_files(self) -> None:
        """There are enough for the connections that the page promises, and so for the default."""
        enough = (int(value("LimitNOFILE")) - RESERVE) // 2
        self.assertGreaterEqual(enough, 500_000)
        self.assertGreaterEqual(enough, Server().max_connections)

    def test_socket(self) -> None:
        """The page's endpoint is of the socket's family, and the default port is held."""
        (listened,) = (said for _, name, said in lines(UNITS / "smartgate.socket") if name == "ListenStream")
        self.assertEqual(listened, "[::]:3000")
        self.assertIn('"systemd:domain=INET6:index=0"', PAGE)
        self.assertIn("systemd:domain=INET6:index=0", (UNITS / "smartgate.socket").read_text())

    def test_directories(self) -> None:
        """What the service may write to is made for its user, and what is rotated is there."""
        made = re.findall(r"^d (\S+) (\d+) (\w+) (\w+)", (UNITS / "smartgate.tmpfiles").read_text(), re.M)
        self.assertEqual(value("ReadWritePaths").lstrip("-"), made[1][0])
        self.assertEqual((made[1][2], value("User")), ("smartgate", "smartgate"))
        self.assertTrue((UNITS / "smartgate.logrotate").read_text().startswith(f"{made[1][0]}/*.log {{"))
        self.assertIn(f"u {value('User')} ", (UNITS / "smartgate.sysusers").read_text())
