"""Options of the cyclical learning rate."""

from __future__ import annotations

from pydantic import Field

from dataset_culling.training.techniques.base import TechniqueConfig


class CyclicalConfig(TechniqueConfig):
    """A learning rate that rises and falls linearly, in place of `recipe.schedule`."""

    enabled: bool = Field(False, description="Turn it on.")
    cycle_epochs: float = Field(4.0, gt=0, description="Epochs of one rise and fall.")
    floor: float = Field(0.25, ge=0, le=1, description="Lowest rate, as a share of the peak.")
