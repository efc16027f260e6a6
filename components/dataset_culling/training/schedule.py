"""The learning rate at every step, as a share of the peak. Pure, so a resumed training needs no state for it."""

from __future__ import annotations

import math

from dataset_culling.training.recipe import Recipe


def schedule_share(step: float, total: int, steps_per_epoch: int, recipe: Recipe) -> float:
    """Return the share of the peak rate by the recipe's schedule, 0..1, without warm-up.

    Args:
        step: Counted from 0; a fraction where an epoch takes fewer steps than usual.
        total: Steps in all.
        steps_per_epoch: Steps of one epoch.
        recipe: Its schedule.

    Source:
        Cosine: Loshchilov and Hutter, SGDR (arXiv:1608.03983), equation 5 without restarts and with a floor of 0.
    """
    if recipe.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * step / max(total, 1)))
    if recipe.schedule == "step":
        return 0.1 ** sum(step // steps_per_epoch >= milestone for milestone in recipe.milestones)
    return 1.0


def warmup_share(step: int, recipe: Recipe) -> float:
    """Return the factor of the linear warm-up at a step that is really taken, counted from 0."""
    return min(1.0, (step + 1) / (recipe.warmup_steps + 1))
