"""Options for reading a deployed student's detection log. Imports nothing heavy: every configuration loads it."""

from __future__ import annotations

from pydantic import Field

from dataset_culling.config import StageConfig


class LogConfig(StageConfig):
    """Detection log to use instead of scoring."""

    min_score: float = Field(0.05, ge=0, le=1, description="Boxes scoring less are dropped.")
    logged: str = Field(
        "",
        description="Detection log of the deployed student, JSON lines: a file or s3://bucket/key. Frames with a "
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
