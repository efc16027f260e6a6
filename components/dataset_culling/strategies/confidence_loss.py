"""The paper's confidence loss: the student's uncertainty by its own scores (section 2.1). See confidence/README.md.

N = frames, M = boxes over all frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from dataset_culling.strategies.base import Aggregation, BoxFilter, Float64Array, gather, require_scored
from dataset_culling.types import Detections, FloatArray

LogBase = Literal["e", "2", "10"]

Q, B = 3.0, 0.5
"""The paper's constants."""

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "paper": {},
    "released": {"q": 4.0, "log_base": "10", "min_score": 0.5, "min_side_px": 20.0, "per_class": True},
}
"""Options by preset, over the defaults below. paper: the formula as printed. released: the options of its code."""


class ConfidenceConfig(BoxFilter):
    """The confidence loss, and the way in which a frame's boxes add up."""

    preset: Literal["default", "paper", "released"] = Field(
        "default", description="Source of the defaults of the other options."
    )
    q: float = Field(Q, ge=0, description="Q: weight of middling scores against high ones.")
    b: float = Field(B, description="b: added for every box; it changes the ranking only with aggregation sum.")
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


def confidence_loss(scores: FloatArray, *, q: float = Q, b: float = B, log_base: LogBase = "e") -> Float64Array:
    """Compute the difficulty of each detection from its score alone.

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


def box_losses(detections: Detections, config: ConfidenceConfig) -> Float64Array:
    """Compute the confidence loss of each box, shape (M,), whether it counts or not."""
    return confidence_loss(detections.scores, q=config.q, b=config.b, log_base=config.log_base)


def frame_loss(detections: Detections, config: ConfidenceConfig | None = None) -> Float64Array:
    """Compute the confidence loss of each frame, shape (N,); 0 for a frame in which no box counts.

    Raises:
        ValueError: If a frame was not scored, a score lies outside 0..1 or a class weight names an unknown class.
    """
    config = config or ConfidenceConfig()
    require_scored(detections)
    return gather(
        detections, box_losses(detections, config), config.mask(detections),
        aggregation=config.aggregation, per_class=config.per_class, class_weights=config.class_weights,
    )  # fmt: skip
