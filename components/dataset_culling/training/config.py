"""Options of training, shared by every stage that trains a student."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from dataset_culling.config import StageConfig
from dataset_culling.detectors.base import DetectorRef
from dataset_culling.training.recipe import Recipe


class TrainingConfig(StageConfig):
    """The student, its classes and the recipe."""

    student: DetectorRef = Field(DetectorRef(name="tiny"), description="The student that training starts from.")
    classes: tuple[str, ...] = Field(
        ("person", "car"), min_length=1, description="The camera's classes: NAME, or NAME=THEIRS+THEIRS."
    )
    teacher: DetectorRef = Field(
        DetectorRef(name="tiny_teacher"),
        description="Detector whose feature maps the student follows with recipe.techniques.distillation.",
    )
    recipe: Recipe = Field(Recipe(), description="Options of the training.")
    start: Literal["base", "champion"] = Field(
        "base", description="Start of the training: the base student, or the camera's champion if it fits."
    )
    replay_share: float = Field(
        0.5, ge=0, le=10, description="Frames of earlier nights mixed in, at most, for each of tonight's; 0: none."
    )
    checkpoints: str = Field(
        "",
        description="Folder or s3://bucket/prefix for the state of an unfinished training; empty: the task's scratch "
        "(CULLING_SCRATCH, CULLING_SCRATCH_URI), else nowhere.",
    )
    checkpoint_every_s: float = Field(
        300.0, ge=0, description="Least seconds between two checkpoints inside an epoch; 0: after every step."
    )

    @model_validator(mode="before")
    @classmethod
    def _one_process(cls, values: Any) -> Any:
        """Accept the option `processes` of earlier releases where it asks for one process."""
        if not isinstance(values, Mapping) or "processes" not in values:
            return values
        values = dict(values)
        if (asked := values.pop("processes")) not in (0, 1):
            raise ValueError(
                f"processes: one process trains a camera's student, found {asked!r}. Leave processes out; train "
                f"several cameras at once instead."
            )
        return values
