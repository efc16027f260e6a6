"""Knobs of the train-student stage."""

from __future__ import annotations

from pydantic import Field

from dataset_culling.stages.learning import Learning


class TrainStudentConfig(Learning):
    """The student learns from the teacher's labels of the culled frames."""

    checkpoints: str = Field(
        "",
        description="Folder or s3://bucket/prefix for the state of an unfinished training; empty: the task's scratch "
        "(CULLING_SCRATCH, CULLING_SCRATCH_URI), nowhere if there is none.",
    )
    checkpoint_every_s: float = Field(
        300.0, ge=0, description="Least seconds between two checkpoints inside an epoch; 0: after every step."
    )
