"""Replay of recorded subsets: Cached-Grad-Match, or any other record."""

from __future__ import annotations

from collections.abc import Sequence

from dataset_culling.errors import InputError
from dataset_culling.training.hooks import Training
from dataset_culling.training.techniques.recorded_subsets.config import RecordedSubsetsConfig
from dataset_culling.training.techniques.subsets import Chosen, SubsetTechnique
from dataset_culling.types import Subset


class RecordedSubsets(SubsetTechnique):
    """Trains on the subsets in `training.recorded`, epoch by epoch; the last one stays.

    Raises:
        InputError: If they name none of the samples.
    """

    config: RecordedSubsetsConfig

    def __init__(self, config: RecordedSubsetsConfig, training: Training) -> None:
        super().__init__(config, training)
        self._recorded = self._rows_of(training.recorded)

    def since(self, epoch: int) -> int:
        """Return the epoch from which on this epoch's record holds."""
        recorded = self._at(epoch)
        return self.first if recorded is self._recorded[0] else max(self.first, recorded.epoch)

    def choose(self, since: int) -> Chosen:
        """Take the record of that epoch."""
        return self._at(since)._replace(epoch=since)

    def _at(self, epoch: int) -> Chosen:
        """Return the last record up to this epoch; before the first one, the first."""
        return next((one for one in reversed(self._recorded) if one.epoch <= epoch), self._recorded[0])

    def _rows_of(self, recorded: Sequence[Subset]) -> list[Chosen]:
        samples, where = self.training.samples, self.config.source
        rows = {samples.name(row): row for row in range(len(samples))}
        named = {name for subset in recorded for group in subset.groups for name in group}
        if not named & rows.keys():
            raise InputError(
                f"{where}: expected subsets of these {len(rows)} samples ({next(iter(rows))}, ...), found "
                f"{f'{min(named)}, ...' if named else 'none'} and nothing in common. Record them in a training on the "
                f"same frames, or set recipe.techniques.recorded_subsets.source to ''."
            )
        found: list[Chosen] = []
        for subset in recorded:
            present = [
                (tuple(rows[name] for name in group if name in rows), weight)
                for group, weight in zip(subset.groups, subset.weights, strict=True)
            ]
            present = [(group, weight) for group, weight in present if group]
            if present:
                whole = len(present) == len(subset.groups)
                mean = 1.0 if whole else sum(weight for _, weight in present) / len(present)
                groups, weights = zip(*((group, weight / mean) for group, weight in present), strict=True)
                found.append(Chosen(subset.epoch, groups, weights, subset.batched))
        if missing := len(named - rows.keys()):
            self.training.notes.append(
                f"subset replay: {missing} of the {len(named)} samples that {where} names are not among these and were "
                f"left out"
            )
        return sorted(found, key=lambda one: one.epoch)
