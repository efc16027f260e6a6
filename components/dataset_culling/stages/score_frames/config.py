"""Knobs of the score-frames stage."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

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
    feature_maps: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (),
        description="Which of the student's feature maps `features` are the means of, counted from 0; empty: all. "
        "`python -m experiments.embeddings` says which tell a camera's classes apart.",
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
    logged: str = Field(
        "",
        description="What the deployed student saw on the camera, as JSON lines: a file or s3://bucket/key. Frames "
        "with a record are not looked at again. Empty: all are.",
    )
    logged_model: str = Field(
        "",
        description="Whose boxes count: the first letters of a model/1's digest, CAMERA@VERSION, or for Frigate's log "
        "the camera's name there. Empty: the only one in the log.",
    )
    logged_min_score: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Least score in a log that does not say: Frigate's objects.filters.LABEL.min_score.",
    )
    logged_width_px: int = Field(
        0,
        ge=0,
        description="Width of the pictures in a log that does not say (Frigate's detect.width); 0: the frames'.",
    )
    logged_tolerance_s: float = Field(
        0.02, ge=0, le=1, description="A record belongs to a frame that is no further away in time than this."
    )

    @model_validator(mode="after")
    def _a_log_has_no_features(self) -> Self:
        if self.logged and self.features:
            raise ValueError("features come from looking at every frame: set logged to '' or features to false")
        return self

    @model_validator(mode="after")
    def _maps_are_of_features(self) -> Self:
        if self.feature_maps and not self.features:
            raise ValueError("feature_maps says what features are made of: set features to true, or feature_maps to []")
        if len(set(self.feature_maps)) < len(self.feature_maps):
            raise ValueError(f"feature_maps must name each map once, found {list(self.feature_maps)}")
        return self
