"""Random subsets of fixed batches."""

from __future__ import annotations

from dataset_culling.training.hooks import Training
from dataset_culling.training.techniques.random_pb.config import RandomPBConfig
from dataset_culling.training.techniques.subsets import Chosen, DrawnSubsets, budget_of, of_batches, random_rows


class RandomPB(DrawnSubsets):
    """Cuts the samples into batches once and trains on random ones of them."""

    def __init__(self, config: RandomPBConfig, training: Training) -> None:
        super().__init__(config, training)
        self._batches = self.fixed_batches()

    def choose(self, since: int) -> Chosen:
        """Draw batches."""
        num = len(self._batches)
        rows = random_rows(num, budget_of(self.config.share, num), self.draws_at(since))
        return of_batches(since, self._batches, rows, [1.0] * len(rows))
