"""Least confidence: one minus the student's score. See README.md."""

from __future__ import annotations

import numpy as np

from dataset_culling.strategies.base import Float64Array
from dataset_culling.strategies.uncertainty import rank_by_box
from dataset_culling.types import FloatArray


def box_uncertainty(scores: FloatArray) -> Float64Array:
    """Compute 1 - x for scores (M,)."""
    return np.asarray(1 - np.asarray(scores, np.float64))


select = rank_by_box(box_uncertainty, "low scores")
