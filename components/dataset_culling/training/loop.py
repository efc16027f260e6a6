"""The training loop.

B = images in a batch, K = boxes of one image; h, w = the network's input size, H, W = the original image's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from dataset_culling.detectors.torch_base import Target, TorchDetector
from dataset_culling.errors import InputError
from dataset_culling.training.recipe import Recipe
from dataset_culling.types import BoolArray, Float32Array, ImageArray, IntArray

CACHE_BYTES = 1 << 30
"""Prepared images are kept in memory up to this much; beyond it they are prepared again in every epoch."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image: image (H, W, 3) uint8 RGB; boxes in its px; `ignore` marks doubtful boxes."""

    image: ImageArray
    boxes_xyxy: Float32Array  # (K, 4)
    class_ids: IntArray  # (K,)
    ignore: BoolArray  # (K,)


class TrainingSet(Protocol):
    """Labelled images by position; `name` is what an error calls one."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> Sample: ...

    def name(self, row: int) -> str:
        """The image's name for people, such as its frame id."""


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """What happened: the mean loss of each epoch, by part, and the steps taken."""

    losses: tuple[dict[str, float], ...]
    steps: int


class TrainingDiverged(InputError):
    """The loss became NaN or infinite."""


@dataclass(slots=True)
class _Prepared:
    image: Tensor  # (3, h, w) uint8
    target: Target


def train(
    detector: TorchDetector,
    samples: TrainingSet,
    recipe: Recipe,
    *,
    side_px: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TrainingRecord:
    """Train a detector in place.

    Args:
        detector: Its module is changed, and left in eval mode.
        samples: At least one labelled image; images without boxes teach what background is.
        recipe: The knobs.
        side_px: Short side to train at; 0 is the detector's own.
        progress: Called after every step with steps done and steps in all.

    Returns:
        Losses by epoch. Equal seed, data and device give equal weights.

    Raises:
        ValueError: If there is no sample.
        TrainingDiverged: If a loss is not finite, with the step and the images.
    """
    if len(samples) == 0:
        raise ValueError("training needs at least one sample, got none")
    shuffle = np.random.default_rng(recipe.seed)
    loader = _Loader(detector, samples, side_px)
    steps_per_epoch = len(loader.batches(np.arange(len(samples)), recipe.batch_size))
    total = recipe.epochs * steps_per_epoch
    optimizer = _optimizer(detector.module, recipe)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, total, steps_per_epoch, recipe))
    average = _Average(detector.module, recipe.ema_decay) if recipe.ema_decay else None
    record: list[dict[str, float]] = []
    step = 0
    with _seeded(recipe.seed, detector.device), _training_mode(detector.module, recipe):
        for epoch in range(recipe.epochs):
            sums: dict[str, float] = {}
            batches = loader.batches(shuffle.permutation(len(samples)), recipe.batch_size)
            for rows in batches:
                batch, targets = _augment([loader[row] for row in rows], recipe, shuffle)
                losses = detector.losses(
                    batch.to(detector.device), [_to_device(target, detector.device) for target in targets]
                )
                loss: Tensor = torch.stack(list(losses.values())).sum()
                if not torch.isfinite(loss):
                    names = ", ".join(samples.name(row) for row in rows)
                    raise TrainingDiverged(
                        f"training: expected a finite loss, found {loss.item()} at step {step} of {total} (epoch "
                        f"{epoch + 1}, images {names}). Lower the learning rate ({recipe.learning_rate:g})."
                    )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                if recipe.clip_norm:
                    nn.utils.clip_grad_norm_(detector.module.parameters(), recipe.clip_norm)
                optimizer.step()
                rate.step()
                if average is not None:
                    average.update(detector.module)
                step += 1
                for name, value in losses.items():
                    sums[name] = sums.get(name, 0.0) + value.item()
                progress(step, total)
            record.append({name: value / len(batches) for name, value in sums.items()})
    if average is not None:
        average.copy_to(detector.module)
    detector.module.eval()
    return TrainingRecord(tuple(record), step)


