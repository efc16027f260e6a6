"""Margin: how near the student's score is to a coin toss. See README.md beside this."""

from __future__ import annotations

import numpy as np

from dataset_culling.strategies.base import CullInput, Float64Array
from dataset_culling.strategies.doubt import DoubtConfig, select_by_box
from dataset_culling.types import FloatArray, Selection


def box_closeness(scores: FloatArray) -> Float64Array:
    """1 - |x - (1 - x)| for each score x, shape (M,): 1 at 0.5, 0 at 0 and 1."""
    return np.asarray(1 - np.abs(2 * np.asarray(scores, np.float64) - 1))


def select(
    pool: CullInput, *, budget: int, min_gap_s: float = 0.0, rng: np.random.Generator, config: DoubtConfig
) -> Selection:
    """Keep the frames whose boxes have the smallest margin between object and background; see `base.Select`."""
    del rng
    return select_by_box(pool, box_closeness, "small margin", budget=budget, min_gap_s=min_gap_s, config=config)
