"""Knobs of the score-frames stage."""

from __future__ import annotations

from pydantic import Field

from dataset_culling.config import StageConfig
from dataset_culling.detectors.base import Backend, DetectorRef, Precision


class ScoreFramesConfig(StageConfig):
    """The raw student looks at every frame."""

    student: DetectorRef = Field(DetectorRef(name="tiny"), description="The student, untrained on this camera.")
    classes: tuple[str, ...] = Field(
        ("person", "car"), min_length=1, description="The camera's classes: NAME, or NAME=THEIRS+THEIRS."
    )
    min_score: float = Field(0.05, ge=0, le=1, description="Boxes scoring less are not kept.")
    features: bool = Field(
        False,
        description="Whether to keep what each frame looks like to the student, for the strategy coverage; it costs no "
        "second look, and a kilobyte or so a frame.",
    )
    batch_size: int = Field(8, ge=1, description="Images that go through the network at once.")
    backend: Backend = Field(
        "auto",
        description="What runs the network on a CPU: torch, or openvino, which exports it on the spot; auto: openvino "
        "from 500 frames on.",
    )
    precision: Precision = Field(
        "auto",
        description="What the network computes in; auto: float32 on a CPU, bfloat16 or float16 on a GPU.",
    )
