"""The file itself: read, parsed as TOML, and filled in from the environment."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

from gateway.config.mistakes import ConfigError, Mistake, Path, is_secret_name

_REFERENCE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\}|\{)", re.ASCII)
_NOT_UTF8 = re.compile("[\ud800-\udfff]")  # what os.environ has in place of bytes that are no UTF-8
_PLACE = re.compile(r" ?\(at (?:line (\d+), column (\d+)|(end of document))\)$")


def parse(path: str) -> dict[str, Any]:
    """The tables of a TOML file.

    :raises ConfigError: when it cannot be read, is not UTF-8 or no TOML, naming the line.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line}: is not UTF-8") from None
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply") from None
    except ValueError as error:  # besides TOMLDecodeError, numbers of more digits than Python takes
        message = str(error)
        place = _PLACE.search(message)
        if place is None:
            raise ConfigError(f"{path}: is not valid TOML: a number is too long") from None
        end = text.count("\n") + 1
        where = f"line {end}" if place[3] else f"line {place[1]}, column {place[2]}"
        raise ConfigError(f"{path}, {where}: is not valid TOML: {message[: place.start()]}") from None


class Environment:
    """Fills ``${VAR}`` and ``${VAR:-default}`` in; ``$$`` is a dollar sign.

    As in a shell, the default also stands in for a variable that is empty. What was filled in is not looked at again.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.mistakes: list[Mistake] = []
        self.secrets: set[str] = set()
        """The values of those variables whose names say that they are secret."""

    def fill(self, value: Any, path: Path = ()) -> Any:
        """``value`` with every string in it filled in, at any depth."""
        if isinstance(value, dict):
            return {key: self.fill(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, str):
            return _REFERENCE.sub(lambda match: self._replace(match, path), value)
        return value

    def _replace(self, match: re.Match[str], path: Path) -> str:
        if match["dollar"]:
            return "$"
        name = match["name"]
        if name is None:
            right = "a variable is written ${NAME} or ${NAME:-default}, a dollar sign before a brace $$"
            self.mistakes.append(Mistake(path, right))
            return ""
        found = self._environ.get(name, "") or match["default"]
        if found is None and name not in self._environ:
            right = f"the environment variable {name} is not set: set it, or write ${{{name}:-a default}}"
            self.mistakes.append(Mistake(path, right))
        elif found and _NOT_UTF8.search(found):
            self.mistakes.append(Mistake(path, f"the environment variable {name} must be text in UTF-8"))
        if found and is_secret_name(name):
            self.secrets.add(found)
        return found or ""
