"""The container image: built on a local Debian 12, and run as a cluster would run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from functools import cache
from pathlib import Path
from threading import Event
from typing import Any

from tests.integration.client import Client
from tests.integration.origin import OK, Origin
from tests.integration.processes import Process, answers, wait_for
from tests.packages.case import ServingCase, health
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


class Container(Process):
    """A command as the first process of a container, whose signals it gets."""

    def __init__(self, arguments: list[str], port: int, environ: dict[str, str]) -> None:
        super().__init__(["unshare", "--pid", "--fork", "--kill-child", *arguments], port, environ)

    @property
    def first(self) -> int:
        """That process."""
        return int(children(self.child.pid)[0])

    def stop(self) -> int:
        """As a container is stopped; once more is harmless."""
        if self.child.poll() is None:
            os.kill(self.first, signal.SIGTERM)
        return super().stop()


def children(pid: int) -> list[str]:
    """The children of a process."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def state(pid: str) -> str:
    """A letter: Z is a process that has ended, of which its parent has not taken note."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return ""


class ImageTests(ServingCase):
    """What the Containerfile makes."""

    def start(self, **more: str) -> tuple[Container, dict[str, str]]:
        """The image's own command as its own user, on a root that nobody can write to, and its environment."""
        config, place = image()
        environ = dict(pair.split("=", 1) for pair in config["Env"]) | self.environ() | more
        command = inside(place, number(config), *config["Entrypoint"], *config["Cmd"], read_only=True)
        return self.serving(Container(command, int(environ["PORT"]), environ)), environ

    def test_has_wheels_of_its_own_python(self) -> None:
        """Which Python the machine has that builds it makes no difference."""
        would = run("make", "-n", "image", "FOR=3.12")
        self.assertIn("packaging/image.sh build/wheels-3.11 ", would)
        self.assertNotIn("3.12", would)

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

    def test_answers_before_it_ends(self) -> None:
        """A request that is under way when the signal comes gets its answer."""
        origin, go_on = Origin(), Event()
        self.addCleanup(origin.close)
        origin.plan((go_on, OK))
        gateway, _ = self.start(AUTH_SERVICE_URL=f"http://127.0.0.1:{origin.port}")
        with Client(gateway.port) as client:
            client.send(b"GET /api/auth/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
            wait_for(lambda: bool(origin.received), "it is under way")
            os.kill(gateway.first, signal.SIGTERM)
            wait_for(lambda: not answers(gateway.port), "nobody listens any more")
            go_on.set()
            self.assertEqual(client.answer().status, 200)
        self.assertEqual(gateway.child.wait(20), 0, gateway.said())

    def test_reloads(self) -> None:
        """SIGHUP to the first process of the container brings new workers, and it stays the first."""
        gateway, _ = self.start()
        before = gateway.first, children(gateway.first)
        os.kill(gateway.first, signal.SIGHUP)
        wait_for(lambda: "workers serve, generation 2" in gateway.said(), "the new generation", 30)
        self.assertEqual(health(gateway.port), 200)
        wait_for(lambda: not set(before[1]) & set(children(gateway.first)), "the old one is gone")
        self.assertEqual(gateway.first, before[0])

    def test_collects_orphans(self) -> None:
        """What others leave behind, whose parent it becomes, does not stay as zombies."""
        config, _ = image()
        gateway, environ = self.start()
        user, group = config["User"].split(":")
        enter = ["nsenter", "-t", str(gateway.first), "-m", "-p", "-r", "-S", user, "-G", group]
        script = "import os, sys, time; sys.exit() if os.fork() else time.sleep(1)"
        workers = set(children(gateway.first))
        run(*enter, "/usr/bin/python3", "-c", script, environ=environ)
        wait_for(lambda: any(state(pid) == "Z" for pid in children(gateway.first)), "an orphan has ended", 5)
        wait_for(lambda: set(children(gateway.first)) == workers, "it is gone")
