"""Figures by hour of day, because a student that is good on average may fail at night."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dataset_culling.evaluation.coco import Evaluation, evaluate
from dataset_culling.types import Detections, IntArray

HOUR_S = 3600.0


def evaluate_by_hour(detections: Detections, truth: Detections, *, start_hour: float = 0.0) -> dict[int, Evaluation]:
    """Compute COCO's figures for each hour of the day in the footage.

    Args:
        detections: Boxes of N frames.
        truth: Boxes of the same frames, taken as true.
        start_hour: Time of day at which the footage starts, 0..24.

    Returns:
        Hour (0..23) -> figures of its frames, by hour; frames of several days count together.

    Raises:
        ValueError: If frames or classes differ.
    """
    hours = hours_of(truth.time_s, start_hour=start_hour)
    return {
        int(hour): evaluate(
            detections.take(detections.rows_of(truth.frame_ids[hours == hour])),
            truth.take(np.flatnonzero(hours == hour)),
        )
        for hour in np.unique(hours)
    }


def hours_of(time_s: npt.NDArray[np.float64], *, start_hour: float) -> IntArray:
    """Compute the hour of the day, 0..23, of each time since the start of the footage, shape (N,)."""
    return np.floor(time_s / HOUR_S + start_hour).astype(np.int64) % 24
