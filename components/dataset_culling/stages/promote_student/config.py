"""Knobs of the promote-student stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dataset_culling.config import StageConfig


class PromoteStudentConfig(StageConfig):
    """The candidate becomes the camera's champion when it is better than what is there."""

    camera: str = Field("camera", pattern=r"^[a-z0-9][a-z0-9-]*$", description="The camera's name.")
    registry: str = Field("", description="Folder or s3:// prefix of the registry; empty: decide, but keep nothing.")
    min_gain: float = Field(
        0.0, ge=0, le=1, description="Least gain of mAP@50 (0 to 1) over the raw student or the champion; never none."
    )
    significant: bool = Field(
        True, description="Whether the gain's 95 % block-bootstrap interval must lie above zero, as a whole."
    )
    max_fall: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Most that AP@50 may fall for a class, or mAP@50 in an hour, on a kept night or on the check set.",
    )
    min_objects: int = Field(
        30, ge=0, description="True boxes that a class, an hour or a night must hold to be judged by itself."
    )
    check_set: Literal["if-there", "demand"] = Field(
        "if-there", description="demand: nothing is promoted for a camera without a human check set."
    )
    mode: Literal["auto", "dry-run", "manual"] = Field(
        "auto",
        description="auto: move the pointer if the candidate is better; manual: only publish it, a person moves the "
        "pointer; dry-run: only say what auto would do.",
    )
