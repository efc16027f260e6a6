"""Options of feature distillation."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from dataset_culling.training.techniques.base import TechniqueConfig


class DistillationConfig(TechniqueConfig):
    """The student's feature maps follow the teacher's (PKD). The teacher must be a torch detector."""

    switch: ClassVar[str] = "weight"
    needs_teacher: ClassVar[bool] = True

    weight: float = Field(0.0, ge=0, le=100, description="Weight of the loss; 0 turns it off.")
