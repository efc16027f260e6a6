"""Grad-Match for detectors: gradients at the heads' last layers, one per fixed batch.

N = fixed batches, D = numbers in a gradient, K = chosen batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dataset_culling.training.hooks import Training
from dataset_culling.training.techniques.gradmatch.config import GradMatchConfig
from dataset_culling.training.techniques.gradmatch.matching import SKETCH, match_batches, sketch
from dataset_culling.training.techniques.subsets import Chosen, DrawnSubsets, budget_of, of_batches
from dataset_culling.types import Float32Array


class GradMatch(DrawnSubsets):
    """Cuts the samples into batches once and trains on those whose weighted gradients match the sum of all."""

    def __init__(self, config: GradMatchConfig, training: Training) -> None:
        super().__init__(config, training)
        self._batches = self.fixed_batches()
        self._budget = budget_of(config.share, len(self._batches))

    def num_steps(self, epoch: int) -> int:
        """Return the steps of an epoch, whose number is known before the batches are."""
        return super().num_steps(epoch) if epoch < self.first else self._budget

    def choose(self, since: int) -> Chosen:
        """Match gradients of the current weights."""
        gradients = batch_gradients(self.training, self._batches)
        rows, weights = match_batches(gradients, self._budget, self.draws_at(since))
        return of_batches(since, self._batches, rows, weights.tolist())


def batch_gradients(training: Training, batches: Sequence[Sequence[int]]) -> Float32Array:
    """Compute the gradient of each batch's losses at the heads' last layers, without augmentation.

    Nothing is learnt and torch's generators stay as they were. The module is left in training mode, batch norms frozen.
    float16's gradients would underflow, so float32 replaces it.

    Args:
        training: Its recipe's seed is that of each batch's own sampling.
        batches: N lists of rows, each of one input size.

    Returns:
        Gradients (N, D), D at most `matching.SKETCH`.
    """
    detector, loader, seed = training.detector, training.loader, training.recipe.seed
    device = detector.device
    compute = training.compute if training.compute is torch.bfloat16 else None
    training.freeze_batch_norms()
    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        torch.autocast(device.type, compute, enabled=compute is not None),
    ):
        torch.manual_seed(seed)
        fullest = max(batches, key=lambda rows: sum(loader.num_sure(row) for row in rows))
        layers = list(detector.last_layers(*training.plain_batch(fullest)).values())
        found: Float32Array = np.zeros(
            (len(batches), min(SKETCH, sum(one.numel() for one in _weights(layers)))), np.float32
        )
        with _only_these_learn(detector.module, layers):
            for place, rows in enumerate(batches):
                torch.manual_seed(seed)
                with parametrize.cached():  # an expanded kernel is one tensor here, whose gradient is the kernel's
                    weights = _weights(layers)
                    losses = detector.losses(*training.plain_batch(rows))
                    total = torch.stack([part.float() for part in losses.values()]).sum()
                    parts = torch.autograd.grad(total, weights, materialize_grads=True)
                found[place] = sketch(torch.cat([part.flatten().float() for part in parts]).cpu().numpy())
    return found


def _weights(layers: Iterable[nn.Module]) -> list[Tensor]:
    """Return the kernels (expanded ones as their product) and biases of the layers that learn."""
    both = [one for layer in layers for one in (layer.weight, layer.bias)]
    return [one for one in both if isinstance(one, Tensor) and one.requires_grad]


@contextmanager
def _only_these_learn(module: nn.Module, layers: Iterable[nn.Module]) -> Iterator[None]:
    """Turn off all other gradients inside, so that a forward pass keeps no maps for them."""
    these = {id(one) for layer in layers for one in layer.parameters()}
    others = [one for one in module.parameters() if one.requires_grad and id(one) not in these]
    for one in others:
        one.requires_grad_(False)
    try:
        yield
    finally:
        for one in others:
            one.requires_grad_(True)
