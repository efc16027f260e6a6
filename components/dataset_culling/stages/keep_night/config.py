"""Knobs of the keep-night stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dataset_culling.config import StageConfig


class KeepNightConfig(StageConfig):
    """A few of tonight's labelled frames stay in the registry, for later nights to train on again and be judged on."""

    camera: str = Field("camera", pattern=r"^[a-z0-9][a-z0-9-]*$", description="The camera's name.")
    registry: str = Field("", description="Folder or s3:// prefix of the registry; empty: nothing is kept.")
    keep: Literal["trusted", "always", "never"] = Field(
        "trusted",
        description="trusted: only a night whose labels the promotion gate found at one with what is known; a broken "
        "teacher would poison every later night.",
    )
    train_frames: int = Field(32, ge=0, description="Most of the frames trained on that are kept, evenly over time.")
    heldout_frames: int = Field(32, ge=0, description="Most of the held-out frames that are kept, evenly over time.")
    most_nights: int = Field(
        14, ge=1, le=999, description="Nights that stay in all; of more, the older of the two most alike goes."
    )
