"""Configuration of the score-frames stage."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from dataset_culling.detectors.base import Backend, DetectorRef, Precision
from dataset_culling.inference.log_config import LogConfig


class ScoreFramesConfig(LogConfig):
    """The raw student scores every frame of the pool."""

    student: DetectorRef = Field(DetectorRef(name="tiny"), description="The student, untrained on this camera.")
    classes: tuple[str, ...] = Field(
        ("person", "car"), min_length=1, description="The camera's classes: NAME, or NAME=THEIRS+THEIRS."
    )
    features: bool = Field(
        False,
        description="Keep an embedding of each frame, from the same forward pass, for the strategy coverage; about a "
        "kilobyte a frame.",
    )
    feature_maps: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (),
        description="Numbers of the student's feature maps that `features` average, from 0; empty: all. "
        "`python -m experiments.embeddings` ranks them for a camera.",
    )
    batch_size: int = Field(8, ge=1, description="Images in a batch.")
    backend: Backend = Field(
        "auto",
        description="Runtime on a CPU: torch, or openvino, which needs an export first; auto: openvino from 500 frames "
        "on.",
    )
    precision: Precision = Field(
        "auto", description="Number format of the network; auto: float32 on a CPU, bfloat16 or float16 on a GPU."
    )

    @model_validator(mode="after")
    def _a_log_has_no_features(self) -> Self:
        if self.logged and self.features:
            raise ValueError("features need every frame scored: set logged to '' or features to false")
        return self

    @model_validator(mode="after")
    def _maps_are_of_features(self) -> Self:
        if self.feature_maps and not self.features:
            raise ValueError("feature_maps selects the maps of features: set features to true, or feature_maps to []")
        if len(set(self.feature_maps)) < len(self.feature_maps):
            raise ValueError(f"feature_maps must name each map once, found {list(self.feature_maps)}")
        return self
