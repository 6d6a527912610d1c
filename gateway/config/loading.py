"""Reading a configuration: file, environment, schema and cross-checks, and one report of all mistakes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from gateway.config.checks import cross_check
from gateway.config.mistakes import ABSENT, ConfigError, Mistake, Path, Report, did_you_mean
from gateway.config.schema import Settings
from gateway.config.source import Environment, parse

PLACES: Final = ("etc/smartgate.toml", "/etc/smartgate/smartgate.toml")
"""Where the configuration is looked for when none is named."""

_RIGHT = {
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "missing": "is missing",
}
"""What would be right, by pydantic's name of the error."""

_NO_KEYS = ("<roles>", "<by method>", "[key]")
"""What pydantic has in a path besides keys: the form of a value, and that a key itself is wrong."""


def place() -> str:
    """The first of :data:`PLACES` that exists, else the last."""
    return next((path for path in PLACES if os.path.exists(path)), PLACES[-1])


def load(path: str, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read a configuration file.

    :param environ: where ``${VAR}`` is looked up.
    :raises ConfigError: naming every mistake: file, key, what is there (never a secret), what would be right.
    """
    environment = Environment(environ)
    tables = parse(path)
    try:
        raw = environment.fill(tables)
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply") from None
    settings = None
    mistakes = list(environment.mistakes)
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        mistakes += [_mistake(detail) for detail in error.errors(include_url=False)]
    mistakes += cross_check(raw, {mistake.path for mistake in mistakes})
    if settings is None or mistakes:
        unset = [mistake.path for mistake in environment.mistakes]
        found = [mistake for mistake in mistakes if mistake in environment.mistakes or mistake.path not in unset]
        raise Report(path, environment.secrets | _secrets(raw)).error(found)
    return settings


def _secrets(raw: dict[str, Any]) -> set[str]:
    """Values that are secret wherever else they may stand."""
    table = raw.get("jwt")
    secret = table.get("secret") if isinstance(table, dict) else None
    return {secret} if isinstance(secret, str) else set()


def _mistake(detail: Any) -> Mistake:
    """What pydantic found, in our words."""
    kind, value, loc = detail["type"], detail["input"], detail["loc"]
    if kind == "extra_forbidden":
        return Mistake(loc, f"there is no such key; {did_you_mean(str(loc[-1]), _known(loc[:-1]))}")
    path: Path = tuple(part for part in loc if part not in _NO_KEYS)
    if kind == "value_error":
        return Mistake(path, f"must be {detail['ctx']['error']}", value)
    if kind == "literal_error":
        return Mistake(path, f"must be {detail['ctx']['expected']}".replace("'", '"'), value)
    return Mistake(path, _RIGHT.get(kind, detail["msg"]), ABSENT if kind == "missing" else value)


def _known(path: Path) -> list[str]:
    """The keys of the table at ``path``."""
    model: type[BaseModel] = Settings
    for part in path:
        if isinstance(part, str):
            model = _model(model.model_fields[part].annotation)
    return list(model.model_fields)


def _model(annotation: Any) -> Any:
    """The model in an annotation such as ``tuple[Route, ...]`` or ``Health | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for argument in get_args(annotation) if (found := _model(argument)) is not None), None)
