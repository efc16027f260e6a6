"""Options of labeling, shared by every stage that labels frames."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from dataset_culling.config import StageConfig
from dataset_culling.detectors.base import Backend, DetectorRef, Precision
from dataset_culling.labeling.tracks import TrackRules


class LabelingConfig(StageConfig):
    """The teacher, the thresholds of its boxes, and the checks of them."""

    teacher: DetectorRef = Field(DetectorRef(name="tiny_teacher"), description="The detector that is believed.")
    classes: tuple[str, ...] = Field(
        ("person", "car"), min_length=1, description="The camera's classes: NAME, or NAME=THEIRS+THEIRS."
    )
    min_score: float = Field(
        0.5, ge=0, le=1, description="Boxes scoring this much are labels. Scores of different teachers do not compare."
    )
    min_score_by_class: dict[str, float] = Field(
        default_factory=dict, description="Class of the camera -> its own min_score."
    )
    doubtful_score: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Boxes from here to min_score become ignore regions: neither object nor background.",
    )
    trust: Literal["off", "flip", "flip+scale", "neighbours", "flip+scale+neighbours"] = Field(
        "off",
        description="Views that the teacher is compared with itself on: mirrored frames, smaller ones, frames before "
        "and after. Flip and scale cost one more look at each frame, neighbours up to two.",
    )
    min_trust: float = Field(
        0.5, ge=0, le=1, description="Boxes found again less than this (mean overlap) become ignore regions."
    )
    min_trust_by_class: dict[str, float] = Field(
        default_factory=dict, description="Class of the camera -> its own min_trust."
    )
    trust_scale: float = Field(0.7, ge=0.2, le=0.95, description="Size of the frames' content in the smaller view.")
    trust_gap_s: float = Field(2.0, gt=0, description="Frames further away than this are no neighbours.")
    list_worst: int = Field(20, ge=0, description="Most boxes listed for a person to look at; of little trust first.")
    tracks: TrackRules = Field(TrackRules(), description="Repair of labels along tracks.")
    batch_size: int = Field(4, ge=1, description="Images that go through the network at once.")
    backend: Backend = Field(
        "auto",
        description="Engine of the network on a CPU: torch, or openvino, which exports it on the spot; auto: openvino "
        "from 500 frames on.",
    )
    precision: Precision = Field(
        "auto",
        description="Type that the network computes in; auto: float32 on a CPU, bfloat16 or float16 on a GPU.",
    )

    @model_validator(mode="after")
    def _thresholds_are_in_order(self) -> Self:
        if self.doubtful_score > self.min_score:
            raise ValueError(
                f"doubtful_score must not exceed min_score, found {self.doubtful_score} above {self.min_score}"
            )
        for name, value in self.min_score_by_class.items():
            if not self.doubtful_score <= value <= 1:
                raise ValueError(
                    f"min_score_by_class must lie between doubtful_score ({self.doubtful_score}) and 1, found {value} "
                    f"for '{name}'"
                )
        for name, value in self.min_trust_by_class.items():
            if not 0 <= value <= 1:
                raise ValueError(f"min_trust_by_class must lie between 0 and 1, found {value} for '{name}'")
        return self
