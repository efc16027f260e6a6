"""YAML whose problems name their line, by ruamel.yaml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError, RoundTripConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarbool import ScalarBoolean

from dataset_culling.errors import ConfigError

MOST_ERRORS = 8


class _AsWritten(RoundTripConstructor):
    """Leaves 010 a text, which reads as an hour to one person and as octal to another."""

    def construct_yaml_int(self, node: Any) -> Any:
        if re.fullmatch(r"[-+]?0[0-9_]+", node.value):
            return node.value
        return super().construct_yaml_int(node)


_AsWritten.add_constructor("tag:yaml.org,2002:int", _AsWritten.construct_yaml_int)


def read_text(path: Path) -> str:
    """Read cameras.yaml."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: expected a cameras.yaml, found {error.strerror}. Check the path.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: expected a YAML file in UTF-8, found other bytes. Check the path.") from None


def parse_with_lines(path: Path, text: str) -> CommentedMap:
    """Parse the file into mappings that know their lines.

    Raises:
        ConfigError: If it is not YAML, not a mapping, or has a key twice.
    """
    loader = YAML()
    loader.Constructor = _AsWritten
    try:
        root = loader.load(text)
    except DuplicateKeyError as error:
        key = re.search(r'duplicate key "(.*?)"', error.problem)
        raise refusal(
            path, [(error.problem_mark.line + 1, f"'{key[1] if key else ''}' is there a second time")]
        ) from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "something else"
        raise ConfigError(f"{path}{line}: expected YAML, found {problem}. Fix the line.") from None
    if not isinstance(root, CommentedMap):
        raise ConfigError(f"{path}: 'fleet:' and 'cameras:' are missing. Start from manifests/examples/cameras.yaml.")
    if not all(isinstance(key, str) for key in root):
        raise ConfigError(f"{path}: every key must be a word. Fix the file.")
    return root


def plain(value: Any) -> Any:
    """Turn ruamel's values into Python's own."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    for subclassed, kind in ((ScalarBoolean, bool), (int, int), (float, float), (str, str)):
        if isinstance(value, subclassed) and not isinstance(value, bool):
            return kind(value)
    return value


def line_of(node: Any, loc: tuple[int | str, ...]) -> int:
    """Return the line of what `loc` leads to, or of the last part of the way that the file has."""
    line = node.lc.line
    for part in loc:
        place = (node.lc.data or {}).get(part) if isinstance(node, CommentedMap | CommentedSeq) else None
        if place is None:
            break
        line, node = place[0], node[part]
    return int(line) + 1


def refusal(path: Path, problems: list[tuple[int, str]]) -> ConfigError:
    """Build one error of (line, problem) pairs."""
    problems = sorted(problems)
    listed = "; ".join(f"line {line}: {text}" for line, text in problems[:MOST_ERRORS])
    more = f"; and {len(problems) - MOST_ERRORS} more" if len(problems) > MOST_ERRORS else ""
    return ConfigError(f"{path}, {listed}{more}")
