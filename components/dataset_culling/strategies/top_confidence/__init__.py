"""Top confidence: the frames with the highest student scores, whose pseudo-labels are cleanest. See README.md."""

from __future__ import annotations

import numpy as np

from dataset_culling.strategies.base import Float64Array
from dataset_culling.strategies.uncertainty import rank_by_box
from dataset_culling.types import FloatArray


def box_confidence(scores: FloatArray) -> Float64Array:
    """Return the scores themselves, shape (M,)."""
    return np.asarray(scores, np.float64)


select = rank_by_box(box_confidence, "high scores")
