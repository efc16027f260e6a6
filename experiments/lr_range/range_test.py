"""The learning-rate range test: raise the rate from step to step and look where the loss falls, and where it breaks.

S = steps taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dataset_culling.types import FloatArray

BROKEN = 4.0
"""The test ends when the loss, smoothed over the last steps, is so many times as large as it was at its least."""
MARGIN = 10.0
"""A rate that trains for long is so many times as small as the one at which the loss breaks within a step or two."""


@dataclass(frozen=True, slots=True)
class RangeTest:
    """Result of a range test."""

    rates: FloatArray  # (S,) ascending
    losses: FloatArray  # (S,) of each step, before it was taken; the last one may not be finite
    smooth: FloatArray  # (S,) mean over neighbouring steps; not finite where the loss is not
    steepest: float  # the rate at which the loss falls quickest; 0: it never falls
    diverges: float  # the rate from which on the loss is above its beginning for good; 0: none was met

    @property
    def suggested(self) -> float:
        """The rate of steepest descent, but no more than a tenth of the one that diverges; 0: nothing was learnt."""
        return min(self.steepest, self.diverges / MARGIN) if self.diverges else self.steepest


def range_rates(low: float, high: float, steps: int) -> FloatArray:
    """Rates from `low` to `high`, each the same factor above the one before, shape (steps,).

    Raises:
        ValueError: If `low` is not above 0 and below `high`, or there are fewer than 10 steps to tell a slope from.
    """
    if not 0 < low < high:
        raise ValueError(f"low must be above 0 and below high, got {low:g} and {high:g}")
    if steps < 10:
        raise ValueError(f"steps must be at least 10, got {steps}")
    return np.geomspace(low, high, steps)


def range_test(step: Callable[[float], float], rates: FloatArray) -> RangeTest:
    """Take a step at every rate until the loss breaks, and say what it did.

    Args:
        step: Takes one step at a learning rate; returns the loss before it.
        rates: Ascending, shape (R,); no more are asked for once the loss is broken or not finite.

    Raises:
        ValueError: If the loss is not finite at the first rate.

    Source:
        Smith, Cyclical Learning Rates for Training Neural Networks (arXiv:1506.01186), section 3.3. That the rates
        rise by factors, and that the steepest fall is the one to take, has become usage since.
    """
    losses: list[float] = []
    least = math.inf
    for rate in rates.tolist():
        losses.append(float(step(rate)))
        if not math.isfinite(losses[-1]):
            break
        lately = float(np.mean(losses[-5:]))
        if len(losses) >= 5:
            least = min(least, lately)
        if lately > BROKEN * least:
            break
    if not math.isfinite(losses[0]):
        raise ValueError(f"the loss must be finite at the first rate, got {losses[0]}")
    return judge(rates[: len(losses)], np.array(losses), complete=len(losses) == len(rates))


def judge(rates: FloatArray, losses: FloatArray, *, complete: bool = True) -> RangeTest:
    """Find the rates of a range test in its losses.

    Args:
        rates: Ascending by equal factors, shape (S,).
        losses: One for each rate, shape (S,); none but the last may be other than finite.
        complete: Whether all rates that were meant to be tried were; else the last one broke the loss.
    """
    num_finite = int(np.isfinite(losses).sum())
    means = smoothed(losses[:num_finite], width=max(3, len(losses) // 10 | 1))
    smooth = np.concatenate([means, losses[num_finite:]])  # what is not finite spoils none of its neighbours
    finite = np.isfinite(smooth)
    lowest = int(np.argmin(np.where(finite, smooth, np.inf)))
    steepest = 0.0
    if lowest > 0:
        slope = np.gradient(smooth[: lowest + 1])
        place = int(np.argmin(slope))
        steepest = float(rates[place]) if slope[place] < 0 else 0.0
    above = ~finite | (np.where(finite, smooth, np.inf) > smooth[0])
    above[: lowest + 1] = False
    diverges = 0.0
    if not complete or above[-1]:
        # From the end back to where it was last no worse than at the beginning.
        fine = np.flatnonzero(~above)
        diverges = float(rates[min(int(fine[-1]) + 1, len(rates) - 1)])
    return RangeTest(rates, losses, smooth, steepest, diverges)


def smoothed(losses: FloatArray, *, width: int) -> FloatArray:
    """Means over `width` neighbours, an odd number; over fewer, and as many on either side, at the ends.

    A mean of past steps alone would be late, and so would the rates that are read from it.
    """
    half = width // 2
    found = np.empty(len(losses))
    for place in range(len(losses)):
        reach = min(half, place, len(losses) - 1 - place)
        found[place] = losses[place - reach : place + reach + 1].mean()
    return found
