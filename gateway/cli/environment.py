"""The environment of the service: a command that is run by hand reads the same configuration with it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final

FILE: Final = "/etc/default/smartgate"
"""What systemd gives the service (``EnvironmentFile=``)."""
CREDENTIALS: Final = "/etc/smartgate"
"""Where the files are of which systemd gives the service copies (``LoadCredential=``)."""


def with_service(environ: Mapping[str, str], file: str = FILE) -> dict[str, str]:
    """``environ``, and what only the service has; without the file, or the right to read it, nothing more."""
    try:
        text = Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return dict(environ)
    return {"CREDENTIALS_DIRECTORY": CREDENTIALS, **parsed(text), **environ}


def parsed(text: str) -> dict[str, str]:
    """Variables as ``systemd.exec(5)`` has them: one a line, in quotes or not, with comments between."""
    found = {}
    for line in text.replace("\\\n", "").splitlines():
        name, equals, value = line.strip().partition("=")
        if name.strip() and equals and name[0] not in "#;":
            found[name.strip()] = _unquoted(value.strip())
    return found


def _unquoted(value: str) -> str:
    if value[:1] not in ("'", '"'):
        return value
    try:
        return "".join(shlex.split(value))
    except ValueError:  # a quote that does not end
        return value
