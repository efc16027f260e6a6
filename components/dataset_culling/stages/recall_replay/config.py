"""Knobs of the recall-replay stage."""

from __future__ import annotations

from pydantic import Field

from dataset_culling.config import StageConfig


class RecallReplayConfig(StageConfig):
    """What earlier nights of the camera left behind, and its human check set, brought here once for the whole run."""

    camera: str = Field("camera", pattern=r"^[a-z0-9][a-z0-9-]*$", description="The camera's name.")
    registry: str = Field("", description="Folder or s3:// prefix of the registry; empty: there is nothing to recall.")
    classes: tuple[str, ...] = Field(
        ("person", "car"), min_length=1, description="The camera's classes; nights kept with others are left out."
    )
    champion: bool = Field(
        False,
        description="Whether the champion is brought, too; a run lays in whether train_student.start asks for it.",
    )
    most_nights: int = Field(14, ge=0, le=999, description="Newest nights that are recalled; 0: none.")
