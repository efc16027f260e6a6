"""Margin: the closeness of the student's score to one half. See README.md."""

from __future__ import annotations

import numpy as np

from dataset_culling.strategies.base import Float64Array
from dataset_culling.strategies.uncertainty import rank_by_box
from dataset_culling.types import FloatArray


def box_closeness(scores: FloatArray) -> Float64Array:
    """Compute 1 - |x - (1 - x)| for scores (M,): 1 at 0.5, 0 at 0 and 1."""
    return np.asarray(1 - np.abs(2 * np.asarray(scores, np.float64) - 1))


select = rank_by_box(box_closeness, "small margin")
