"""What the strategies share that read one value off each box's score: entropy, least and top confidence, margin."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field

from dataset_culling.ranking import keep_hardest
from dataset_culling.strategies.base import (
    Aggregation,
    BoxFilter,
    CullInput,
    Float64Array,
    describe_boxes,
    gather,
    selection_of,
)
from dataset_culling.types import FloatArray, Selection


class DoubtConfig(BoxFilter):
    """Which boxes count and how they add up."""

    aggregation: Aggregation = Field("mean", description="A frame's value is the sum, mean or maximum over its boxes.")
    class_weights: dict[str, float] = Field(
        default_factory=dict, description="Class name -> factor of its boxes' values; 1 where not named."
    )


def select_by_box(
    pool: CullInput,
    measure: Callable[[FloatArray], Float64Array],
    word: str,
    *,
    budget: int,
    min_gap_s: float,
    config: DoubtConfig,
) -> Selection:
    """Keep the frames whose boxes have the largest values.

    Args:
        pool: The frames to choose from.
        measure: Scores (M,) to values (M,).
        word: What the values mean, to open the reasons with.
        budget: Most frames to keep; at least 1.
        min_gap_s: Least seconds between two kept frames.
        config: Which boxes count and how they add up.
    """
    detections = pool.detections
    mask, values = config.mask(detections), measure(detections.scores)
    loss = gather(detections, values, mask, aggregation=config.aggregation, class_weights=config.class_weights)
    rows = keep_hardest(loss, pool.time_s, budget=budget, min_gap_s=min_gap_s)
    return selection_of(
        detections, rows, loss, [f"{word}: {describe_boxes(detections, row, values, mask)}" for row in rows]
    )
