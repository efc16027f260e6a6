"""Configuration of the keep-night stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dataset_culling.config import StageConfig


class KeepNightConfig(StageConfig):
    """Frames of tonight that stay in the registry, for training and evaluation of later nights."""

    camera: str = Field("camera", pattern=r"^[a-z0-9][a-z0-9-]*$", description="The camera's name.")
    registry: str = Field("", description="Folder or s3:// prefix of the registry; empty: nothing is kept.")
    keep: Literal["trusted", "always", "never"] = Field(
        "trusted",
        description="trusted: only a night whose labels the promotion gate trusts, as a broken teacher would spoil all "
        "later nights; always: every night; never: no night.",
    )
    train_frames: int = Field(32, ge=0, description="Most training frames to keep, evenly over time.")
    heldout_frames: int = Field(32, ge=0, description="Most held-out frames to keep, evenly over time.")
    most_nights: int = Field(
        14, ge=1, le=999, description="Most nights to keep; of more, the older of the two most similar is removed."
    )
