"""Feature distillation: the student's feature maps learn the teacher's pattern, whatever families the two are of.

PKD (Cao et al., NeurIPS 2022, arXiv:2207.02039): maps are brought to mean 0 and variance 1 per channel over batch and
pixels, then compared by mean squared error, which is Pearson's correlation but for constants (their Eq. 3 to 5). What a
channel's size is, in which two detectors differ most, no longer counts; where it answers does.

B = images in a batch; C = channels of a student's map, D = of the teacher's; h, w = a map's size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from dataset_culling.detectors.torch_base import TorchDetector
from dataset_culling.errors import ConfigError

LARGEST_RATIO = 1.5
"""Maps of student and teacher belong together where their sides differ by less than this factor."""


class FeatureDistillation:
    """Compares a student's maps with the teacher's, of the same batch.

    A 1x1 convolution brings a student's map to the teacher's channels where their numbers differ; it learns with the
    student and is thrown away with it.

    Args:
        student: The detector that learns.
        teacher: What it learns from; looked through in eval mode, never changed.
        height_px: Height of a batch, to find out which maps belong together.
        width_px: Its width.

    Raises:
        ConfigError: If no two maps are alike in size.
    """

    def __init__(self, student: TorchDetector, teacher: TorchDetector, *, height_px: int, width_px: int) -> None:
        self._student, self._teacher = student, teacher.to(student.device)
        grey = torch.full((1, 3, height_px, width_px), 114, dtype=torch.uint8, device=student.device)
        was_training = student.module.training
        student.module.eval()
        with torch.no_grad():
            mine, theirs = student.feature_maps(grey), teacher.feature_maps(grey)
        student.module.train(was_training)
        self.pairs = _pairs(mine, theirs)
        if not self.pairs:
            raise ConfigError(
                f"recipe.techniques.distillation: no feature maps are alike in size in {student.name} and "
                f"{teacher.name}. Set weight to 0, or choose another student or teacher."
            )
        self.adapters = nn.ModuleList(_adapter(mine[s].shape[1], theirs[t].shape[1]) for s, t in self.pairs).to(
            student.device
        )
        self._seen: list[Tensor] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, maps are taken from the student's own forward pass."""
        self._seen.clear()
        with self._student.watched_maps(self._seen):
            yield

    def loss(self, batch: Tensor) -> Tensor:
        """Half the mean squared difference of the normalised maps, mean over the pairs of maps; 0 to 2.

        Args:
            batch: The images that the student has just seen inside `watching`, (B, 3, H, W) uint8.

        Returns:
            A scalar with the student's gradient: 0 where every channel goes as the teacher's does, about 1 where they
            have nothing to do with each other.
        """
        with torch.no_grad():
            theirs = self._teacher.feature_maps(batch)
        parts = [
            map_distance(adapter(self._seen[s]), theirs[t])
            for (s, t), adapter in zip(self.pairs, self.adapters, strict=True)
        ]
        return torch.stack(parts).mean()


def map_distance(mine: Tensor, theirs: Tensor) -> Tensor:
    """Half the mean squared difference of two maps (B, D, h, w) after normalising each; PKD's Eq. 5 for one level.

    The student's is resized to the teacher's size where they differ by a pixel or so.
    """
    if mine.shape[-2:] != theirs.shape[-2:]:
        mine = functional.interpolate(mine, theirs.shape[-2:], mode="bilinear", align_corners=False)
    return functional.mse_loss(_normalised(mine.float()), _normalised(theirs.float())) / 2


def _normalised(maps: Tensor) -> Tensor:
    mean = maps.mean(dim=(0, 2, 3), keepdim=True)
    deviation = maps.std(dim=(0, 2, 3), keepdim=True, unbiased=False)
    return (maps - mean) / (deviation + 1e-6)


def _adapter(channels: int, wanted: int) -> nn.Module:
    return nn.Identity() if channels == wanted else nn.Conv2d(channels, wanted, 1)


def _pairs(mine: Sequence[Tensor], theirs: Sequence[Tensor]) -> list[tuple[int, int]]:
    """For each of the student's maps the teacher's of the nearest size, where one is near enough."""
    found: list[tuple[int, int]] = []
    for row, own in enumerate(mine):
        apart = [_size_ratio(own, other) for other in theirs]
        best = min(range(len(theirs)), key=apart.__getitem__)
        if apart[best] < LARGEST_RATIO:
            found.append((row, best))
    return found


def _size_ratio(one: Tensor, other: Tensor) -> float:
    """By which factor the sides of two maps differ; at least 1."""
    areas = [math.prod(maps.shape[-2:]) for maps in (one, other)]
    return math.sqrt(max(areas) / max(min(areas), 1))
