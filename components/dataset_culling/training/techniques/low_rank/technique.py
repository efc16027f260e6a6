"""Compression-aware training as a technique; the arithmetic is in `ranks`."""

from __future__ import annotations

import copy

from dataset_culling.detectors.torch_base import TorchDetector
from dataset_culling.training.hooks import State, Technique, Training
from dataset_culling.training.techniques.low_rank.config import LowRankConfig
from dataset_culling.training.techniques.low_rank.ranks import compressible, factorise, shrink_ranks


class LowRankKernels(Technique):
    """Shrinks singular values at the end of each epoch, by the epoch's learning rates; factorises after training.

    Raises:
        ConfigError: If the detector cannot be compressed.
    """

    config: LowRankConfig

    def __init__(self, config: LowRankConfig, training: Training) -> None:
        super().__init__(config, training)
        self._names = frozenset(name for name, _ in compressible(training.detector))  # those not frozen at the start
        self._rates = 0.0  # sum over the epoch's steps

    def before_epoch(self, epoch: int) -> None:
        """Begin the sum of rates."""
        del epoch
        self._rates = 0.0

    def after_step(self, learning_rate: float) -> None:
        """Add a rate."""
        self._rates += learning_rate

    def regularise(self) -> None:
        """Take the proximal step of the nuclear norm."""
        shrink_ranks(self.training.detector, self._rates * self.config.strength, names=self._names)

    def as_result(self, detector: TorchDetector) -> TorchDetector:
        """Factorise a copy."""
        found = copy.deepcopy(detector)
        factorise(found, self.config.energy, names=self._names)
        return found

    def finish(self) -> None:
        """Factorise the student."""
        detector = self.training.detector
        before = detector.num_parameters()
        cuts = factorise(detector, self.config.energy, names=self._names)
        lost = max((cut.lost for cut in cuts.values()), default=0.0)
        self.training.notes.append(
            f"{len(cuts)} layers are held as two of a lower rank: {before} parameters became "
            f"{detector.num_parameters()}; at most {100 * lost:.2g} % of a kernel's energy was lost"
        )

    def state(self) -> State:
        """Return the sum of rates."""
        return {"rates": self._rates}

    def restore(self, state: State) -> None:
        """Continue the sum of rates."""
        self._rates = state["rates"]
