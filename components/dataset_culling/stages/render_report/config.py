"""Knobs of the render-report stage."""

from __future__ import annotations

from pydantic import Field

from dataset_culling.config import StageConfig


class RenderReportConfig(StageConfig):
    """The page that people look at, and summary.json that machines read."""

    camera: str = Field("camera", description="The camera's name, for the title.")
    num_pictures: int = Field(
        12, ge=0, le=60, description="Most frames in each gallery; half as many where frames are shown twice."
    )
    picture_width_px: int = Field(480, ge=120, le=1920, description="Width that pictures are brought to.")
    min_score: float = Field(0.3, ge=0, le=1, description="Student boxes scoring less are not drawn, nor counted.")
    max_page_bytes: int = Field(
        1_950_000,
        ge=500_000,
        le=20_000_000,
        description="Most bytes of the page; pictures lose quality, size and number until it fits. The UI of Kubeflow "
        "Pipelines loads it whole and asks for less than 2 MB.",
    )
