"""Knobs of the train-student stage."""

from __future__ import annotations

from dataset_culling.training.config import Learning


class TrainStudentConfig(Learning):
    """The student learns from the teacher's labels of the culled frames."""
