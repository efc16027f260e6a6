"""ExpandNets as a technique; the arithmetic is in `factors`."""

from __future__ import annotations

from dataset_culling.training.hooks import Technique
from dataset_culling.training.techniques.expand_nets.config import ExpandNetsConfig
from dataset_culling.training.techniques.expand_nets.factors import contract, expand


class ExpandNets(Technique):
    """Expands the student's convolutions before training and contracts them afterwards."""

    config: ExpandNetsConfig

    def before_training(self) -> None:
        """Expand."""
        expand(self.training.detector.module, self.config.rate, seed=self.training.recipe.seed)

    def release(self) -> None:
        """Contract."""
        contract(self.training.detector.module)
