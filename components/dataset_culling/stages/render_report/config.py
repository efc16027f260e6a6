"""Configuration of the stage render-report."""

from __future__ import annotations

from pydantic import Field

from dataset_culling.config import StageConfig


class RenderReportConfig(StageConfig):
    """The HTML page of a run, and summary.json."""

    camera: str = Field("camera", description="The camera's name, for the title.")
    num_pictures: int = Field(
        12, ge=0, le=60, description="Most frames in each gallery; half as many if frames are shown twice."
    )
    picture_width_px: int = Field(480, ge=120, le=1920, description="Width to which wider pictures are shrunk.")
    min_score: float = Field(
        0.3, ge=0, le=1, description="Student boxes that score less are neither drawn nor counted."
    )
    max_page_bytes: int = Field(
        1_950_000,
        ge=500_000,
        le=20_000_000,
        description="Most bytes of the page; pictures lose quality, size and number to fit it. The UI of Kubeflow "
        "Pipelines loads the page whole and needs less than 2 MB.",
    )
