"""timing.json: the cost of a stage, in each of its outputs. The header does not list it, so it changes no digest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dataset_culling.artifacts.header import TIMING, write_json


@dataclass(frozen=True, slots=True)
class Timing:
    """One stage's cost; units in the names."""

    stage: str
    task: str
    seconds: float
    peak_rss_mib: float
    device: str
    counts: Mapping[str, int] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def write_timing(path: Path, timing: Timing) -> None:
    """Write a stage's timing into an artifact's directory."""
    write_json(path / TIMING, asdict(timing))


def read_timing(path: Path) -> Timing | None:
    """Read the timing in an artifact's directory; None if it is missing or unreadable, as it is never essential."""
    try:
        values = json.loads((path / TIMING).read_text(encoding="utf-8"))
        return Timing(**{**values, "notes": tuple(values.get("notes", ()))})
    except (OSError, ValueError, TypeError):
        return None
