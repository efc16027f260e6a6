"""Settings of a run: defaults, preset, file, options, single changes, later ones win; the parser for dotted keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dataset_culling.config import merge, parse_config, read_yaml
from dataset_culling.errors import ConfigError
from dataset_culling.pipeline.graph import PipelineConfig
from dataset_culling.pipeline.presets import read_preset


def job_config(
    preset: str, config_file: Path | None, options: Mapping[str, Any], changes: Sequence[tuple[str, str]]
) -> PipelineConfig:
    """Put a run's settings together.

    Args:
        preset: Name of a preset.
        config_file: YAML file laid over it.
        options: Dotted key -> value, as the command's own options set it.
        changes: (dotted key, value as YAML) pairs of `--set`, in order.

    Raises:
        ConfigError: In one line, naming the invalid key and where it came from.
    """
    values = read_preset(preset)
    if config_file is not None:
        values = merge(values, read_yaml(config_file))
        parse_config(PipelineConfig, values, where=str(config_file))
    for key, value in options.items():
        values = merge(values, nested(key, value))
    return parse_config(PipelineConfig, with_changes(values, changes), where="settings")


def with_changes(values: Mapping[str, Any], changes: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Lay `--set KEY VALUE` pairs over `values`, in order.

    Raises:
        ConfigError: If a value is not YAML.
    """
    for key, text in changes:
        try:
            value = yaml.safe_load(text) if text else ""
        except yaml.YAMLError:
            raise ConfigError(f"--set {key} {text}: expected a YAML value. Quote it.") from None
        values = merge(values, nested(key, value))
    return dict(values)


def nested(key: str, value: Any) -> dict[str, Any]:
    """Return `value` below the dotted key: a.b -> {a: {b: value}}."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)
