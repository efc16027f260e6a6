"""metrics/1: flat figures, snake_case with the unit in the name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from dataset_culling.artifacts.header import Origin, read_record, write_artifact

SCHEMA = "metrics/1"
FILE = "metrics.json"


def write_metrics(path: Path, metrics: Mapping[str, float], origin: Origin) -> None:
    """Write figures into the directory `path`.

    Raises:
        ValueError: If a figure is NaN or infinite, which JSON and KFP's metadata cannot hold.
        OutputError: If it cannot be written.
    """
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise ValueError(f"metric {name} must be finite, got {value}")
    with write_artifact(path, SCHEMA, origin) as artifact:
        artifact.json(FILE, {name: float(value) for name, value in metrics.items()})
        artifact.counts["metrics"] = len(metrics)


def read_metrics(path: Path) -> dict[str, float]:
    """Read and check figures."""
    return read_record(path, SCHEMA, FILE, dict[str, float])
