"""Four squares and a detector small enough for unit tests of training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dataset_culling.detectors.embedded import TinySpec, build_spec
from dataset_culling.detectors.torchvision_rcnn import RCNNDetector
from dataset_culling.training.data import Loader, Sample, TrainingSet
from dataset_culling.training.hooks import Training
from dataset_culling.training.recipe import Recipe

SPEC = TinySpec(channels=(4, 8, 8, 12, 16), blocks=1, pyramid=16, head=32, proposals=20, side_px=96)


@dataclass
class Squares:
    """Images with one bright square each, at a place of its own."""

    count: int = 4
    ignore: bool = False
    score: float = 1.0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> Sample:
        image = np.full((96, 128, 3), 40, np.uint8)
        x, y = 10 + 20 * (row % 4), 20 + 10 * (row // 4)
        image[y : y + 40, x : x + 40] = (250, 200 - 30 * (row % 2), 60)
        box = np.array([[x, y, x + 40, y + 40]], np.float32)
        scores = np.array([self.score], np.float32)
        return Sample(image, box, np.array([row % 2]), np.array([self.ignore]), scores)

    def name(self, row: int) -> str:
        return f"frame {row}"


def student() -> RCNNDetector:
    torch.manual_seed(1)
    return build_spec("tiny", SPEC, ("a", "b"))


def weights(detector: RCNNDetector) -> torch.Tensor:
    return torch.cat([value.flatten().float() for value in detector.state().values()])


def training_of(detector: RCNNDetector, samples: TrainingSet, recipe: Recipe) -> Training:
    """Return what a technique is given."""
    loader, random = Loader(detector, samples, 0), np.random.default_rng(0)
    return Training(detector, samples, loader, recipe, random, None, steps_per_epoch=len(samples))
