"""The environment of the service, for commands that are run by hand."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from gateway.cli.environment import CREDENTIALS, parsed, with_service


class EnvironmentTests(SynchronousTestCase):
    """What a command finds."""

    def test_parsed(self) -> None:
        """Lines are read as systemd reads them."""
        text = """
# a comment
; another
A=1
 B = two words
C="quoted # $HOME"
D='it is'
E=one\\
 line
F="not ended
G=
=nothing
no variable
"""
        self.assertEqual(
            parsed(text),
            {
                "A": "1",
                "B": "two words",
                "C": "quoted # $HOME",
                "D": "it is",
                "E": "one line",
                "F": '"not ended',
                "G": "",
            },
        )

    def test_own_first(self) -> None:
        """What the command's own environment has is kept."""
        file = Path(self.mktemp())
        file.write_text("A=service\nB=service\n")
        self.assertEqual(
            with_service({"A": "own"}, str(file)), {"A": "own", "B": "service", "CREDENTIALS_DIRECTORY": CREDENTIALS}
        )

    def test_no_service(self) -> None:
        """Without the file there is nothing more."""
        self.assertEqual(with_service({"A": "own"}, self.mktemp()), {"A": "own"})
        file = Path(self.mktemp())
        file.write_bytes(b"\xff=1")
        self.assertEqual(with_service({"A": "own"}, str(file)), {"A": "own"})
