"""The container image: built on a local Debian 12, and run as a cluster would run it."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from tests.integration.processes import Process
from tests.packages.case import ServingCase
from tests.packages.debian import CACHE, PYTHON, archive, inside, run

MOST = 120_000_000
"""Bytes that all of its files may have together."""


@cache
def store() -> dict[str, str]:
    """The environment in which buildah keeps its images below ``.cache``, and needs no container to build in."""
    place = CACHE / "images"
    place.mkdir(parents=True, exist_ok=True)
    conf = place / "storage.conf"
    conf.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{place}/graph"\nrunroot = "{place}/run"\n')
    return {"CONTAINERS_STORAGE_CONF": str(conf), "BUILDAH_ISOLATION": "chroot", "BUILDER": "buildah"}


@cache
def base() -> str:
    """The Debian 12 it is built on here, as an image."""
    container = run("buildah", "from", "scratch", environ=store()).strip()
    run("buildah", "add", "-q", container, archive(), "/", environ=store())
    run("buildah", "commit", "-q", "--rm", container, "smartgate-base", environ=store())
    return "localhost/smartgate-base"


@cache
def image() -> tuple[dict[str, Any], Path]:
    """What ``make image`` makes: its configuration, and its files, mounted."""
    run("make", "-s", "image", f"PYTHON={PYTHON}", f"BASE={base()}", environ=store())
    version = run("make", "-s", "version").strip()
    container = run("buildah", "from", f"localhost/smartgate:{version}", environ=store()).strip()
    config = json.loads(run("buildah", "inspect", container, environ=store()))["Docker"]["config"]
    return config, Path(run("buildah", "mount", container, environ=store()).strip())


def number(config: dict[str, Any]) -> str:
    """The user the image runs as."""
    return str(config["User"]).partition(":")[0]


class ImageTests(ServingCase):
    """What the Containerfile makes."""

    def start(self) -> tuple[Process, dict[str, str]]:
        """The image's own command as its own user, on a root that nobody can write to, and its environment."""
        config, place = image()
        environ = dict(pair.split("=", 1) for pair in config["Env"]) | self.environ()
        command = [*config["Entrypoint"], *config["Cmd"]]
        return self.serve(place, number(config), command, environ, read_only=True), environ

    def test_is_small(self) -> None:
        """All its files together stay below 120 MB."""
        _, place = image()
        self.assertLess(sum(path.lstat().st_size for path in place.rglob("*")), MOST)

    def test_is_nobody(self) -> None:
        """It runs as a user by number, which Kubernetes can tell from root, and has no shell to offer."""
        config, place = image()
        self.assertRegex(config["User"], r"^[1-9]\d*:[1-9]\d*$")
        self.assertFalse(os.path.lexists(place / "usr/bin/sh") or os.path.lexists(place / "usr/bin/apt"))

    def test_serves_on_a_root_it_cannot_write(self) -> None:
        """Its command answers as that user on a read-only root."""
        gateway, _ = self.start()
        self.assertNotIn("Read-only file system", gateway.said())

    def test_health_check(self) -> None:
        """The image's own check is content while the gateway serves, and not when it has ended."""
        config, place = image()
        gateway, environ = self.start()
        check = inside(place, number(config), *config["Healthcheck"]["Test"][1:])
        whole = {**os.environ, **environ}
        serving = subprocess.run(check, env=whole, capture_output=True).returncode
        gateway.stop()
        self.assertEqual((serving, subprocess.run(check, env=whole, capture_output=True).returncode), (0, 1))

    def test_ends_when_told_to(self) -> None:
        """The image's signal ends it with 0."""
        config, _ = image()
        gateway, _ = self.start()
        self.assertEqual(config["StopSignal"], "SIGTERM")
        self.assertEqual(gateway.stop(), 0, gateway.said())
