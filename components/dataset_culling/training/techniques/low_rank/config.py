"""Options of compression-aware training."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from dataset_culling.training.techniques.base import TechniqueConfig


class LowRankConfig(TechniqueConfig):
    """Kernels learn to be of a low rank, and the model holds them as two where that is smaller. R-CNNs and YOLOX."""

    switch: ClassVar[str] = "strength"

    strength: float = Field(0.0, ge=0, le=100, description="Strength of the nuclear norm; 0 turns it off.")
    energy: float = Field(0.95, gt=0, le=1, description="Share of a kernel's squared singular values that is kept.")
