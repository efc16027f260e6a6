"""Feature distillation as a technique; the loss is in `feature_maps`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

from torch import Tensor, nn

from dataset_culling.errors import ConfigError
from dataset_culling.training.hooks import State, Technique, Training
from dataset_culling.training.techniques.distillation.config import DistillationConfig
from dataset_culling.training.techniques.distillation.feature_maps import FeatureDistillation


class Distillation(Technique):
    """Adds the distance of the student's feature maps from the teacher's to the losses.

    Raises:
        ConfigError: If the teacher has no feature maps, or no two maps are alike in size.
    """

    config: DistillationConfig

    def __init__(self, config: DistillationConfig, training: Training) -> None:
        super().__init__(config, training)
        if training.teacher is None:
            raise ConfigError(
                "recipe.techniques.distillation: this needs a teacher with feature maps, a torch detector. "
                "Set weight to 0 or choose another teacher."
            )
        height_px, width_px = training.loader[0].image.shape[-2:]
        self._maps = FeatureDistillation(training.detector, training.teacher, height_px=height_px, width_px=width_px)

    def learners(self) -> nn.Module:
        """Return the convolutions that bring the student's maps to the teacher's channels."""
        return self._maps.adapters

    def during_forward(self) -> AbstractContextManager[None]:
        """Keep the student's maps."""
        return self._maps.watching()

    def extra_losses(self, images: Tensor) -> Mapping[str, Tensor]:
        """Compare them with the teacher's."""
        return {"distillation": self.config.weight * self._maps.loss(images)}

    def state(self) -> State:
        """Return the convolutions' weights."""
        return self._maps.adapters.state_dict()

    def restore(self, state: State) -> None:
        """Load the convolutions' weights."""
        self._maps.adapters.load_state_dict(dict(state))
