"""How mistakes are put: where they are, what stands there unless it is secret, what must stand there."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

Path = tuple[str | int, ...]
"""Where a value is: keys of tables, and indexes of lists from 0."""

_SECRET: Final = frozenset((("jwt", "secret"),))
_SECRET_NAME = re.compile(r"SECRET|PASS|TOKEN|KEY|CREDENTIAL", re.IGNORECASE)
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST: Final = 100
_MOST_KNOWN: Final = 20
_SHORTEST_SECRET: Final = 6
"""What is shorter cannot be told from ordinary text, and is hidden only where it stands."""


class ConfigError(Exception):
    """The configuration cannot be used; its text has a line for every mistake."""


class Absent:
    """Stands for the value of a key that is not there, or whose value says nothing."""


ABSENT: Final = Absent()


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong with a file.

    :param path: which key.
    :param right: the sentence that says what would be right.
    :param value: what is there.
    """

    path: Path
    right: str
    value: Any = ABSENT


def dotted(path: Path) -> str:
    """A path as people write it: ``routes[2].upstream``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += "." * bool(text) + (part if _BARE.fullmatch(part) else json.dumps(part, ensure_ascii=False))
    return text


def did_you_mean(word: str, known: Collection[str]) -> str:
    """The known word nearest to ``word``, or all that are known."""
    near = get_close_matches(word[:_LONGEST], known, 1, 0.6)
    if near:
        return f'did you mean "{near[0]}"?'
    shown = sorted(known)[:_MOST_KNOWN]
    return f"known are {', '.join(shown)}{', ...' * (len(known) > len(shown))}" if known else "there are none"


class Report:
    """Turns mistakes into lines that show no secret.

    :param file: the path of the configuration file.
    :param secrets: what must not be seen in any line.
    """

    def __init__(self, file: str, secrets: Collection[str]) -> None:
        self._file = file
        self._secrets = [secret for secret in secrets if len(secret) >= _SHORTEST_SECRET]

    def error(self, mistakes: Collection[Mistake]) -> ConfigError:
        """All of ``mistakes`` as one error, each once."""
        lines = [self._line(mistake) for mistake in mistakes]
        return ConfigError("\n".join(f"{self._file}: {line}" for line in dict.fromkeys(lines)))

    def _line(self, mistake: Mistake) -> str:
        parts = (dotted(mistake.path), self._shown(mistake), mistake.right)
        line = ": ".join(part for part in parts if part)
        for secret in self._secrets:
            line = line.replace(secret, "(not shown)")
        return line.encode("utf-8", "backslashreplace").decode()

    def _shown(self, mistake: Mistake) -> str:
        value = mistake.value
        if mistake.path[:2] in _SECRET:
            return "" if value is ABSENT else "(not shown)"
        if isinstance(value, list):
            return "[" + ", ".join(self._scalar(item) for item in value)[:_LONGEST] + "]"
        return self._scalar(value)

    def _scalar(self, value: Any) -> str:
        """A single value as TOML has it; ``@`` marks URLs with a password in them."""
        if value is ABSENT:
            return ""
        if isinstance(value, dict | list):
            return "a table" if isinstance(value, dict) else "a list"
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, int) and abs(value) >= 2**63:
            return "a number beyond 64 bits"
        if not isinstance(value, str):
            return str(value)
        if "@" in value or any(secret in value for secret in self._secrets):
            return "(not shown)"
        return json.dumps(value if len(value) <= _LONGEST else value[:_LONGEST] + "...", ensure_ascii=False)


def is_secret_name(variable: str) -> bool:
    """Whether an environment variable's name says that its value is secret."""
    return _SECRET_NAME.search(variable) is not None
