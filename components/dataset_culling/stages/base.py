"""Inputs and outputs of every stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataset_culling.artifacts.header import Origin, digest
from dataset_culling.config import StageConfig

Inputs = Mapping[str, Path]
"""Input name -> artifact directory."""
Outputs = Mapping[str, Path]
"""Output name -> directory to write the artifact into; it need not exist."""


def _no_progress(done: int, total: int) -> None:
    del done, total


@dataclass(frozen=True, slots=True)
class StageContext:
    """Device and progress callback of a stage."""

    stage: str
    device: str = "cpu"  # "cpu", "cuda" or "cuda:0"
    progress: Callable[[int, int], None] = _no_progress  # (done, total) in the stage's own units

    def origin(self, config: StageConfig, inputs: Inputs) -> Origin:
        """Return the origin to write into this stage's artifacts."""
        return Origin(self.stage, config.model_dump(mode="json"), {name: digest(path) for name, path in inputs.items()})


@dataclass(frozen=True, slots=True)
class StageReport:
    """Counts and notes of a stage, for its log and timing.json; never part of an artifact's digest."""

    counts: Mapping[str, int] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)  # seconds_per_frame and the like, units in the names
    notes: tuple[str, ...] = ()  # one line each, for the log


RunStage = Callable[[Any, Inputs, Outputs, StageContext], StageReport]
