"""Options of the train-student stage."""

from __future__ import annotations

from dataset_culling.training.config import TrainingConfig


class TrainStudentConfig(TrainingConfig):
    """The student learns from the teacher's labels of the culled frames."""
