"""Entropy of the student's scores, the classical measure of active learning. See README.md."""

from __future__ import annotations

import numpy as np

from dataset_culling.strategies.base import Float64Array
from dataset_culling.strategies.uncertainty import rank_by_box
from dataset_culling.types import FloatArray


def box_entropy(scores: FloatArray) -> Float64Array:
    """Compute the binary entropy in bits of scores (M,) in 0..1: 0 at scores 0 and 1, 1 at a score of 0.5."""
    x = np.asarray(scores, np.float64)
    both = np.stack([x, 1 - x])
    return np.asarray(-(both * np.log2(both, out=np.zeros_like(both), where=both > 0)).sum(axis=0))


select = rank_by_box(box_entropy, "entropy")
