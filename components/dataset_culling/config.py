"""The base class of every configuration, and readable validation errors."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from dataset_culling.errors import ConfigError

Config = TypeVar("Config", bound="StageConfig")


class StageConfig(BaseModel):
    """A frozen configuration without unknown keys. Numbers are lax, because KFP turns 5 into 5.0 inside a dict."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    def to_json(self) -> str:
        """Return canonical JSON, with sorted keys and no white space: equal configs give equal text."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def replace(self, **changes: Any) -> Self:
        """Return a validated copy with some values changed."""
        return parse_config(type(self), {**self.model_dump(), **changes}, where=type(self).__name__)


def parse_config(model: type[Config], values: Mapping[str, Any], *, where: str) -> Config:
    """Validate `values` against `model`.

    Args:
        model: The configuration class.
        values: Keys and values, as from YAML or JSON.
        where: Source of the values, which opens the error.

    Raises:
        ConfigError: In one line with every invalid key, its expected and its actual value.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(f"{where}: {'; '.join(explain(model, problem) for problem in error.errors())}") from None


def parse_config_json(model: type[Config], text: str, *, where: str) -> Config:
    """Validate a JSON object against `model`; see `parse_config`."""
    return parse_config(model, read_json_object(text, where=where), where=where)


def read_json_object(text: str, *, where: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ConfigError: If the text is not one.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{where}: expected a JSON object, found {error.msg} at character {error.pos}. "
            f"""Write it as '{{"key": value}}'."""
        ) from None
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: expected a JSON object, found a {type(values).__name__}.")
    return values


def read_yaml(path: Path) -> dict[str, Any]:
    """Read the mapping in a YAML file; an empty file is an empty mapping.

    Raises:
        ConfigError: If the file is missing, unreadable, not YAML or not a mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: expected a YAML file, found {error.strerror}. Check the path.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: expected a YAML file in UTF-8, found other bytes. Check the path.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "no YAML"
        raise ConfigError(f"{path}{line}: expected YAML, found {problem}. Fix the line.") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected 'key: value' lines, found a {type(values).__name__}.")
    return values


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `over` into `base`, mapping by mapping; any other value replaces the old one."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def did_you_mean(word: str, known: list[str] | tuple[str, ...]) -> str:
    """Return ' Did you mean ...?' for a close known word, else the empty string."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def explain(model: type[BaseModel], problem: Any) -> str:
    """Describe one of pydantic's errors: the key, the expected and the actual value."""
    where = ".".join(str(part) for part in problem["loc"]) or model.__name__
    found = problem.get("input")
    if problem["type"] == "extra_forbidden":
        known = _fields_at(model, problem["loc"][:-1])
        return f"'{where}' is an unknown key.{did_you_mean(str(problem['loc'][-1]), known)} Known: {', '.join(known)}"
    if problem["type"] == "missing":
        return f"'{where}' is missing"
    wanted = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if problem["type"] == "value_error":
        return f"'{where}': {wanted}"
    return f"'{where}': wanted {wanted}, found {found!r}"


def _fields_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Return the field names of the (nested) model at `loc`."""
    here: type[BaseModel] = model
    for part in loc:
        field = here.model_fields.get(str(part))
        annotation = field.annotation if field is not None else None
        nested = [a for a in (annotation, *get_args(annotation)) if isinstance(a, type) and issubclass(a, BaseModel)]
        if nested:
            here = nested[0]
    return list(here.model_fields)
