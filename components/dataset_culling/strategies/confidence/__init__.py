"""Confidence: keep the frames with the largest confidence loss (paper, section 2.1). See README.md.

The loss itself is in `strategies/confidence_loss.py`, because `coverage` and `confidence+precision` use it as well.
"""

from __future__ import annotations

import numpy as np

from dataset_culling.ranking import keep_hardest
from dataset_culling.strategies.base import CullInput, describe_boxes, selection_of
from dataset_culling.strategies.confidence_loss import ConfidenceConfig, box_losses, frame_loss
from dataset_culling.types import Selection


def select(
    pool: CullInput, *, budget: int, min_gap_s: float = 0.0, rng: np.random.Generator, config: ConfidenceConfig
) -> Selection:
    """Keep the frames with the largest confidence loss. See `base.Select`."""
    del rng
    boxes = pool.detections
    loss = frame_loss(boxes, config)
    rows = keep_hardest(loss, pool.time_s, budget=budget, min_gap_s=min_gap_s)
    mask, losses = config.mask(boxes), box_losses(boxes, config)
    return selection_of(boxes, rows, loss, [f"unsure: {describe_boxes(boxes, row, losses, mask)}" for row in rows])
