"""Base of the techniques' options. Imports no torch, as the command line reads options."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from pydantic import Field

from dataset_culling.config import StageConfig


class TechniqueConfig(StageConfig):
    """Options of one technique, which is off while the option `switch` is 0, false or empty."""

    switch: ClassVar[str] = "enabled"
    chooses_batches: ClassVar[bool] = False  # at most one such technique is on
    needs_teacher: ClassVar[bool] = False

    @property
    def is_on(self) -> bool:
        """True if the option `switch` is set."""
        return bool(getattr(self, self.switch))

    def problem(self, *, batch_size: int, others: Collection[str]) -> str:
        """Return why these options cannot be used, for an error message; empty if they can.

        Args:
            batch_size: Images per step.
            others: Names of the other techniques that are on.
        """
        del batch_size, others
        return ""


class SubsetConfig(TechniqueConfig):
    """Options of a technique that trains on subsets."""

    chooses_batches: ClassVar[bool] = True
    method: ClassVar[str]  # its name in subset.jsonl

    warm: float = Field(0.0, ge=0, le=1, description="Share of the epochs, the first ones, that train on everything.")


class DrawnSubsetConfig(SubsetConfig):
    """Options of a technique that chooses its subsets itself."""

    enabled: bool = Field(False, description="Turn it on.")
    share: float = Field(0.3, gt=0, le=1, description="Share of the batches or frames that a subset holds.")
    every: int = Field(5, ge=1, description="Epochs that one subset is trained on.")
