"""The subsets that a training looks at: chosen while it trains, drawn by lot, or replayed from another training.

N = fixed batches, D = numbers in a gradient, K = chosen batches or samples.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dataset_culling.detectors.torch_base import Target, TorchDetector
from dataset_culling.errors import InputError
from dataset_culling.training.freezing import set_training_mode
from dataset_culling.training.recipe import Recipe
from dataset_culling.training.data import Loader, TrainingSet, to_device
from dataset_culling.training.techniques.gradmatch.matching import SKETCH, budget_of, by_lot, match_batches, sketch
from dataset_culling.training.together import from_first, summed, world
from dataset_culling.types import Float32Array, FloatArray, IntArray, Subset

_BATCHES, _DRAWS = 1, 2
"""Which of a training's generators; none is that of shuffling and augmentation, whose draws stay what they are."""


@dataclass(frozen=True, slots=True)
class _Chosen:
    """One subset, as rows of the training set."""

    epoch: int  # from this one on
    groups: tuple[tuple[int, ...], ...]
    weights: tuple[float, ...]
    batched: bool


class Choosing:
    """What each epoch of one training looks at, by the recipe's `subset` options.

    Args:
        detector: Being trained; Grad-Match looks at its heads' gradients.
        samples: All there is.
        loader: The same, prepared.
        recipe: How to choose.
        recorded: For `subset_replay`.

    Raises:
        InputError: If a replay names no sample of these.
    """

    def __init__(
        self,
        detector: TorchDetector,
        samples: TrainingSet,
        loader: Loader,
        recipe: Recipe,
        recorded: Sequence[Subset] = (),
    ) -> None:
        self._detector, self._samples, self._loader, self._recipe = detector, samples, loader, recipe
        self._num_samples = len(samples)
        self.notes: list[str] = []
        self.seconds = 0.0  # that choosing has taken
        self._history: list[_Chosen] = []
        self._batches: list[list[int]] = []
        self._recorded: list[_Chosen] = []
        self._whole = len(loader.batches(np.arange(self._num_samples), recipe.batch_size))
        self._warm = recipe.epochs
        if recipe.subset_replay or recipe.subset != "none":
            self._warm = round(recipe.subset_warm * recipe.epochs)
            if self._warm == recipe.epochs:
                self.notes.append(
                    f"no subset: subset_warm {recipe.subset_warm:g} of {recipe.epochs} epochs is all of them, and "
                    f"every one looks at everything"
                )
        if recipe.subset_replay:
            self._recorded = self._rows_of(recorded)
        elif recipe.subset in ("gradmatch", "random-pb"):
            order = self._random(_BATCHES).permutation(self._num_samples)
            self._batches = loader.batches(order, recipe.batch_size)

    # -- what an epoch looks at

    def num_steps(self, epoch: int) -> int:
        """Steps of an epoch, known before it begins."""
        if epoch < self._warm:
            return self._whole
        if self._batches:  # which ones is not known yet, how many is
            return budget_of(self._recipe.subset_share, len(self._batches))
        chosen = self._without_looking(epoch)
        return len(self._cut(chosen, np.arange(len(chosen.groups)))[0])

    def choose_if_due(self, epoch: int, compute: torch.dtype | None) -> None:
        """Choose what is looked at from this epoch on, if it is the time for it.

        Args:
            epoch: Which begins.
            compute: What autocast computes losses in; None: float32.
        """
        started_s = time.monotonic()
        if epoch < self._warm or (self._history and self._history[-1].epoch >= self._since(epoch)):
            return
        if self._batches and self._recipe.subset == "gradmatch":
            gradients = batch_gradients(
                self._detector, self._loader, self._batches, seed=self._recipe.seed, compute=compute
            )
            budget = budget_of(self._recipe.subset_share, len(self._batches))
            rows, weights = self._matched(gradients, budget, epoch)
            chosen = self._of_batches(epoch, rows, weights.tolist())
        elif self._batches:
            budget = budget_of(self._recipe.subset_share, len(self._batches))
            rows = by_lot(len(self._batches), budget, self._random(_DRAWS, epoch))
            chosen = self._of_batches(epoch, rows, [1.0] * len(rows))
        else:
            chosen = self._without_looking(epoch)
        self._history.append(chosen)
        self.seconds += time.monotonic() - started_s

    def num_groups(self, epoch: int) -> int:
        """What there is to shuffle in an epoch: samples, or batches that stay as they are."""
        return self._num_samples if epoch < self._warm else len(self._history[-1].groups)

    def batches(self, epoch: int, order: IntArray) -> tuple[list[list[int]], list[float]]:
        """Rows of each of an epoch's batches, and how much its losses count.

        Args:
            epoch: The current one.
            order: A permutation of `num_groups` numbers.
        """
        if epoch < self._warm:
            plain = self._loader.batches(order, self._recipe.batch_size)
            return plain, [1.0] * len(plain)
        return self._cut(self._history[-1], order)

    def _cut(self, chosen: _Chosen, order: IntArray) -> tuple[list[list[int]], list[float]]:
        if not chosen.batched:
            rows = np.array([chosen.groups[place][0] for place in order.tolist()], np.int64)
            anew = self._loader.batches(rows, self._recipe.batch_size)
            return anew, [1.0] * len(anew)
        found: list[list[int]] = []
        counts: list[float] = []
        for place in order.tolist():
            group = chosen.groups[place]
            parts = self._loader.batches(np.array(group, np.int64), len(group))  # one, but where sizes differ
            found += parts
            counts += [chosen.weights[place]] * len(parts)
        return found, counts

    def _since(self, epoch: int) -> int:
        """The epoch at which the subset of this one was, or is to be, chosen."""
        if self._recorded:
            replayed = self._replayed(epoch)
            return self._warm if replayed is self._recorded[0] else max(self._warm, replayed.epoch)
        return self._warm + (epoch - self._warm) // self._recipe.subset_every * self._recipe.subset_every

    def _without_looking(self, epoch: int) -> _Chosen:
        """A subset that depends on nothing that was learnt: replayed, or samples by lot."""
        since = self._since(epoch)
        if self._recorded:
            replayed = self._replayed(epoch)
            return _Chosen(since, replayed.groups, replayed.weights, replayed.batched)
        budget = budget_of(self._recipe.subset_share, self._num_samples)
        rows = by_lot(self._num_samples, budget, self._random(_DRAWS, since))
        return _Chosen(since, tuple((row,) for row in rows.tolist()), (1.0,) * len(rows), False)

    def _matched(self, gradients: Float32Array, budget: int, epoch: int) -> tuple[IntArray, FloatArray]:
        """The first process's choice in all of them: it costs once, and no rounding parts them near a tie."""
        rows: IntArray = np.zeros(budget, np.int64)
        weights: FloatArray = np.zeros(budget)
        if world()[0] == 0:
            rows, weights = match_batches(gradients, budget, self._random(_DRAWS, epoch))
        device = self._detector.device
        told = from_first(torch.from_numpy(rows).to(device)), from_first(torch.from_numpy(weights).to(device))
        return told[0].cpu().numpy(), told[1].cpu().numpy()

    def _of_batches(self, epoch: int, rows: IntArray, weights: Sequence[float]) -> _Chosen:
        return _Chosen(epoch, tuple(tuple(self._batches[row]) for row in rows.tolist()), tuple(weights), True)

    def _random(self, *which: int) -> np.random.Generator:
        return np.random.default_rng([self._recipe.seed, *which])

    # -- replay

    def _replayed(self, epoch: int) -> _Chosen:
        """The last one recorded up to this epoch; before the first one, the first."""
        return next((one for one in reversed(self._recorded) if one.epoch <= epoch), self._recorded[0])

    def _rows_of(self, recorded: Sequence[Subset]) -> list[_Chosen]:
        where = self._recipe.subset_replay
        rows = {self._samples.name(row): row for row in range(self._num_samples)}
        named = {name for subset in recorded for group in subset.groups for name in group}
        if not named & set(rows):
            raise InputError(
                f"{where}: expected subsets of these {self._num_samples} samples ({next(iter(rows))}, ...), found "
                f"{f'{min(named)}, ...' if named else 'none'} and nothing in common. Record them in a training on the "
                f"same frames, or set recipe.subset_replay to ''."
            )
        found: list[_Chosen] = []
        for subset in recorded:
            there = [
                (tuple(rows[name] for name in group if name in rows), weight)
                for group, weight in zip(subset.groups, subset.weights, strict=True)
            ]
            there = [(group, weight) for group, weight in there if group]
            if there:
                whole = len(there) == len(subset.groups)
                mean = 1.0 if whole else sum(weight for _, weight in there) / len(there)
                groups = tuple(group for group, _ in there)
                found.append(_Chosen(subset.epoch, groups, tuple(weight / mean for _, weight in there), subset.batched))
        if gone := len(named - set(rows)):
            self.notes.append(
                f"subset replay: {gone} of the {len(named)} samples that {where} names are not among these and were "
                f"left out"
            )
        return sorted(found, key=lambda one: one.epoch)

    # -- what stays

    def history(self) -> tuple[Subset, ...]:
        """What was looked at, by name."""
        return tuple(
            Subset(
                one.epoch,
                tuple(tuple(self._samples.name(row) for row in group) for group in one.groups),
                one.weights,
                one.batched,
            )
            for one in self._history
        )

    def facts(self) -> dict[str, Any]:
        """For a checkpoint; nothing where no subsets are asked for."""
        if self._warm == self._recipe.epochs and not self._history:
            return {}
        return {"subsets": [[one.epoch, one.groups, one.weights, one.batched] for one in self._history]}

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Go on from a checkpoint's facts."""
        self._history = [
            _Chosen(int(epoch), tuple(tuple(group) for group in groups), tuple(weights), bool(batched))
            for epoch, groups, weights, batched in facts.get("subsets", [])
        ]


