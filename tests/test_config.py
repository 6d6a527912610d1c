"""Tests of gateway.config."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway import config
from gateway.config import ConfigError, load

SECRET = "s" * 32
GOOD = """
[jwt]
secret = "${SECRET}"
[server]
max_body = "2 MiB"
drain = "1m"
[[upstreams]]
name = "a"
instances = ["http://a:1"]
[[routes]]
prefix = "/a"
upstream = "a"
"""


class LoadTests(SynchronousTestCase):
    """What a file becomes, and what is said about its mistakes."""

    def load(self, text: str, **environ: str) -> object:
        path = self.mktemp()
        Path(path).write_text(text)
        return load(path, environ)

    def mistakes(self, text: str, **environ: str) -> str:
        return str(self.assertRaises(ConfigError, self.load, text, **environ))

    def test_values(self) -> None:
        """Units are read, variables filled in, defaults kept."""
        settings = self.load(GOOD, SECRET=SECRET)
        self.assertEqual(settings.server.max_body, 2 * 1024**2)  # type: ignore[attr-defined]
        self.assertEqual(settings.server.drain, 60)  # type: ignore[attr-defined]
        self.assertEqual(settings.jwt.key(), SECRET.encode())  # type: ignore[attr-defined]
        self.assertNotIn(SECRET, repr(settings))

    def test_all_mistakes_at_once(self) -> None:
        """Each is named with its key."""
        said = self.mistakes(GOOD.replace("2 MiB", "2 MB").replace("1m", "soon") + "colour = 1\n", SECRET=SECRET)
        for key in ("server.max_body", "server.drain", "routes[0].colour"):
            self.assertIn(key, said)

    def test_secrets(self) -> None:
        """Missing or short: a mistake that does not show it."""
        self.assertIn("SECRET", self.mistakes(GOOD))
        said = self.mistakes(GOOD, SECRET="too-short")
        self.assertIn("needs 32", said)
        self.assertNotIn("too-short", said)

    def test_references(self) -> None:
        """A route to nowhere, a name twice, algorithms of two kinds."""
        self.assertIn(
            "'b': must be one of a", self.mistakes(GOOD.replace('upstream = "a"', 'upstream = "b"'), SECRET=SECRET)
        )
        self.assertIn("twice", self.mistakes(GOOD + '[[routes]]\nprefix = "/a"\nupstream = "a"\n', SECRET=SECRET))
        mixed = GOOD.replace("[jwt]", '[jwt]\nalgorithms = ["HS256", "RS256"]')
        self.assertIn("must not be mixed", self.mistakes(mixed, SECRET=SECRET))

    def test_files(self) -> None:
        """What cannot be read, or is no TOML, is said so."""
        self.assertIn("cannot be read", str(self.assertRaises(ConfigError, load, "/nowhere.toml", {})))
        self.assertIn("not valid TOML", self.mistakes("= 1"))

    @given(st.text(max_size=60))
    def test_any_value(self, value: str) -> None:
        """Whatever stands there, it loads or is a ConfigError."""
        path = Path(self.mktemp())
        path.write_text(
            GOOD.replace('"2 MiB"', repr(value).replace("\\x", "\\u00")), encoding="utf-8", errors="replace"
        )
        try:
            load(str(path), {"SECRET": SECRET})
        except ConfigError as error:
            self.assertNotIn(SECRET, str(error))


class ReferenceTests(SynchronousTestCase):
    """docs/configuration.md and the schema say the same."""

    def test_every_key_is_there(self) -> None:
        """Each key of each table has its row."""
        text = (Path(__file__).parents[1] / "docs" / "configuration.md").read_text()
        for table in (config.Server, config.Addresses, config.Redis, config.Jwt, config.RateLimit, config.Cors,
                      config.Websocket, config.AccessLog, config.Upstream, config.Route, config.Health):  # fmt: skip
            for key in table.model_fields:
                self.assertIn(f"| `{key}` |", text)
        for key in config.Settings.model_fields:
            self.assertIn(f"[{key}]", text)
