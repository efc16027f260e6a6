"""Joint training and pruning as a technique; the arithmetic is in `neurons`."""

from __future__ import annotations

from dataset_culling.training.hooks import Technique, Training
from dataset_culling.training.techniques.pruning.config import PruningConfig
from dataset_culling.training.techniques.pruning.neurons import dead, remove, shrink, silence
from dataset_culling.training.techniques.pruning.wiring import wiring_of


class Pruning(Technique):
    """Shrinks neurons after each step; zero neurons stay zero whatever else changes the weights, and leave at the end.

    Raises:
        ConfigError: If the detector cannot be pruned.
    """

    config: PruningConfig

    def __init__(self, config: PruningConfig, training: Training) -> None:
        super().__init__(config, training)
        self._module = training.detector.module
        self._wiring = wiring_of(training.detector).to(training.detector.device)

    def after_step(self, learning_rate: float) -> None:
        """Take the proximal step of the group Lasso."""
        step = learning_rate * self.config.strength
        shrink(self._module, self._wiring, step, l1_share=self.config.l1_share)

    def before_change(self) -> None:
        """Remember the zero neurons: a mean of weights has them at zero only long afterwards."""
        self._gone = dead(self._module, self._wiring)

    def after_change(self) -> None:
        """Set them to zero again."""
        silence(self._module, self._wiring, self._gone)

    def finish(self) -> None:
        """Remove the zero neurons."""
        detector, gone = self.training.detector, dead(self._module, self._wiring)
        before = detector.num_parameters()
        remove(detector, self._wiring, gone)
        self.training.notes.append(
            f"pruned {int(gone.sum())} of {int(self._wiring.removable.sum())} neurons: {before} parameters became "
            f"{detector.num_parameters()}"
        )
