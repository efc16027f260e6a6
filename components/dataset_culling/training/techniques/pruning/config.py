"""Options of joint training and pruning."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from dataset_culling.training.techniques.base import TechniqueConfig


class PruningConfig(TechniqueConfig):
    """Neurons that training does not need become zero and leave the model. R-CNNs and YOLOX."""

    switch: ClassVar[str] = "strength"

    strength: float = Field(0.0, ge=0, le=100, description="Strength of the group Lasso; 0 turns it off.")
    l1_share: float = Field(
        0.0, ge=0, le=1, description="Share of the strength that is a Lasso on single weights (sparse group Lasso)."
    )
