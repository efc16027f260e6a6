"""Random subsets of frames."""

from __future__ import annotations

from dataset_culling.training.techniques.subsets import Chosen, DrawnSubsets, budget_of, random_rows


class RandomSubset(DrawnSubsets):
    """Trains on random frames; their batches are made anew in every epoch."""

    def choose(self, since: int) -> Chosen:
        """Draw frames."""
        num = len(self.training.samples)
        rows = random_rows(num, budget_of(self.config.share, num), self.draws_at(since))
        return Chosen(since, tuple((row,) for row in rows.tolist()), (1.0,) * len(rows), False)
