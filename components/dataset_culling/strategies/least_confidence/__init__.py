"""Least confidence: one minus the student's score. See README.md beside this."""

from __future__ import annotations

import numpy as np

from dataset_culling.strategies.base import CullInput, Float64Array
from dataset_culling.strategies.doubt import DoubtConfig, select_by_box
from dataset_culling.types import FloatArray, Selection


def box_unsureness(scores: FloatArray) -> Float64Array:
    """1 - x for each score x, shape (M,): a box scoring 0.2 is worse than one scoring 0.5."""
    return np.asarray(1 - np.asarray(scores, np.float64))


def select(
    pool: CullInput, *, budget: int, min_gap_s: float = 0.0, rng: np.random.Generator, config: DoubtConfig
) -> Selection:
    """Keep the frames whose boxes score least; see `base.Select`."""
    del rng
    return select_by_box(pool, box_unsureness, "low scores", budget=budget, min_gap_s=min_gap_s, config=config)
