"""Progress of one training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from dataset_culling.training.hooks import Training
from dataset_culling.types import IntArray


@dataclass(slots=True)
class Epoch:
    """Progress inside an epoch."""

    order: IntArray  # of the units that it shuffles
    done: int = 0  # batches
    sums: dict[str, float] = field(default_factory=dict)
    images: int = 0  # trained on
    seconds: float = 0.0  # of its steps


class Progress:
    """Epochs and steps so far."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self.epoch = self.step = 0
        self.losses: list[dict[str, float]] = []
        self.current: Epoch | None = None

    def state(self) -> Mapping[str, Any]:
        """Return the progress for a checkpoint."""
        images, epoch_s = self._training.images, self._training.epoch_s
        whole = {"epoch": self.epoch, "step": self.step, "losses": self.losses, "images": images, "epoch_s": epoch_s}
        if self.current is None:
            return whole
        current = asdict(self.current)
        return {**whole, "order": torch.from_numpy(current.pop("order")), "current": current}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.epoch, self.step, self.losses = state["epoch"], state["step"], list(state["losses"])
        self._training.images[:], self._training.epoch_s[:] = state["images"], state["epoch_s"]
        if "current" in state:
            self.current = Epoch(state["order"].numpy(), **state["current"])
