"""Confidence loss: how unsure the student is, by its own scores (paper, section 2.1). See README.md beside this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from dataset_culling.ranking import keep_hardest
from dataset_culling.strategies.base import (
    Aggregation,
    BoxFilter,
    CullInput,
    Float64Array,
    boxes_that_count,
    describe_boxes,
    gather,
    require_scored,
    selection_of,
)
from dataset_culling.types import Detections, FloatArray, Selection

LogBase = Literal["e", "2", "10"]

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "paper": {"q": 3.0, "b": 0.5, "log_base": "e", "aggregation": "sum", "min_score": 0.2, "min_side_px": 0.0,
              "per_class": False},
    "released": {"q": 4.0, "b": 0.5, "log_base": "10", "aggregation": "sum", "min_score": 0.5, "min_side_px": 20.0,
                 "per_class": True},
}  # fmt: skip
"""paper: the text as printed (it names no floor: 0.2 is the released code's). released: what its code really does."""


class ConfidenceConfig(BoxFilter):
    """The confidence loss and how a frame's boxes add up."""

    preset: Literal["default", "paper", "released"] = Field(
        "default", description="Where options that are not given come from."
    )
    q: float = Field(3.0, ge=0, description="Q: weight of the doubtful middle against sure boxes.")
    b: float = Field(0.5, description="b: what every box adds, sure or not. Only with aggregation sum does it rank.")
    log_base: LogBase = Field("e", description="Base of the logarithm.")
    aggregation: Aggregation = Field("sum", description="A frame's loss is the sum, mean or maximum over its boxes.")
    per_class: bool = Field(False, description="Divide each class by its spread over the frames before adding up.")
    class_weights: dict[str, float] = Field(
        default_factory=dict, description="Class name -> factor of its boxes' losses; 1 where not named."
    )

    @model_validator(mode="before")
    @classmethod
    def _start_from_the_preset(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and isinstance(preset := values.get("preset", "default"), str):
            return {**PRESETS.get(preset, {}), **values}
        return values


def confidence_loss(scores: FloatArray, *, q: float = 3.0, b: float = 0.5, log_base: LogBase = "e") -> Float64Array:
    """How hard each detection is, from its score alone.

    L(x) = -x log(x) Q + (1 - x) e^x / (e^x + 1) + b, and x log x is 0 at x = 0.

    Args:
        scores: Confidence of each detection, any shape, 0 to 1.
        q: Weight of the middle.
        b: Added to every detection. L(0) = 0.5 + b and L(1) = b.
        log_base: Base of the logarithm.

    Returns:
        Losses, of the same shape.

    Raises:
        ValueError: If a score lies outside 0..1 or is NaN.

    Source:
        Yoshioka et al., Dataset Culling, ICIP 2019 (arXiv:1902.00173), section 2.1, as printed.
    """
    x = np.asarray(scores, np.float64)
    if x.size and not (x.min() >= 0 and x.max() <= 1):
        raise ValueError(f"scores must lie in 0..1, got {x.min()} to {x.max()}")
    logarithm = np.log(x, out=np.zeros_like(x), where=x > 0)
    if log_base != "e":
        logarithm /= np.log(float(log_base))
    return np.asarray(-x * logarithm * q + (1 - x) / (1 + np.exp(-x)) + b)


def frame_loss(
    detections: Detections,
    *,
    q: float = 3.0,
    b: float = 0.5,
    log_base: LogBase = "e",
    aggregation: Aggregation = "sum",
    min_score: float = 0.2,
    min_side_px: float = 0.0,
    per_class: bool = False,
    class_weights: Mapping[str, float] | None = None,
) -> Float64Array:
    """The confidence loss of each frame; options as in `ConfidenceConfig`.

    Returns:
        Shape (N,); 0 for a frame in which no box counts.

    Raises:
        ValueError: If a frame was not looked at, a score is no probability or a class weight names no class.
    """
    require_scored(detections)
    losses = confidence_loss(detections.scores, q=q, b=b, log_base=log_base)
    mask = boxes_that_count(detections, min_score=min_score, min_side_px=min_side_px)
    return gather(detections, losses, mask, aggregation=aggregation, per_class=per_class, class_weights=class_weights)


def loss_of(detections: Detections, config: ConfidenceConfig) -> Float64Array:
    """`frame_loss` with its options from a config, shape (N,)."""
    return frame_loss(detections, **{name: value for name, value in dict(config).items() if name != "preset"})


def select(
    pool: CullInput, *, budget: int, min_gap_s: float = 0.0, rng: np.random.Generator, config: ConfidenceConfig
) -> Selection:
    """Keep the frames with the largest confidence loss; see `base.Select`."""
    del rng
    detections, mask = pool.detections, config.mask(pool.detections)
    boxes = confidence_loss(detections.scores, q=config.q, b=config.b, log_base=config.log_base)
    loss = gather(
        detections, boxes, mask,
        aggregation=config.aggregation, per_class=config.per_class, class_weights=config.class_weights,
    )  # fmt: skip
    rows = keep_hardest(loss, pool.time_s, budget=budget, min_gap_s=min_gap_s)
    return selection_of(
        detections, rows, loss, [f"unsure: {describe_boxes(detections, row, boxes, mask)}" for row in rows]
    )
