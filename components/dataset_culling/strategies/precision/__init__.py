"""Precision: keep the frames on which student and teacher differ most (paper, section 2.1). See README.md.

The loss itself is in `strategies/precision_loss.py`, because `coverage` and `confidence+precision` use it as well.
"""

from __future__ import annotations

import numpy as np

from dataset_culling.strategies.base import CullInput
from dataset_culling.strategies.precision_loss import PrecisionConfig, keep_worst
from dataset_culling.types import Selection


def select(
    pool: CullInput, *, budget: int, min_gap_s: float = 0.0, rng: np.random.Generator, config: PrecisionConfig
) -> Selection:
    """Keep the frames on which the student does worst. See `base.Select`."""
    del rng
    return keep_worst(pool, budget=budget, min_gap_s=min_gap_s, config=config)
