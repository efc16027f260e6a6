"""Choose among students by accuracy and latency: the Pareto front, and a rule.

N = students.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dataset_culling.config import StageConfig
from dataset_culling.errors import ConfigError
from dataset_culling.types import BoolArray

Float64Array = npt.NDArray[np.float64]


class ChoiceRule(StageConfig):
    """Rule that chooses one student."""

    rule: Literal["cheapest-within", "most-accurate"] = Field(
        "cheapest-within",
        description="cheapest-within: the quickest of those within `within_points` of the best; most-accurate: the "
        "best. Both look only at students within the budget.",
    )
    within_points: float = Field(
        2.0, ge=0, le=100, description="Points of mAP@50 (of a hundred) that a quicker student may cost."
    )
    budget_ms: float = Field(0.0, ge=0, description="Most milliseconds for an image, measured here; 0: no budget.")


def pareto_front(latency_ms: Float64Array, quality: Float64Array) -> BoolArray:
    """Mark the students on the front: no other is as quick and as good, and better in one of the two.

    Args:
        latency_ms: Shape (N,); less is better.
        quality: Shape (N,); more is better.

    Returns:
        Shape (N,).

    Raises:
        ValueError: If shapes differ or a figure is not finite.
    """
    _check(latency_ms, quality)
    no_slower = latency_ms[None, :] <= latency_ms[:, None]
    no_worse = quality[None, :] >= quality[:, None]
    beats = (latency_ms[None, :] < latency_ms[:, None]) | (quality[None, :] > quality[:, None])
    return np.asarray(~(no_slower & no_worse & beats).any(axis=1))


def choose_student(latency_ms: Float64Array, quality: Float64Array, rule: ChoiceRule) -> int:
    """Choose a student by the rule; of equals the better, then the quicker, then the first.

    Args:
        latency_ms: Latency of each student, shape (N,), at least one.
        quality: mAP@50 of each, 0..1, shape (N,).
        rule: The rule.

    Returns:
        Its row, which lies on the front of the students within the budget.

    Raises:
        ValueError: If no student is given, shapes differ or a figure is not finite.
        ConfigError: If no student is within the budget.
    """
    _check(latency_ms, quality)
    if len(latency_ms) == 0:
        raise ValueError("a choice needs at least one student, got none")
    fits = latency_ms <= rule.budget_ms if rule.budget_ms else np.ones(len(latency_ms), np.bool_)
    if not fits.any():
        raise ConfigError(
            f"budget_ms {rule.budget_ms:g}: expected a student that takes no longer for an image, found "
            f"{latency_ms.min():.3g} ms as the quickest. Raise it, or name smaller candidates."
        )
    if rule.rule == "cheapest-within":
        # A point is a hundredth; the hair keeps a student in that lies on the edge but for rounding.
        fits &= quality >= quality[fits].max() - rule.within_points / 100 - 1e-9
        order = np.lexsort((-quality, latency_ms))
    else:
        order = np.lexsort((latency_ms, -quality))
    return int(order[fits[order]][0])


def _check(latency_ms: Float64Array, quality: Float64Array) -> None:
    if latency_ms.ndim != 1 or latency_ms.shape != quality.shape:
        raise ValueError(
            f"latency_ms and quality must both have shape (N,), got {latency_ms.shape} and {quality.shape}"
        )
    if not (np.isfinite(latency_ms).all() and np.isfinite(quality).all()):
        raise ValueError("latency_ms and quality must be finite")
