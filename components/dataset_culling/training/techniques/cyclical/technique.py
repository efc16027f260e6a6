"""Cyclical learning rates, the triangular policy."""

from __future__ import annotations

import math

from dataset_culling.training.hooks import Technique
from dataset_culling.training.techniques.cyclical.config import CyclicalConfig


class Cyclical(Technique):
    """Replaces the schedule.

    Source:
        Smith, Cyclical Learning Rates (arXiv:1506.01186): cycle = floor(1 + step / (2 half)),
        x = |step / half - 2 cycle + 1|, floor + (1 - floor) max(0, 1 - x).
    """

    config: CyclicalConfig

    def learning_rate_share(self, step: float, steps_per_epoch: int) -> float:
        """Return the share of the peak at a step, counted from 0."""
        half = self.config.cycle_epochs * steps_per_epoch / 2
        cycle = math.floor(1 + step / (2 * half))
        x = abs(step / half - 2 * cycle + 1)
        return self.config.floor + (1 - self.config.floor) * max(0.0, 1 - x)
