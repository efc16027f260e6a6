"""Configuration of the recall-replay stage."""

from __future__ import annotations

from pydantic import Field

from dataset_culling.config import StageConfig


class RecallReplayConfig(StageConfig):
    """Kept nights of the camera and its human check set, fetched once for the whole run."""

    camera: str = Field("camera", pattern=r"^[a-z0-9][a-z0-9-]*$", description="The camera's name.")
    registry: str = Field("", description="Folder or s3:// prefix of the registry; empty: no nights.")
    classes: tuple[str, ...] = Field(
        ("person", "car"), min_length=1, description="The camera's classes; nights without all of them are left out."
    )
    champion: bool = Field(False, description="Fetch the champion, too; a run sets it if train_student.start needs it.")
    most_nights: int = Field(14, ge=0, le=999, description="Most nights to fetch, the newest ones; 0: none.")
