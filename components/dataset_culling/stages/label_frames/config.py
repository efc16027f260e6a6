"""Knobs of the label-frames stage."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from dataset_culling.config import StageConfig
from dataset_culling.detectors.base import DetectorRef, Precision


class LabelFramesConfig(StageConfig):
    """The teacher looks at the frames that a cull kept, or at all of them."""

    teacher: DetectorRef = Field(DetectorRef(name="tiny_teacher"), description="The detector that is believed.")
    classes: tuple[str, ...] = Field(
        ("person", "car"), min_length=1, description="The camera's classes: NAME, or NAME=THEIRS+THEIRS."
    )
    min_score: float = Field(
        0.5, ge=0, le=1, description="Boxes scoring this much are labels. Scores of different teachers do not compare."
    )
    doubtful_score: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Boxes from here to min_score become ignore regions: neither object nor background.",
    )
    batch_size: int = Field(4, ge=1, description="Images that go through the network at once.")
    precision: Precision = Field(
        "auto",
        description="What the network computes in; auto: float32 on a CPU, bfloat16 or float16 on a GPU.",
    )

    @model_validator(mode="after")
    def _doubt_ends_where_belief_begins(self) -> Self:
        if self.doubtful_score > self.min_score:
            raise ValueError(
                f"doubtful_score must not exceed min_score, found {self.doubtful_score} above {self.min_score}"
            )
        return self
