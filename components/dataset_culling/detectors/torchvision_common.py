"""What detectors with COCO's classes and torchvision's parts share.

C = classes, a = anchors per place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights
from torchvision.models.detection.transform import GeneralizedRCNNTransform

IGNORE_IOU = 0.5
"""Predictions and anchors that overlap a doubtful box by more than this are no background."""

_CATEGORIES: Sequence[str] = SSDLite320_MobileNet_V3_Large_Weights.COCO_V1.meta["categories"]

COCO_IDS: tuple[int, ...] = tuple(row for row, name in enumerate(_CATEGORIES) if name not in ("__background__", "N/A"))
"""COCO's own category ids, 1..90 with gaps: the columns of torchvision's published heads that mean something."""

COCO_NAMES: tuple[str, ...] = tuple(_CATEGORIES[row] for row in COCO_IDS)
"""COCO's 80 classes in the order of their ids, which is also the order of the YOLO family."""


class PreparedTransform(GeneralizedRCNNTransform):  # type: ignore[misc]
    """Normalises and batches, but leaves the size alone: `TorchDetector.prepare` has seen to it."""

    def resize(self, image: Tensor, target: Any = None) -> tuple[Tensor, Any]:
        """The image and its target as they are."""
        return image, target


def mapped_conv(old: nn.Conv2d, rows: Sequence[Sequence[int]], *, anchors: int = 1) -> nn.Conv2d:
    """A convolution that gives class scores, for other classes.

    Args:
        old: Its output channels are (a, C), class last.
        rows: For each new class the old classes whose mean weights it starts with, none empty.
        anchors: a.

    Returns:
        A convolution on the same device whose output channels are (a, len(rows)).
    """
    new = nn.Conv2d(
        old.in_channels,
        anchors * len(rows),
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
    ).to(old.weight.device)
    assert old.bias is not None
    assert new.bias is not None
    with torch.no_grad():
        weight = old.weight.reshape(anchors, -1, *old.weight.shape[1:])
        bias = old.bias.reshape(anchors, -1)
        new.weight.copy_(torch.stack([weight[:, list(olds)].mean(1) for olds in rows], 1).flatten(0, 1))
        new.bias.copy_(torch.stack([bias[:, list(olds)].mean(1) for olds in rows], 1).flatten(0, 1))
    return new


def usable(boxes_xyxy: Tensor) -> Tensor:
    """Which boxes (K, 4) have an area, shape (K,); the others cannot be learnt from."""
    return (boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]).all(1)
