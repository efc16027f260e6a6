"""Entropy of the student's scores: the classical measure of active learning. See README.md beside this."""

from __future__ import annotations

import numpy as np

from dataset_culling.strategies.base import CullInput, Float64Array
from dataset_culling.strategies.doubt import DoubtConfig, select_by_box
from dataset_culling.types import FloatArray, Selection


def box_entropy(scores: FloatArray) -> Float64Array:
    """Binary entropy in bits, -x log2 x - (1 - x) log2 (1 - x): 0 for sure, 1 at a score of 0.5.

    Args:
        scores: Shape (M,), 0 to 1.

    Returns:
        Shape (M,).
    """
    x = np.asarray(scores, np.float64)
    both = np.stack([x, 1 - x])
    return np.asarray(-(both * np.log2(both, out=np.zeros_like(both), where=both > 0)).sum(axis=0))


def select(
    pool: CullInput, *, budget: int, min_gap_s: float = 0.0, rng: np.random.Generator, config: DoubtConfig
) -> Selection:
    """Keep the frames whose boxes have the highest entropy; see `base.Select`."""
    del rng
    return select_by_box(pool, box_entropy, "entropy", budget=budget, min_gap_s=min_gap_s, config=config)