class _Loader:
    """Prepared samples, kept while they fit into memory."""

    def __init__(self, detector: TorchDetector, samples: TrainingSet, side_px: int) -> None:
        self._detector, self._samples, self._side_px = detector, samples, side_px
        self._kept: dict[int, _Prepared] = {}
        self._shapes: dict[int, tuple[int, ...]] = {}
        self._room = CACHE_BYTES

    def __getitem__(self, row: int) -> _Prepared:
        if row in self._kept:
            return self._kept[row]
        sample = self._samples[row]
        network = self._detector.prepare(sample.image, self._side_px)
        scale = np.array([network.scale_x, network.scale_y] * 2, np.float32)
        prepared = _Prepared(
            torch.from_numpy(np.ascontiguousarray(network.image.transpose(2, 0, 1))),
            Target(
                boxes_xyxy=torch.from_numpy(sample.boxes_xyxy.astype(np.float32) * scale),
                class_ids=torch.from_numpy(sample.class_ids.astype(np.int64)),
                weights=torch.ones(len(sample.class_ids)),
                ignore=torch.from_numpy(sample.ignore.astype(np.bool_)),
            ),
        )
        self._shapes[row] = tuple(prepared.image.shape)
        if self._room >= prepared.image.numel():
            self._room -= prepared.image.numel()
            self._kept[row] = prepared
        return prepared

    def batches(self, order: IntArray, batch_size: int) -> list[list[int]]:
        """Rows in batches, each of one input size, in the order given."""
        by_shape: dict[tuple[int, ...], list[int]] = {}
        found: list[list[int]] = []
        for row in order.tolist():
            if row not in self._shapes:
                self[row]
            batch = by_shape.setdefault(self._shapes[row], [])
            batch.append(row)
            if len(batch) == batch_size:
                found.append(by_shape.pop(self._shapes[row]))
        return found + list(by_shape.values())


def _augment(samples: Sequence[_Prepared], recipe: Recipe, rng: np.random.Generator) -> tuple[Tensor, list[Target]]:
    """Mirror and re-light each image on its own; returns (B, 3, h, w) uint8 and the targets."""
    images, targets = [], []
    for sample in samples:
        image, target = sample.image, sample.target
        if recipe.flip and rng.random() < 0.5:
            width = image.shape[2]
            boxes = target.boxes_xyxy.clone()
            boxes[:, [0, 2]] = width - target.boxes_xyxy[:, [2, 0]]
            image = image.flip(2)
            target = Target(boxes, target.class_ids, target.weights, target.ignore)
        if recipe.photometric:
            gain, lift = rng.uniform(-recipe.photometric, recipe.photometric, 2)
            mean = float(image.float().mean())
            image = ((image.float() - mean) * (1 + gain) + mean * (1 + lift)).clamp_(0, 255).to(torch.uint8)
        images.append(image)
        targets.append(target)
    return torch.stack(images), targets


def _to_device(target: Target, device: torch.device) -> Target:
    if device.type == "cpu":
        return target
    return Target(
        target.boxes_xyxy.to(device),
        target.class_ids.to(device),
        target.weights.to(device),
        target.ignore.to(device),
    )


def _optimizer(module: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, lr=recipe.learning_rate)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate)
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=0.9)


def _rate(step: int, total: int, steps_per_epoch: int, recipe: Recipe) -> float:
    """The learning rate at a step, as a share of the peak."""
    warm = min(1.0, (step + 1) / (recipe.warmup_steps + 1))
    if recipe.schedule == "cosine":
        return warm * 0.5 * (1 + math.cos(math.pi * step / max(total, 1)))
    if recipe.schedule == "step":
        return warm * 0.1 ** sum(step // steps_per_epoch >= milestone for milestone in recipe.milestones)
    return warm


class _Average:
    """A running mean of the weights, quicker at the start: decay = min(decay, (1 + n) / (10 + n))."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay, self._updates = decay, 0
        self._state = {key: value.detach().clone() for key, value in module.state_dict().items()}

    def update(self, module: nn.Module) -> None:
        """Take one more step's weights in."""
        self._updates += 1
        keep = min(self._decay, (1 + self._updates) / (10 + self._updates))
        for key, value in module.state_dict().items():
            if value.is_floating_point():
                self._state[key].lerp_(value.detach(), 1 - keep)
            else:
                self._state[key].copy_(value)

    def copy_to(self, module: nn.Module) -> None:
        """Put the mean into the module."""
        module.load_state_dict(self._state)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's generators inside, since detectors sample proposals from the global one; restore them after."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


@contextmanager
def _training_mode(module: nn.Module, recipe: Recipe) -> Iterator[None]:
    module.train()
    if recipe.batch_norm == "frozen":
        for part in module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.eval()
    try:
        yield
    finally:
        module.eval()
