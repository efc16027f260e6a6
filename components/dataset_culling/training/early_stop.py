"""Early stop: mAP on watched images after each epoch, and the best epoch's weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from dataset_culling.detectors.torch_base import TorchDetector
from dataset_culling.evaluation.coco import evaluate
from dataset_culling.training.data import TrainingSet, ground_truth, predictions_of


class EarlyStop:
    """Remembers the best epoch.

    Args:
        watched: Labelled images that are not trained on.
        detector: Its classes.
        side_px: Short side of the network's input; 0: the detector's own.
    """

    def __init__(self, watched: TrainingSet, detector: TorchDetector, side_px: int) -> None:
        self._watched, self._side_px = watched, side_px
        self._truth = ground_truth(watched, detector.class_names)
        self.best_weights: dict[str, Tensor] = {}
        self.best_epoch = 0  # counted from 1
        self.maps: list[float] = []  # mAP@50:95 after each epoch

    def watch(self, judged: TorchDetector, module: nn.Module, epoch: int) -> None:
        """Evaluate a detector after an epoch, counted from 1; keep the module's weights if it is the best."""
        with parametrize.cached():  # parametrised kernels are computed once, not for every image
            found = predictions_of(judged, self._watched, self._truth.class_names, side_px=self._side_px)
        score = evaluate(found, self._truth).map_50_95
        if not self.maps or score > max(self.maps):
            self.best_epoch = epoch
            self.best_weights = {key: value.detach().clone() for key, value in module.state_dict().items()}
        self.maps.append(score)

    def is_over(self, epoch: int, patience: int) -> bool:
        """Return True if the last `patience` epochs brought nothing better."""
        return bool(self.best_epoch) and epoch - self.best_epoch >= patience

    def state(self) -> Mapping[str, Any]:
        """Return the best weights, their epoch and all scores."""
        return {**self.best_weights, "best_epoch": self.best_epoch, "maps": self.maps}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from an earlier process's state."""
        self.best_weights = {key: value for key, value in state.items() if isinstance(value, Tensor)}
        self.best_epoch, self.maps = state["best_epoch"], list(state["maps"])
