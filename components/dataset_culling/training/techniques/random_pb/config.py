"""Options of random subsets of fixed batches."""

from __future__ import annotations

from typing import ClassVar

from dataset_culling.training.techniques.base import DrawnSubsetConfig


class RandomPBConfig(DrawnSubsetConfig):
    """Random subsets of batches that stay as they are (RandomPB), drawn anew every few epochs."""

    method: ClassVar[str] = "random-pb"
