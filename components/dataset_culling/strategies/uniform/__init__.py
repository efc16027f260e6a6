"""Keep frames evenly spread over the footage: the ablation's intermittent sampling. See README.md."""

from __future__ import annotations

import numpy as np

from dataset_culling.ranking import keep_in_order
from dataset_culling.strategies.base import CullInput, NoOptions, selection_of
from dataset_culling.types import Selection


def select(
    pool: CullInput, *, budget: int, min_gap_s: float = 0.0, rng: np.random.Generator, config: NoOptions
) -> Selection:
    """Keep the middle frame of each of `budget` equal stretches of the pool, in order. See `base.Select`."""
    del rng, config
    if budget < 1:
        raise ValueError(f"budget must be at least 1, got {budget}")
    wanted = min(budget, len(pool))
    middles = ((np.arange(wanted) + 0.5) * len(pool) / max(wanted, 1)).astype(np.int64)
    rows = keep_in_order(middles, pool.time_s, budget=budget, min_gap_s=min_gap_s)
    return selection_of(pool.detections, rows, np.zeros(len(pool)), ["evenly spread"] * len(rows))
