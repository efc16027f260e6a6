"""Options of ExpandNets."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from pydantic import Field

from dataset_culling.training.techniques.base import TechniqueConfig


class ExpandNetsConfig(TechniqueConfig):
    """Kernels are products of wider factors while training, and plain again in the model."""

    switch: ClassVar[str] = "rate"

    rate: int = Field(0, ge=0, le=16, description="Channels between the factors, as a multiple; 0 turns it off.")

    def problem(self, *, batch_size: int, others: Collection[str]) -> str:
        """Refuse techniques that shrink kernels."""
        del batch_size
        if {"pruning", "low_rank"} & set(others):
            return (
                f"rate: expected 0 with pruning or low_rank, which shrink kernels and not their factors, found "
                f"{self.rate}. Set one of them to 0."
            )
        return ""
