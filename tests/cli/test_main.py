"""The command as a whole: its version, its help, and the manual page that describes it."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from gateway import __version__, cli
from tests.run import ROOT

PAGE = (ROOT / "packaging/smartgate.8").read_text()


def commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command below a parser, in all its words, and what reads its options."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                found = [(f"{name} {more}", each) for more, each in commands(below)]
                yield from found or [(name, below)]


class MainTests(SynchronousTestCase):
    """``smartgate`` itself."""

    def says(self, *arguments: str) -> str:
        """What it prints and ends with 0, without a configuration."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            ended = self.assertRaises(SystemExit, cli.main, arguments, {})
        self.assertEqual(ended.code, 0)
        return out.getvalue()

    def test_version(self) -> None:
        """It says which one it is, and of which Python."""
        self.assertRegex(self.says("--version"), rf"^smartgate {re.escape(__version__)} \(Python 3\.\d+\.\d+\)\n$")

    def test_help(self) -> None:
        """It is text for a terminal, and says how the gateway itself is run."""
        said = self.says("--help")
        self.assertIn("twistd smartgate", said)
        self.assertNotIn("`", said)


class OutputTests(SynchronousTestCase):
    """What a command says has to arrive."""

    def token(self, file: str | int) -> tuple[int, str]:
        """The status of a command that writes to a file, and what it complains of."""
        err = io.StringIO()
        config = ("--config", str(ROOT / "etc/smartgate.toml"))
        environ = {"JWT_SECRET": "a-secret-of-at-least-thirty-two-bytes"}
        with open(file, "w") as out:
            return cli.main(("token", "--sub", "a", "--role", "b", *config), environ, out, err), err.getvalue()

    def test_full(self) -> None:
        """A full disk is a failure, with its reason."""
        self.assertEqual(self.token("/dev/full"), (1, "standard output: No space left on device\n"))

    def test_nobody_reads(self) -> None:
        """Nobody needs to be told who has closed the pipe, as head does."""
        reader, writer = os.pipe()
        os.close(reader)
        self.assertEqual(self.token(writer), (1, ""))


class PageTests(SynchronousTestCase):
    """packaging/smartgate.8."""

    def setUp(self) -> None:
        """The page's words as a reader has them, and the commands there are."""
        self.words = " ".join(
            re.sub(r"\\f.|^\.\w+ ", "", PAGE.replace("\\-", "-"), flags=re.M).replace('"', "").split()
        )
        self.commands = dict(commands(cli._parser()))

    def test_every_command_is_described(self) -> None:
        """No command is missing."""
        self.assertEqual([name for name in self.commands if not re.search(rf"\b{name}\b", self.words)], [])

    def test_every_option_is_real(self) -> None:
        """What it names some command takes, and what a command needs it names."""
        real = {text for each in self.commands.values() for action in each._actions for text in action.option_strings}
        needed = {
            action.option_strings[0]
            for each in self.commands.values()
            for action in each._actions
            if action.required and action.option_strings
        }
        named = set(re.findall(r"--[a-z]\w*", self.words))
        self.assertLessEqual(named, real | {"--version"})
        self.assertLessEqual(needed, named)
