"""Keep every frame: the ablation's 'full dataset', and a cull switched off."""

from __future__ import annotations

import numpy as np

from dataset_culling.strategies.base import CullInput, NoOptions
from dataset_culling.types import Selection


def select(
    pool: CullInput, *, budget: int, min_gap_s: float = 0.0, rng: np.random.Generator, config: NoOptions
) -> Selection:
    """Keep all frames in order, whatever the budget and the gap; see `base.Select`."""
    del budget, min_gap_s, rng, config
    return Selection(pool.detections.frame_ids, np.zeros(len(pool)), ("all are kept",) * len(pool))
