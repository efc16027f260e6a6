"""How a student learns: the knobs, shared by every stage that trains one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dataset_culling.config import StageConfig
from dataset_culling.detectors.base import DetectorRef
from dataset_culling.training.recipe import Recipe


class Learning(StageConfig):
    """Which student, which classes, which recipe."""

    student: DetectorRef = Field(DetectorRef(name="tiny"), description="The student that training starts from.")
    classes: tuple[str, ...] = Field(
        ("person", "car"), min_length=1, description="The camera's classes: NAME, or NAME=THEIRS+THEIRS."
    )
    teacher: DetectorRef = Field(
        DetectorRef(name="tiny_teacher"),
        description="Whose feature maps it follows where recipe.distillation asks for it.",
    )
    recipe: Recipe = Field(Recipe(), description="How it learns.")
    start: Literal["base", "champion"] = Field(
        "base", description="What training starts from: the student as it comes, or the camera's champion if it fits."
    )
    replay_share: float = Field(
        0.5, ge=0, le=10, description="Frames of earlier nights mixed in, at most, for each of tonight's; 0: none."
    )
    processes: int = Field(
        0,
        ge=0,
        description="Processes that train together, one for each GPU; 0: as many as there are GPUs, one on a CPU.",
    )
    checkpoints: str = Field(
        "",
        description="Folder or s3://bucket/prefix for the state of an unfinished training; empty: the task's scratch "
        "(CULLING_SCRATCH, CULLING_SCRATCH_URI), nowhere if there is none.",
    )
    checkpoint_every_s: float = Field(
        300.0, ge=0, description="Least seconds between two checkpoints inside an epoch; 0: after every step."
    )
