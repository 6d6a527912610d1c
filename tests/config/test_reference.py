"""docs/configuration.md and the schema say the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from pydantic import BaseModel
from twisted.trial.unittest import SynchronousTestCase

from gateway import config

TEXT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
TABLES: dict[str, type[BaseModel]] = {
    "[server]": config.Server,
    "[tls]": config.Tls,
    "[addresses]": config.Addresses,
    "[bans]": config.Bans,
    "[redis]": config.Redis,
    "[jwt]": config.Jwt,
    "[api_keys]": config.ApiKeys,
    "[rate_limit]": config.RateLimit,
    "[cors]": config.Cors,
    "[websocket]": config.Websocket,
    "[dns]": config.Dns,
    "[access_log]": config.AccessLog,
    "[[upstreams]]": config.Upstream,
    "health": config.Health,
    "ejection": config.Ejection,
    "retries": config.Retries,
    "limits": config.UpstreamLimits,
    "[[routes]]": config.Route,
}
IN_UPSTREAMS = {"health", "ejection", "retries", "limits"}
REQUIRED = {"name": "x", "prefix": "/x", "upstream": "x"}


def sections() -> dict[str, str]:
    """The text below each heading."""
    parts = re.split(r"^##+ (.*)$", TEXT, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(section: str) -> dict[str, tuple[str, str]]:
    """What a table says of each key: its type and its default, as written."""
    found = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| .+ \|$", section, flags=re.MULTILINE)
    return {key: (kind, default.strip("`")) for key, kind, default in found}


class ReferenceTests(SynchronousTestCase):
    """What operators read is what the gateway does."""

    def test_every_table(self) -> None:
        """Each table of the schema has its section, and each section its table."""
        self.assertEqual(set(sections()), {*TABLES, "[security_headers]"})
        self.assertEqual({name.strip("[]") for name in sections()} - IN_UPSTREAMS, set(config.Settings.model_fields))

    def test_every_key(self) -> None:
        """Each key has its row, in the order of the schema, and there are no others."""
        for name, model in TABLES.items():
            self.assertEqual(list(rows(sections()[name])), list(model.model_fields), name)

    def test_every_default(self) -> None:
        """What is written as a default, put into a file, is what comes of leaving the key out."""
        for name, model in TABLES.items():
            required = [key for key, field in model.model_fields.items() if field.is_required()]
            needed = {key: REQUIRED[key] for key in required}
            defaults = model.model_validate(needed)
            for key, (_, default) in rows(sections()[name]).items():
                if default == "required":
                    self.assertIn(key, required, name)
                elif default == "absent":
                    self.assertIsNone(getattr(defaults, key), f"{name} {key}")
                else:
                    written = model.model_validate({**needed, **tomllib.loads(f"{key} = {default}")})
                    self.assertEqual(getattr(written, key), getattr(defaults, key), f"{name} {key}")

    def test_security_headers(self) -> None:
        """The security fields are listed with their values."""
        found = re.findall(r'^\| `([\w-]+)` \| `"(.*)"` \|$', sections()["[security_headers]"], flags=re.MULTILINE)
        self.assertEqual(dict(found), config.SECURITY_HEADERS)
