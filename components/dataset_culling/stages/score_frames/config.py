"""Configuration of the score-frames stage."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from dataset_culling.config import StageConfig
from dataset_culling.detectors.base import Backend, DetectorRef, Precision


class ScoreFramesConfig(StageConfig):
    """The raw student scores every frame of the pool."""

    student: DetectorRef = Field(DetectorRef(name="tiny"), description="The student, untrained on this camera.")
    classes: tuple[str, ...] = Field(
        ("person", "car"), min_length=1, description="The camera's classes: NAME, or NAME=THEIRS+THEIRS."
    )
    min_score: float = Field(0.05, ge=0, le=1, description="Boxes scoring less are not kept.")
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
    logged: str = Field(
        "",
        description="Detection log of the deployed student, as JSON lines: a file or s3://bucket/key. Frames with a "
        "record are not scored again. Empty: all are scored.",
    )
    logged_model: str = Field(
        "",
        description="Model in the log: the first letters of a model/1's digest, CAMERA@VERSION, or for Frigate's log "
        "the camera's name there. Empty: the only one in the log.",
    )
    logged_min_score: float = Field(
        0.5, ge=0, le=1, description="Least score in a log without one: Frigate's objects.filters.LABEL.min_score."
    )
    logged_width_px: int = Field(
        0, ge=0, description="Image width in a log without one (Frigate's detect.width); 0: the frames' width."
    )
    logged_tolerance_s: float = Field(
        0.02, ge=0, le=1, description="Largest distance in time between a record and its frame."
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
