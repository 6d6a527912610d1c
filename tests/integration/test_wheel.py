"""The built wheel: installed somewhere else, it brings the twistd plugin along."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.processes import ROOT


class WheelTests(SynchronousTestCase):
    """What pip installs."""

    def test_plugin_is_found(self) -> None:
        """twistd of a fresh venv lists smartgate, out of the wheel and not out of the checkout.

        The dependencies come from this venv by a path file; only the wheel itself is installed.
        """
        place = Path(self.mktemp()).resolve()
        place.mkdir()
        pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "wheel", "--no-deps", "-w", str(place), str(ROOT)], check=True, capture_output=True)
        wheel = next(place.glob("smartgate-*.whl"))
        venv.create(place / "venv", symlinks=True)
        python = str(place / "venv" / "bin" / "python")
        packages = subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        subprocess.run(
            [*pip, "install", "--no-deps", "--target", packages, str(wheel)], check=True, capture_output=True
        )
        Path(packages, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        said = subprocess.run(
            [
                python,
                "-c",
                "import gateway; print(gateway.__file__); from twisted.scripts.twistd import run; run()",
                "--help",
            ],
            cwd=place,
            capture_output=True,
            text=True,
        ).stdout
        self.assertIn(packages, said.splitlines()[0])
        self.assertRegex(said, r"smartgate +The API gateway")
