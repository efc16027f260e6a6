"""Selective-Backprop: a forward pass without gradients decides which images of a batch get a backward pass.

B = images in a batch, K = images of it that are trained on, R = losses remembered.

Source:
    Jiang et al., Accelerating Deep Learning by Focusing on the Biggest Losers (arXiv:1910.00762): the probability of an
    image is its loss's percentile among recent losses, to the power beta. Venigalla, MosaicML, Selective Backprop
    (2021): start, end, interrupt, and `keep`, which fixes both how many images are kept and beta = 1 / keep - 1. Cai,
    Duan and Agarwal, Faster Training by Automatically Selecting the Best Training Data (2022): both, for detection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dataset_culling.detectors.torch_base import Target
from dataset_culling.training.hooks import State, Technique, Training
from dataset_culling.training.techniques.selective_backprop.config import SelectiveBackpropConfig, num_kept

Float64Array = npt.NDArray[np.float64]

HISTORY = 1024
"""Losses remembered, as in Jiang et al.; fewer where there are fewer images, as losses of an epoch ago were higher."""


class SelectiveBackprop(Technique):
    """Chooses images by their losses and remembers those for the next choice."""

    config: SelectiveBackpropConfig

    def __init__(self, config: SelectiveBackpropConfig, training: Training) -> None:
        super().__init__(config, training)
        self._most = min(HISTORY, len(training.samples))
        self.history: Float64Array = np.zeros(0)

    def chooses(self, epoch: int, place: int, num_images: int) -> bool:
        """Return True if images of a batch are chosen; epochs and batches count from 0 (Cai et al., Algorithm 1)."""
        whole = self.config.interrupt and place % self.config.interrupt == 0
        few = num_kept(num_images, self.config.keep) == num_images
        return self.config.selects(epoch, self.training.recipe.epochs) and not whole and not few

    def choose(self, losses: Float64Array) -> list[int]:
        """Draw the places in the batch to train on, ascending; losses (B,) are finite."""
        self.history = np.concatenate([self.history, losses])[-self._most :]
        return draw(percentiles(losses, self.history), self.config.keep, self.training.random)

    def choose_images(self, images: Tensor, targets: Sequence[Target], *, epoch: int, place: int) -> list[int] | None:
        """Choose by the images' losses; None where they are not finite, which the loop reports."""
        if not self.chooses(epoch, place, len(images)):
            return None
        with torch.inference_mode(), self.training.computing(compute=self.training.compute):
            losses = self.training.detector.losses_by_image(images, targets).double().cpu().numpy()
        return self.choose(losses) if np.isfinite(losses).all() else None

    def finish(self) -> None:
        """Note if no batch was chosen from."""
        if len(self.history):
            return
        config, epochs = self.config, self.training.recipe.epochs
        why = "interrupt left each whole, it was too small, or early stop left out its epoch"
        if not any(config.selects(epoch, epochs) for epoch in range(epochs)):
            why = f"none of the {epochs} epochs is between start {config.start:g} and end {config.end:g}"
        self.training.notes.append(f"selective_backprop chose from no batch: {why}")

    def state(self) -> State:
        """Return the losses remembered."""
        return {"history": torch.from_numpy(self.history)}

    def restore(self, state: State) -> None:
        """Continue from the losses remembered."""
        self.history = state["history"].numpy()

    def figures(self) -> Mapping[str, float]:
        """Return the seconds that an epoch with selection saves."""
        return {"t_diff_s": t_diff_s(self.config, self.training.recipe.epochs, self.training.epoch_s)}

    def card(self) -> Mapping[str, Any]:
        """Return the images that each epoch trained on."""
        return {"images_backpropagated": list(self.training.images)}


def percentiles(losses: Float64Array, history: Float64Array) -> Float64Array:
    """Compute where losses stand among those remembered: the share that is smaller, equal ones counted half.

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
    """Draw images without replacement, each time with probability proportional to percentile ** (1 / keep - 1).

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


def t_diff_s(config: SelectiveBackpropConfig, epochs: int, epoch_s: Sequence[float]) -> float:
    """Compute mean seconds of the epochs without selection, less those with; 0 where either are missing.

    Args:
        config: The options.
        epochs: Of the recipe.
        epoch_s: Seconds of each epoch, from the first on.
    """
    inside = [seconds for epoch, seconds in enumerate(epoch_s) if config.selects(epoch, epochs)]
    outside = [seconds for epoch, seconds in enumerate(epoch_s) if not config.selects(epoch, epochs)]
    return float(np.mean(outside) - np.mean(inside)) if inside and outside else 0.0
