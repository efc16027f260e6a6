"""Training on subsets: the part that the techniques share which choose them.

N = fixed batches.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dataset_culling.training.hooks import Batch, State, Technique, Training
from dataset_culling.training.techniques.base import DrawnSubsetConfig, SubsetConfig
from dataset_culling.types import IntArray, Subset

_BATCHES, _DRAWS = 1, 2
"""Streams of random numbers of their own, so that shuffling and augmentation draw what they always drew."""


class Chosen(NamedTuple):
    """One subset, as rows of the training set."""

    epoch: int  # from this one on
    groups: tuple[tuple[int, ...], ...]  # batches, or single samples
    weights: tuple[float, ...]
    batched: bool  # the groups are batches that stay together


def budget_of(share: float, num: int) -> int:
    """Return how many of `num` a share is: rounded up, at least one."""
    return min(num, max(1, math.ceil(share * num - 1e-9)))


def random_rows(num: int, budget: int, random: np.random.Generator) -> IntArray:
    """Draw rows of `budget` of `num` candidates without replacement, ascending."""
    return np.sort(random.choice(num, size=min(budget, num), replace=False)).astype(np.int64)


class SubsetTechnique(Technique):
    """Trains on everything in the warm epochs, then on subsets."""

    config: SubsetConfig

    def __init__(self, config: SubsetConfig, training: Training) -> None:
        super().__init__(config, training)
        self._history: list[Chosen] = []
        self._seconds = 0.0
        epochs = training.recipe.epochs
        self.first = round(config.warm * epochs)  # epoch that has a subset
        if self.first == epochs:
            training.notes.append(
                f"no subset: warm {config.warm:g} of {epochs} epochs is all of them, and each trains on everything"
            )

    def choose(self, since: int) -> Chosen:
        """Return the subset to train on from epoch `since` on."""
        raise NotImplementedError

    def since(self, epoch: int) -> int:
        """Return the epoch at which this epoch's subset was, or is to be, chosen."""
        raise NotImplementedError

    def num_steps(self, epoch: int) -> int:
        """Return the steps of an epoch; the choice must not depend on what was learnt."""
        if epoch < self.first:
            return super().num_steps(epoch)
        chosen = self.choose(self.since(epoch))
        return len(self._cut(chosen, np.arange(len(chosen.groups))))

    def before_epoch(self, epoch: int) -> None:
        """Choose another subset if it is time."""
        if epoch < self.first or (self._history and self._history[-1].epoch >= self.since(epoch)):
            return
        started_s = time.monotonic()
        self._history.append(self.choose(self.since(epoch)))
        self._seconds += time.monotonic() - started_s

    def num_units(self, epoch: int) -> int:
        """Return the number of samples, or of batches that stay together."""
        return super().num_units(epoch) if epoch < self.first else len(self._history[-1].groups)

    def batches(self, epoch: int, order: IntArray) -> list[Batch]:
        """Return the subset's batches in this order."""
        return super().batches(epoch, order) if epoch < self.first else self._cut(self._history[-1], order)

    def _cut(self, chosen: Chosen, order: IntArray) -> list[Batch]:
        loader = self.training.loader
        if not chosen.batched:
            rows = np.array([chosen.groups[place][0] for place in order.tolist()], np.int64)
            return [Batch(found) for found in loader.batches(rows, self.training.recipe.batch_size)]
        return [
            Batch(part, chosen.weights[place])
            for place in order.tolist()
            for part in loader.batches(np.array(chosen.groups[place], np.int64), len(chosen.groups[place]))
        ]  # a group is one part, unless its images differ in size

    def state(self) -> State:
        """Return the subsets so far."""
        return {"history": [list(one) for one in self._history]}

    def restore(self, state: State) -> None:
        """Continue from the subsets so far."""
        self._history = [
            Chosen(int(epoch), tuple(tuple(group) for group in groups), tuple(weights), bool(batched))
            for epoch, groups, weights, batched in state["history"]
        ]

    def subsets(self) -> tuple[Subset, ...]:
        """Return the subsets, samples by name."""
        name = self.training.samples.name
        return tuple(
            Subset(
                one.epoch, tuple(tuple(name(row) for row in group) for group in one.groups), one.weights, one.batched
            )
            for one in self._history
        )

    def figures(self) -> Mapping[str, float]:
        """Return the seconds that choosing took in this process."""
        return {"choosing_s": self._seconds} if self._history else {}


class DrawnSubsets(SubsetTechnique):
    """Chooses a subset of its own every few epochs."""

    config: DrawnSubsetConfig

    def since(self, epoch: int) -> int:
        """Return the epoch at which this epoch's subset was, or is to be, chosen."""
        return self.first + (epoch - self.first) // self.config.every * self.config.every

    def draws_at(self, epoch: int) -> np.random.Generator:
        """Return the generator of an epoch's choice."""
        return np.random.default_rng([self.training.recipe.seed, _DRAWS, epoch])

    def fixed_batches(self) -> list[list[int]]:
        """Cut the samples into batches once; N lists of rows."""
        order = np.random.default_rng([self.training.recipe.seed, _BATCHES]).permutation(len(self.training.samples))
        return self.training.loader.batches(order, self.training.recipe.batch_size)


def of_batches(since: int, batches: Sequence[Sequence[int]], rows: IntArray, weights: Sequence[float]) -> Chosen:
    """Return the subset of these rows of the fixed batches."""
    return Chosen(since, tuple(tuple(batches[row]) for row in rows.tolist()), tuple(weights), True)
