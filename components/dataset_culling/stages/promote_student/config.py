"""Knobs of the promote-student stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dataset_culling.config import StageConfig


class PromoteStudentConfig(StageConfig):
    """The candidate becomes the camera's champion when it is better than what is there."""

    camera: str = Field("camera", description="The camera's name.")
    registry: str = Field("", description="Folder or s3:// prefix of the registry.")
    min_gain: float = Field(0.0, ge=0, le=1, description="Least gain of mAP@50 over the raw student or champion.")
    mode: Literal["auto", "dry-run", "manual"] = Field("auto", description="Who moves the champion pointer.")
