"""Knobs of the choose-resolution stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dataset_culling.config import StageConfig
from dataset_culling.detectors.base import DetectorRef


class ChooseResolutionConfig(StageConfig):
    """optResolution: the smallest image at which the student is still as sure (paper, section 2.2)."""

    student: DetectorRef = Field(DetectorRef(name="tiny"), description="The student, untrained on this camera.")
    classes: tuple[str, ...] = Field(
        ("person", "car"), min_length=1, description="The camera's classes: NAME, or NAME=THEIRS+THEIRS."
    )
    factor: float = Field(0.9, gt=0.1, lt=1, description="Each tried size is this much of the one before.")
    max_steps: int = Field(7, ge=0, le=40, description="Most sizes tried below the full one.")
    threshold: float = Field(
        0.05,
        ge=0,
        description="Largest change of the confidence loss against full size: squared differences summed over the "
        "culled frames, relative to the summed squares at full size.",
    )
    mode: Literal["stop", "curve", "off"] = Field(
        "stop", description="stop: end at the first size over the threshold; curve: measure them all; off: full size."
    )
    q: float = Field(3.0, ge=0, description="Q of the confidence loss.")
    b: float = Field(0.5, description="b of the confidence loss.")
    min_score: float = Field(0.2, ge=0, le=1, description="Boxes scoring less do not count.")
    batch_size: int = Field(8, ge=1, description="Images that go through the network at once.")
    max_frames: int = Field(64, ge=1, description="Culled frames that the sizes are tried on, hardest first.")
