"""Named settings: YAML files beside this one, each opening with what it is for and the command that uses it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from dataset_culling.config import did_you_mean, read_yaml
from dataset_culling.errors import ConfigError

FOLDER = Path(__file__).parent


def preset_names() -> list[str]:
    """Return the names of the presets."""
    return list(_names())


@cache
def _names() -> tuple[str, ...]:
    """Read once: a fleet asks for every camera, and the package's own files do not change."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def describe_presets() -> dict[str, str]:
    """Return name -> the first line of its file."""
    return {
        name: (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        for name in preset_names()
    }


def read_preset(name: str) -> dict[str, Any]:
    """Read a preset's settings, to lay over the defaults.

    Raises:
        ConfigError: If the name is unknown.
    """
    if name not in preset_names():
        raise ConfigError(
            f"--preset: no preset is called '{name}'.{did_you_mean(name, preset_names())} "
            f"Known: {', '.join(preset_names())}."
        )
    return read_yaml(FOLDER / f"{name}.yaml")
