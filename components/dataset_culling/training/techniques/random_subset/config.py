"""Options of random subsets of frames."""

from __future__ import annotations

from typing import ClassVar

from dataset_culling.training.techniques.base import DrawnSubsetConfig


class RandomSubsetConfig(DrawnSubsetConfig):
    """Random subsets of frames, whose batches are made anew in every epoch."""

    method: ClassVar[str] = "random"
