"""What makes a student smaller while it trains: `training.techniques.pruning.neurons` and `training.techniques.low_rank.ranks`, as the loop calls them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from dataset_culling.detectors.torch_base import TorchDetector
from dataset_culling.errors import ConfigError
from dataset_culling.training.techniques.low_rank.ranks import compressible, factorise, shrink_ranks
from dataset_culling.training.techniques.pruning.neurons import dead, remove, shrink, silence
from dataset_culling.training.recipe import Recipe
from dataset_culling.training.techniques.pruning.wiring import Wiring, wiring_of


@dataclass(frozen=True, slots=True)
class Compacting:
    """One student and how it becomes smaller."""

    detector: TorchDetector
    recipe: Recipe
    wiring: Wiring | None  # None: it is not pruned
    names: frozenset[str]  # layers whose kernels learn to be of a low rank: those that were not frozen at the start

    @classmethod
    def of(cls, detector: TorchDetector, recipe: Recipe) -> Self | None:
        """None where the recipe asks for nothing. Layers that are to stay must be frozen already.

        Raises:
            ConfigError: If this student cannot be made smaller, or is expanded, too.
        """
        if not (recipe.prune or recipe.low_rank):
            return None
        if recipe.expand:
            raise ConfigError(
                f"recipe.expand: expected 0 with prune or low_rank, which shrink kernels and not their factors, found "
                f"{recipe.expand}. Set one of them to 0."
            )
        names = frozenset(name for name, _ in compressible(detector)) if recipe.low_rank else frozenset()
        wiring = wiring_of(detector) if recipe.prune else None
        if wiring is not None:
            device = detector.device
            wiring = Wiring(
                wiring.removable.to(device),
                {name: ids.to(device) for name, ids in wiring.outputs.items()},
                {name: ids.to(device) for name, ids in wiring.inputs.items()},
            )
        return cls(detector, recipe, wiring, names)

    def after_step(self, learning_rate: float) -> None:
        """The proximal step of the group Lasso."""
        if self.wiring is not None:
            step = learning_rate * self.recipe.prune
            shrink(self.detector.module, self.wiring, step, l1_share=self.recipe.prune_l1_share)

    def after_epoch(self, learning_rates: float) -> None:
        """The proximal step of the nuclear norm; `learning_rates` is the sum over the epoch's steps."""
        if self.recipe.low_rank:
            gone = self.gone()
            shrink_ranks(self.detector, learning_rates * self.recipe.low_rank, names=self.names)
            self.silence(gone)  # a row of zeros need not be put together as exact zeros

    def gone(self) -> Tensor | None:
        """The neurons that are zero now; a mean of weights has them at zero only long afterwards."""
        return dead(self.detector.module, self.wiring) if self.wiring is not None else None

    def silence(self, gone: Tensor | None) -> None:
        """Make these neurons zero in the weights that the module has now."""
        if self.wiring is not None and gone is not None:
            silence(self.detector.module, self.wiring, gone)

    def factorised(self) -> TorchDetector:
        """The student with its kernels held as two, as it would leave training now; itself where they are not."""
        if not self.recipe.low_rank:
            return self.detector
        found = copy.deepcopy(self.detector)
        factorise(found, self.recipe.low_rank_energy, names=self.names)
        return found

    def finish(self) -> list[str]:
        """Take away what is zero and hold kernels as two; what became of the student, for the log."""
        before, notes = self.detector.num_parameters(), []
        if self.wiring is not None:
            gone = dead(self.detector.module, self.wiring)
            remove(self.detector, self.wiring, gone)
            notes.append(
                f"pruned {int(gone.sum())} of {int(self.wiring.removable.sum())} neurons: {before} parameters became "
                f"{self.detector.num_parameters()}"
            )
        if self.recipe.low_rank:
            before = self.detector.num_parameters()
            cuts = factorise(self.detector, self.recipe.low_rank_energy, names=self.names)
            lost = max((cut.lost for cut in cuts.values()), default=0.0)
            notes.append(
                f"{len(cuts)} layers are held as two of a lower rank: {before} parameters became "
                f"{self.detector.num_parameters()}; at most {100 * lost:.2g} % of a kernel's energy was lost"
            )
        return notes
