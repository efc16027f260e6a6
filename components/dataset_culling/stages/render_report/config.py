"""Knobs of the render-report stage."""

from __future__ import annotations

from pydantic import Field

from dataset_culling.config import StageConfig


class RenderReportConfig(StageConfig):
    """The page that people look at, and summary.json that machines read."""

    camera: str = Field("camera", description="The camera's name, for the title.")
    num_pictures: int = Field(12, ge=0, le=60, description="Most pictures in each gallery.")
    picture_width_px: int = Field(480, ge=120, le=1920, description="Width that pictures are brought to.")
