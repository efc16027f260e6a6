"""Top confidence: the frames the student is surest about, whose pseudo-labels are cleanest. See README.md."""

from __future__ import annotations

import numpy as np

from dataset_culling.strategies.base import CullInput, Float64Array
from dataset_culling.strategies.doubt import DoubtConfig, select_by_box
from dataset_culling.types import FloatArray, Selection


def box_sureness(scores: FloatArray) -> Float64Array:
    """The scores themselves, shape (M,)."""
    return np.asarray(scores, np.float64)


def select(
    pool: CullInput, *, budget: int, min_gap_s: float = 0.0, rng: np.random.Generator, config: DoubtConfig
) -> Selection:
    """Keep the frames whose boxes score most; see `base.Select`."""
    del rng
    return select_by_box(pool, box_sureness, "sure", budget=budget, min_gap_s=min_gap_s, config=config)