def batch_gradients(
    detector: TorchDetector,
    loader: Loader,
    batches: Sequence[Sequence[int]],
    *,
    seed: int,
    compute: torch.dtype | None = None,
) -> Float32Array:
    """The gradient of each batch's losses at the heads' last layers; pictures as they are, batch norms frozen.

    Nothing is learnt, torch's generators and the module's mode of learning are left as they were. In a
    torch.distributed group every process looks at its share of the batches, and all get the same numbers.

    Args:
        detector: Its module is left in training mode.
        loader: The samples.
        batches: Rows of each, each of one input size.
        seed: Of what the losses draw; every batch begins from it.
        compute: What autocast computes in; float16's gradients would be lost, so float32 is taken for it.

    Returns:
        (N, D), D at most `subset.SKETCH`.
    """
    device = detector.device
    compute = compute if compute is torch.bfloat16 else None
    set_training_mode(detector.module, batch_norm="frozen", frozen=[])

    def of(rows: Sequence[int]) -> tuple[Tensor, list[Target]]:
        prepared = [loader[row] for row in rows]
        targets = [to_device(one.target, device) for one in prepared]
        return torch.stack([one.image for one in prepared]).to(device), targets

    rank, size = world()
    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        torch.autocast(device.type, compute, enabled=compute is not None),
    ):
        torch.manual_seed(seed)
        fullest = max(batches, key=lambda rows: sum(loader.num_sure(row) for row in rows))
        layers = detector.last_layers(*of(fullest)).values()
        numbers = min(SKETCH, sum(one.numel() for one in _weights(layers)))
        found = torch.zeros(len(batches), numbers)
        with _only_these_learn(detector.module, layers):
            for place in range(rank, len(batches), size):
                torch.manual_seed(seed)
                with parametrize.cached():  # an expanded kernel is one tensor here, whose gradient is the kernel's
                    weights = _weights(layers)
                    losses = detector.losses(*of(batches[place]))
                    total = torch.stack([part.float() for part in losses.values()]).sum()
                    parts = torch.autograd.grad(total, weights, materialize_grads=True)
                flat = torch.cat([part.flatten().float() for part in parts]).cpu().numpy()
                found[place] = torch.from_numpy(sketch(flat))
    gathered: Float32Array = summed(found.to(device)).cpu().numpy()
    return gathered


def _weights(layers: Iterable[nn.Module]) -> list[Tensor]:
    """What of the layers learns: kernels, expanded ones as their product, and biases."""
    both = [one for layer in layers for one in (layer.weight, layer.bias)]
    return [one for one in both if isinstance(one, Tensor) and one.requires_grad]


@contextmanager
def _only_these_learn(module: nn.Module, layers: Iterable[nn.Module]) -> Iterator[None]:
    """Inside, nothing else has gradients: a forward pass keeps no maps for them."""
    these = {id(one) for layer in layers for one in layer.parameters()}
    others = [one for one in module.parameters() if one.requires_grad and id(one) not in these]
    for one in others:
        one.requires_grad_(False)
    try:
        yield
    finally:
        for one in others:
            one.requires_grad_(True)
