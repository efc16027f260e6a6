"""The cost model behind the paper's Table 1, and the plan for a budget.

hours = (N s + P t + n A E k) / 3600: N frames seen by the student at s seconds each, P of them labelled by the teacher
at t seconds each, n of them trained on for E epochs in A variants (the frame and its mirror image) at k seconds a step.

Source: Yoshioka et al., Dataset Culling, ICIP 2019 (arXiv:1902.00173), Table 1; s, t and k are derived from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from pydantic import Field, model_validator

from dataset_culling.config import StageConfig
from dataset_culling.errors import ConfigError


class CostRates(StageConfig):
    """Seconds of one unit of work on one machine, and the passes over each frame in training."""

    student_s: float = Field(gt=0, description="Seconds for the student to score one frame.")
    teacher_s: float = Field(gt=0, description="Seconds for the teacher to label one frame.")
    step_s: float = Field(gt=0, description="Seconds to train on one frame once.")
    epochs: int = Field(20, ge=1, description="Times each kept frame is trained on.")
    variants: int = Field(2, ge=1, description="Versions of a frame within one epoch: 2 where flips double the set.")


PAPER_RATES = CostRates(student_s=0.064, teacher_s=0.333, step_s=0.098, epochs=20, variants=2)
"""One K80, a ResNet-18 student and a ResNet-101 teacher; fitted to Table 1's surveillance rows."""
PAPER_POOL = 3_560
"""Frames labelled in Table 1's surveillance rows: 0.33 h of teacher time whatever the target size."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of each part; without a cull, the student scores no frame and the teacher labels all."""

    student_s: float
    teacher_s: float
    training_s: float

    @property
    def total_s(self) -> float:
        """Sum of all parts."""
        return self.student_s + self.teacher_s + self.training_s

    def hours(self) -> tuple[float, float, float, float]:
        """Return training, student, teacher and total hours: the rows of Table 1."""
        return self.training_s / 3600, self.student_s / 3600, self.teacher_s / 3600, self.total_s / 3600


def training_seconds(frames: int, rates: CostRates) -> float:
    """Compute the seconds of training on `frames` frames."""
    return frames * rates.variants * rates.epochs * rates.step_s


def culled_cost(frames: int, pool: int, target: int, rates: CostRates) -> Cost:
    """Compute the cost of scoring `frames`, labelling `pool` of them and training on `target`.

    Raises:
        ValueError: Unless frames >= pool >= target >= 0.
    """
    if not frames >= pool >= target >= 0:
        raise ValueError(f"frames, pool and target must fall, got {frames}, {pool} and {target}")
    return Cost(frames * rates.student_s, pool * rates.teacher_s, training_seconds(target, rates))


def full_cost(frames: int, rates: CostRates) -> Cost:
    """Compute the cost of labelling and training on every frame."""
    return Cost(0.0, frames * rates.teacher_s, training_seconds(frames, rates))


def projected_full_training_seconds(frames: int, rates: CostRates) -> float:
    """Project the seconds of labelling and training on all frames; this was not measured."""
    return full_cost(frames, rates).total_s


class PlanRequest(StageConfig):
    """Footage, budget and bounds of a plan."""

    frames: int = Field(ge=1, description="Frames in the footage at its rate.")
    budget_s: float = Field(gt=0, description="Seconds of machine time that may be spent.")
    pool_factor: float = Field(4.0, ge=1, description="Frames labelled for each frame trained on.")
    least_target: int = Field(16, ge=1, description="Fewest frames worth training on.")
    most_target: int = Field(1024, ge=1, description="Most frames worth training on: accuracy saturates long before.")

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        if self.least_target > self.most_target:
            raise ValueError(f"least_target must not exceed most_target, found {self.least_target}")
        return self


@dataclass(frozen=True, slots=True)
class Plan:
    """A division of the budget, with its cost."""

    frames: int  # frames scored; fewer than requested if scoring all costs too much
    pool: int
    target: int
    cost: Cost
    full: Cost  # labelling and training on every requested frame
    reason: str

    @property
    def speedup(self) -> float:
        """Cost of training on everything, divided by the cost of this plan."""
        return self.full.total_s / self.cost.total_s


def plan(request: PlanRequest, rates: CostRates) -> Plan:
    """Find the largest target that fits the budget; score fewer frames only if not even the least target fits.

    Raises:
        ConfigError: If the least target costs more than the budget even when only its own pool is scored.
    """
    budget, frames = request.budget_s, request.frames
    for_each = request.pool_factor * rates.teacher_s + training_seconds(1, rates)
    most = min(request.most_target, frames)
    least = min(request.least_target, frames)
    target = min(most, int((budget - frames * rates.student_s) / for_each))
    while target >= least:
        cost = culled_cost(frames, _pool(target, frames, request), target, rates)
        if cost.total_s <= budget:
            reason = "the most frames worth training on" if target == most else "the most that the budget allows"
            return Plan(frames, _pool(target, frames, request), target, cost, full_cost(frames, rates), reason)
        target -= 1
    pool = _pool(least, frames, request)
    left = budget - pool * rates.teacher_s - training_seconds(least, rates)
    scored = min(frames, int(left / rates.student_s))
    if scored < pool:
        needed = culled_cost(pool, pool, least, rates).total_s
        raise ConfigError(
            f"plan: expected a budget of at least {needed / 60:.1f} minutes to train on {least} frames, found "
            f"{budget / 60:.1f}. Raise the budget, or lower least_target, pool_factor or the number of epochs."
        )
    reason = f"scoring all {frames} frames costs too much: every {frames / scored:.1f}th is scored"
    return Plan(scored, pool, least, culled_cost(scored, pool, least, rates), full_cost(frames, rates), reason)


def _pool(target: int, frames: int, request: PlanRequest) -> int:
    return min(frames, max(target, round(request.pool_factor * target)))


def cost_table(
    frames: int, targets: Sequence[int], rates: CostRates, *, pool: int = 0, pool_factor: float = 4.0
) -> list[Plan]:
    """Compute rows as in Table 1: the cost of each target size, and of the full data set.

    Args:
        frames: Frames in the footage.
        targets: Target sizes; those above `frames` are left out.
        rates: Seconds of each unit of work.
        pool: Frames labelled, the same for every target, as in the paper; 0: `pool_factor` times the target.
        pool_factor: Frames labelled for each frame trained on, where `pool` is 0.
    """
    rows = []
    for target in targets:
        if target <= frames:
            labelled = min(frames, max(target, pool or round(pool_factor * target)))
            cost = culled_cost(frames, labelled, target, rates)
            rows.append(Plan(frames, labelled, target, cost, full_cost(frames, rates), "asked for"))
    return rows
