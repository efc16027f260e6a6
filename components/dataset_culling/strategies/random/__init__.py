"""Keep random frames: the control that every other strategy must beat. See README.md."""

from __future__ import annotations

import numpy as np

from dataset_culling.ranking import keep_in_order
from dataset_culling.strategies.base import CullInput, NoOptions, selection_of
from dataset_culling.types import Selection


def select(
    pool: CullInput, *, budget: int, min_gap_s: float = 0.0, rng: np.random.Generator, config: NoOptions
) -> Selection:
    """Keep `budget` frames, every set equally likely when `min_gap_s` is 0. See `base.Select`."""
    del config
    rows = keep_in_order(rng.permutation(len(pool)), pool.time_s, budget=budget, min_gap_s=min_gap_s)
    return selection_of(pool.detections, rows, np.zeros(len(pool)), ["random"] * len(rows))
