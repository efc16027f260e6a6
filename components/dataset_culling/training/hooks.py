"""The interface between the training loop and techniques.

A technique is a `Technique` whose methods do nothing unless it overrides them, so plain training is a loop without
techniques. The loop calls them in the order of `techniques.table`. Modelled on composer's algorithms.

B = images in a batch, N = training samples; h, w = the network's input size.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dataset_culling.detectors.torch_base import Target, TorchDetector
from dataset_culling.training.data import Loader, TrainingSet, to_device
from dataset_culling.training.freezing import set_training_mode
from dataset_culling.training.recipe import Recipe
from dataset_culling.training.techniques.base import TechniqueConfig
from dataset_culling.types import IntArray, Subset

State = Mapping[str, Any]
"""A technique's state for a checkpoint: tensors, and values that JSON can hold."""


class Batch(NamedTuple):
    """Rows of the training set that one step trains on."""

    rows: Sequence[int]
    weight: float = 1.0  # factor of its losses


@dataclass(slots=True)
class Training:
    """The training that a technique takes part in."""

    detector: TorchDetector
    samples: TrainingSet
    loader: Loader
    recipe: Recipe
    random: np.random.Generator  # shuffling and augmentation; its state is in the checkpoint
    compute: torch.dtype | None  # autocast's type; None: float32
    steps_per_epoch: int  # of an epoch over all samples
    teacher: TorchDetector | None = None
    recorded: Sequence[Subset] = ()  # another training's subsets
    notes: list[str] = field(default_factory=list)  # for the log
    images: list[int] = field(default_factory=list)  # images that each epoch trained on
    epoch_s: list[float] = field(default_factory=list)  # seconds of each epoch's steps

    @contextmanager
    def computing(self, *, compute: torch.dtype | None) -> Iterator[None]:
        """Compute in this type inside; parametrised kernels are computed once."""
        with torch.autocast(self.detector.device.type, compute, enabled=compute is not None), parametrize.cached():
            yield

    def plain_batch(self, rows: Sequence[int]) -> tuple[Tensor, list[Target]]:
        """Load samples of one size without augmentation: images (B, 3, h, w) uint8 and targets on the device."""
        prepared = [self.loader[row] for row in rows]
        device = self.detector.device
        images = torch.stack([one.image for one in prepared]).to(device)
        return images, [to_device(one.target, device) for one in prepared]

    def freeze_batch_norms(self) -> None:
        """Put the module into training mode, batch norms into eval mode."""
        set_training_mode(self.detector.module, batch_norm="frozen", frozen=[])


class Technique:
    """A training technique. Every method here does nothing, or what plain training does.

    Args:
        config: Its options.
        training: Frozen layers are frozen already.

    Raises:
        ConfigError: If the detector or the recipe does not allow the technique.
    """

    def __init__(self, config: TechniqueConfig, training: Training) -> None:
        self.config, self.training = config, training

    # -- the model

    def before_training(self) -> None:
        """Change the model before the optimiser is made. Must not refuse: `__init__` is the place for that."""

    def learners(self) -> nn.Module | None:
        """Return further weights that learn with the student."""
        return None

    def release(self) -> None:
        """Undo what holds only while training, also after an error."""

    def finish(self) -> None:
        """Change the trained model for good, in the reverse order of the table. No saved state fits it afterwards."""

    def as_result(self, detector: TorchDetector) -> TorchDetector:
        """Return the detector as `finish` would leave it, for early stop to evaluate; a copy if it differs."""
        return detector

    # -- an epoch; of the techniques with `chooses_batches`, one is asked

    def num_steps(self, epoch: int) -> int:
        """Return the number of steps of an epoch (counted from 0) before it begins."""
        del epoch
        return self.training.steps_per_epoch

    def before_epoch(self, epoch: int) -> None:
        """Prepare an epoch, before its order is drawn. Not called where a resumed epoch continues."""

    def num_units(self, epoch: int) -> int:
        """Return how many units an epoch shuffles: samples, or batches that stay together."""
        del epoch
        return len(self.training.samples)

    def batches(self, epoch: int, order: IntArray) -> list[Batch]:
        """Return an epoch's batches; `order` is a permutation of `num_units` numbers."""
        del epoch
        return [Batch(rows) for rows in self.training.loader.batches(order, self.training.recipe.batch_size)]

    def learning_rate_share(self, step: float, steps_per_epoch: int) -> float | None:
        """Return the share of the peak learning rate instead of the recipe's schedule; None leaves it."""
        del step, steps_per_epoch
        return None

    def regularise(self) -> None:
        """Change the weights at an epoch's end. Also called for the mean of weights before that is the result."""

    # -- a step

    def choose_images(
        self, images: Tensor, targets: Sequence[Target], *, epoch: int, place: int
    ) -> Collection[int] | None:
        """Return the places in the batch to train on, ascending; None: all.

        Args:
            images: Augmented, (B, 3, h, w) uint8, on the device.
            targets: B of them.
            epoch: Counted from 0.
            place: The batch's place in its epoch, from 0.
        """
        return None

    def during_forward(self) -> AbstractContextManager[None]:
        """Return a context around the forward pass."""
        return nullcontext()

    def extra_losses(self, images: Tensor) -> Mapping[str, Tensor]:
        """Return further losses of the images that have just been forwarded."""
        del images
        return {}

    def after_step(self, learning_rate: float) -> None:
        """Change the weights after a step of the optimiser; not called where float16 skipped it."""

    def before_change(self) -> None:
        """Remember what a change of the weights from outside (mean of weights, `regularise`) must keep."""

    def after_change(self) -> None:
        """Restore that in the changed weights."""

    # -- state and results

    def state(self) -> State:
        """Return what a checkpoint must hold."""
        return {}

    def restore(self, state: State) -> None:
        """Continue from `state` of an earlier process."""

    def subsets(self) -> tuple[Subset, ...]:
        """Return the subsets that were trained on, for the model's record."""
        return ()

    def figures(self) -> Mapping[str, float]:
        """Return measurements for the stage's report; units in the names."""
        return {}

    def card(self) -> Mapping[str, Any]:
        """Return entries for the model's card."""
        return {}
