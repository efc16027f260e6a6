"""Selective-Backprop: a forward pass without gradients says which images of a batch are worth a backward pass.

B = images in a batch, K = images of it that are trained on, R = losses remembered.

Source:
    Jiang et al., Accelerating Deep Learning by Focusing on the Biggest Losers (arXiv:1910.00762): the probability of an
    image is its loss's percentile among recent losses, to the power beta. Venigalla, MosaicML, Selective Backprop
    (2021): start, end, interrupt, and `keep`, which fixes both how many images are kept and beta = 1 / keep - 1. Cai,
    Duan and Agarwal, Faster Training by Automatically Selecting the Best Training Data (2022): both, for detection.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dataset_culling.errors import ConfigError
from dataset_culling.training.recipe import Recipe, num_kept

Float64Array = npt.NDArray[np.float64]

HISTORY = 1024
"""Losses remembered, as in Jiang et al.; fewer where there are fewer images, as losses of an epoch ago were higher."""


def selects(recipe: Recipe, epoch: int) -> bool:
    """Whether Selective-Backprop is on in an epoch, counted from 0: in [start, end) of all."""
    share = epoch / recipe.epochs
    return recipe.selective_backprop and recipe.selective_start <= share < recipe.selective_end


def percentiles(losses: Float64Array, history: Float64Array) -> Float64Array:
    """Where losses stand among those remembered: the share that is smaller, equal ones counted half.

    Args:
        losses: Shape (B,).
        history: Shape (R,), the losses themselves among them.

    Returns:
        Shape (B,), above 0 and below 1.
    """
    ordered = np.sort(history)
    smaller, not_larger = (np.searchsorted(ordered, losses, side=side) for side in ("left", "right"))
    found: Float64Array = (smaller + not_larger) / (2.0 * len(history))
    return found


def draw(standing: Float64Array, keep: float, rng: np.random.Generator) -> list[int]:
    """Draw images without putting them back, each time with probability proportional to percentile ** (1 / keep - 1).

    Args:
        standing: Percentiles, shape (B,), each above 0.
        keep: Share to keep. At 0.5 the probability is proportional to the percentile; the smaller, the steeper.
        rng: The training's own.

    Returns:
        K = `num_kept` places in the batch, ascending.
    """
    weight = standing ** (1.0 / keep - 1.0)
    chosen = rng.choice(len(standing), num_kept(len(standing), keep), replace=False, p=weight / weight.sum())
    return sorted(chosen.tolist())


class Selector:
    """Chooses images by their losses, and remembers those for the next choice.

    Args:
        recipe: The knobs.
        num_samples: Images trained on in an epoch.

    Raises:
        ConfigError: If batches are so small that there is nothing to choose.
    """

    def __init__(self, recipe: Recipe, num_samples: int) -> None:
        self._recipe = recipe
        self._most = min(HISTORY, num_samples)
        self.history: Float64Array = np.zeros(0)
        if num_kept(recipe.batch_size, recipe.selective_keep) == recipe.batch_size:
            raise ConfigError(
                f"recipe.selective_backprop: expected batches of which selective_keep {recipe.selective_keep:g} leaves "
                f"out an image, found batch_size {recipe.batch_size}. Raise batch_size, lower selective_keep, or turn "
                f"it off."
            )

    def chooses(self, epoch: int, batch: int, num_images: int) -> bool:
        """Whether a batch is chosen from; epochs, and batches of each, are counted from 0 (Cai et al., Algorithm 1)."""
        whole = self._recipe.selective_interrupt and batch % self._recipe.selective_interrupt == 0
        few = num_kept(num_images, self._recipe.selective_keep) == num_images
        return selects(self._recipe, epoch) and not whole and not few

    def choose(self, losses: Float64Array, rng: np.random.Generator) -> list[int]:
        """Places in the batch, ascending, of the images to train on; losses (B,) are finite."""
        self.history = np.concatenate([self.history, losses])[-self._most :]
        return draw(percentiles(losses, self.history), self._recipe.selective_keep, rng)

    def idle(self) -> str:
        """Why no batch of a whole training was chosen from, for people; empty where one was."""
        recipe = self._recipe
        if len(self.history):
            return ""
        why = "each was left whole by selective_interrupt, was too small, or was of an epoch that early stop left out"
        if not any(selects(recipe, epoch) for epoch in range(recipe.epochs)):
            why = (
                f"none of the {recipe.epochs} epochs is between selective_start {recipe.selective_start:g} and "
                f"selective_end {recipe.selective_end:g}"
            )
        return f"selective_backprop chose from no batch: {why}"


def t_diff_s(recipe: Recipe, epoch_s: Sequence[float]) -> float:
    """How much sooner an epoch with selection ends: mean seconds of the epochs without less those of the epochs with.

    Args:
        recipe: Which says what epochs those are.
        epoch_s: Seconds of each epoch, from the first on.

    Returns:
        0 where there are no epochs of either kind.
    """
    inside = [seconds for epoch, seconds in enumerate(epoch_s) if selects(recipe, epoch)]
    outside = [seconds for epoch, seconds in enumerate(epoch_s) if not selects(recipe, epoch)]
    return float(np.mean(outside) - np.mean(inside)) if inside and outside else 0.0
