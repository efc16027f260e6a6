"""Keep every frame: the ablation's full data set, and a cull switched off. See README.md."""

from __future__ import annotations

import numpy as np

from dataset_culling.strategies.base import CullInput, NoOptions
from dataset_culling.types import Selection


def select(
    pool: CullInput, *, budget: int, min_gap_s: float = 0.0, rng: np.random.Generator, config: NoOptions
) -> Selection:
    """Keep all frames in order; ignores the budget and the gap. See `base.Select`."""
    del budget, min_gap_s, rng, config
    return Selection(pool.detections.frame_ids, np.zeros(len(pool)), ("all are kept",) * len(pool))
