"""Uncertainty sampling: rank frames by one value per box score. Shared by entropy, margin, least and top confidence."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pydantic import Field

from dataset_culling.ranking import keep_hardest
from dataset_culling.strategies.base import (
    Aggregation,
    BoxFilter,
    CullInput,
    Float64Array,
    Select,
    describe_boxes,
    gather,
    selection_of,
)
from dataset_culling.types import FloatArray, Selection


class UncertaintyConfig(BoxFilter):
    """Boxes that count, and the way in which they add up."""

    aggregation: Aggregation = Field("mean", description="A frame's value is the sum, mean or maximum over its boxes.")
    class_weights: dict[str, float] = Field(
        default_factory=dict, description="Class name -> factor of its boxes' values; 1 where not named."
    )


def rank_by_box(measure: Callable[[FloatArray], Float64Array], reason: str) -> Select:
    """Make a strategy that keeps the frames whose boxes have the largest values.

    Args:
        measure: Maps scores (M,) to values (M,).
        reason: Opens the reason given for each frame.
    """

    def select(
        pool: CullInput, *, budget: int, min_gap_s: float = 0.0, rng: np.random.Generator, config: UncertaintyConfig
    ) -> Selection:
        """See `base.Select`."""
        del rng
        boxes = pool.detections
        mask, values = config.mask(boxes), measure(boxes.scores)
        loss = gather(boxes, values, mask, aggregation=config.aggregation, class_weights=config.class_weights)
        rows = keep_hardest(loss, pool.time_s, budget=budget, min_gap_s=min_gap_s)
        reasons = [f"{reason}: {describe_boxes(boxes, row, values, mask)}" for row in rows]
        return selection_of(boxes, rows, loss, reasons)

    return select
