"""Parts shared by detectors with COCO's classes and torchvision's modules.

C = classes, a = anchors per place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import box_iou

from dataset_culling.detectors.torch_base import Target

IGNORE_IOU = 0.5
"""Predictions and anchors that overlap a doubtful box by more than this are not background."""

_CATEGORIES: Sequence[str] = SSDLite320_MobileNet_V3_Large_Weights.COCO_V1.meta["categories"]

COCO_IDS: tuple[int, ...] = tuple(row for row, name in enumerate(_CATEGORIES) if name not in ("__background__", "N/A"))
"""COCO's category ids, 1..90 with gaps: the used columns of torchvision's published heads."""

COCO_NAMES: tuple[str, ...] = tuple(_CATEGORIES[row] for row in COCO_IDS)
"""COCO's 80 classes in the order of their ids, which is also the order of the YOLO family."""


class PreparedTransform(GeneralizedRCNNTransform):  # type: ignore[misc]
    """Normalises and batches without resizing, which `TorchDetector.prepare` has done."""

    def resize(self, image: Tensor, target: Any = None) -> tuple[Tensor, Any]:
        """Return image and target unchanged."""
        return image, target


def mapped_conv(old: nn.Conv2d, rows: Sequence[Sequence[int]], *, anchors: int = 1) -> nn.Conv2d:
    """Build the convolution of class scores for other classes, on the same device.

    Args:
        old: Its output channels are (a, C), class last.
        rows: For each new class the old classes whose mean weights it starts with, none empty.
        anchors: a; the new output channels are (a, len(rows)).
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
    """Mark the boxes (K, 4) with an area, shape (K,); training skips the others."""
    return (boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]).all(1)


def torchvision_targets(targets: Sequence[Target], *, first_class: int) -> list[dict[str, Tensor]]:
    """Convert targets to torchvision's dictionaries, with label weights and ignore boxes beside them."""
    wanted = []
    for target in targets:
        sure = ~target.ignore & usable(target.boxes_xyxy)
        wanted.append(
            {
                "boxes": target.boxes_xyxy[sure],
                "labels": target.class_ids[sure] + first_class,
                "weights": target.weights[sure],
                "ignore_boxes": target.boxes_xyxy[target.ignore],
            }
        )
    return wanted


def is_near(boxes_xyxy: Tensor, ignore_xyxy: Tensor) -> Tensor:
    """Mark the boxes (A, 4) that overlap one of the ignore boxes (I, 4), I >= 1, by more than `IGNORE_IOU`."""
    near: Tensor = box_iou(boxes_xyxy, ignore_xyxy).amax(1) > IGNORE_IOU
    return near


def use_published_norms(module: nn.Module) -> None:
    """Set the eps of batch norms for weights trained without one; torchvision sets 0 and never trains it."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eps = 1e-9
