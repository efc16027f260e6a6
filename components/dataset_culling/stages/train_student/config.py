"""Knobs of the train-student stage."""

from __future__ import annotations

from pydantic import Field

from dataset_culling.config import StageConfig
from dataset_culling.detectors.base import DetectorRef
from dataset_culling.training.recipe import Recipe


class TrainStudentConfig(StageConfig):
    """The student learns from the teacher's labels of the culled frames."""

    student: DetectorRef = Field(DetectorRef(name="tiny"), description="The student that training starts from.")
    classes: tuple[str, ...] = Field(
        ("person", "car"), min_length=1, description="The camera's classes: NAME, or NAME=THEIRS+THEIRS."
    )
    checkpoints: str = Field(
        "",
        description="Folder or s3://bucket/prefix for the state of an unfinished training; empty: the task's scratch "
        "(CULLING_SCRATCH, CULLING_SCRATCH_URI), nowhere if there is none.",
    )
    checkpoint_every_s: float = Field(
        300.0, ge=0, description="Least seconds between two checkpoints inside an epoch; 0: after every step."
    )
    recipe: Recipe = Field(Recipe(), description="How it learns.")
