"""Configuration of the choose-resolution stage."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from dataset_culling.config import StageConfig
from dataset_culling.detectors.base import DetectorRef
from dataset_culling.strategies.confidence_loss import B, Q


class ChooseResolutionConfig(StageConfig):
    """optResolution: the smallest image at which the student's confidence changes little (paper, section 2.2)."""

    student: DetectorRef = Field(DetectorRef(name="tiny"), description="The student, untrained on this camera.")
    classes: tuple[str, ...] = Field(
        ("person", "car"), min_length=1, description="The camera's classes: NAME, or NAME=THEIRS+THEIRS."
    )
    factor: float = Field(0.9, gt=0.1, lt=1, description="Ratio of each size to the one before.")
    max_steps: int = Field(7, ge=0, le=40, description="Most sizes tried below the full one.")
    max_steps_up: int = Field(
        0,
        ge=0,
        le=10,
        description="Most sizes tried above the full one; judge ap only. Each costs 1.23 times the one below it.",
    )
    judge: Literal["loss", "ap"] = Field(
        "loss",
        description="loss: the change of the confidence loss on the culled frames (the paper); ap: AP against the "
        "teacher's labels on the labelled pool, in both directions.",
    )
    tolerance: float = Field(
        0.01, ge=0, le=1, description="Judge ap: largest AP below the best size's that a smaller size may have."
    )
    threshold: float = Field(
        0.05,
        ge=0,
        description="Judge loss: largest change of the confidence loss against full size: squared differences summed "
        "over the culled frames, relative to the summed squares at full size.",
    )
    mode: Literal["stop", "curve", "off"] = Field(
        "stop",
        description="stop: end at the first size over the threshold; curve: measure them all, as judge ap always does; "
        "off: full size.",
    )
    q: float = Field(Q, ge=0, description="Q of the confidence loss.")
    b: float = Field(B, description="b of the confidence loss.")
    min_score: float = Field(0.2, ge=0, le=1, description="Boxes scoring less do not count.")
    batch_size: int = Field(8, ge=1, description="Images in a batch.")
    max_frames: int = Field(
        64,
        ge=1,
        description="Most frames to try sizes on: with judge loss the hardest of the culled ones, with judge ap evenly "
        "spread over the labelled pool.",
    )
    buckets: Literal["off", "hour", "size"] = Field(
        "off",
        description="A choice for each hour of the day, or for each size of objects, reported beside the camera's. "
        "Training and evaluation use the camera's.",
    )

    @model_validator(mode="after")
    def _the_loss_only_steps_down(self) -> Self:
        if self.max_steps_up and self.judge == "loss":
            raise ValueError(
                "max_steps_up needs judge 'ap', found judge 'loss': the loss measures the distance from full size, not "
                "which size is better"
            )
        return self
