"""The learning rate at every step, as a share of the peak: a pure function, so a resumed training needs no state."""

from __future__ import annotations

import math

from dataset_culling.training.recipe import Recipe


def rate(step: float, total: int, steps_per_epoch: int, recipe: Recipe, *, taken: int | None = None) -> float:
    """The learning rate of a step, as a share of the recipe's.

    Args:
        step: Counted from 0; a fraction where an epoch takes fewer steps than usual.
        total: Steps in all.
        steps_per_epoch: Steps of one epoch.
        recipe: Its schedule; warm-up multiplies whatever the schedule says.
        taken: Steps really taken, which is what warm-up counts; None: `step`.

    Returns:
        In 0..1.

    Source:
        Cosine: Loshchilov and Hutter, SGDR (arXiv:1608.03983), equation 5 without restarts and with a floor of 0.
        Cyclical: Smith, Cyclical Learning Rates (arXiv:1506.01186), the triangular policy:
        cycle = floor(1 + step / (2 half)), x = |step / half - 2 cycle + 1|, floor + (1 - floor) max(0, 1 - x).
    """
    warm = min(1.0, ((step if taken is None else taken) + 1) / (recipe.warmup_steps + 1))
    if recipe.schedule == "cosine":
        return warm * 0.5 * (1 + math.cos(math.pi * step / max(total, 1)))
    if recipe.schedule == "step":
        return warm * 0.1 ** sum(step // steps_per_epoch >= milestone for milestone in recipe.milestones)
    if recipe.schedule == "cyclical":
        half = recipe.cycle_epochs * steps_per_epoch / 2
        cycle = math.floor(1 + step / (2 * half))
        x = abs(step / half - 2 * cycle + 1)
        return warm * (recipe.cycle_floor + (1 - recipe.cycle_floor) * max(0.0, 1 - x))
    return warm
