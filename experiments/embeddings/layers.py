"""Crops as a detector's backbone sees them: its feature maps, pooled.

N = crops, S = side of a crop in px, D = length of an embedding; C, h, w = a map's channels and size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dataset_culling.detectors.torch_base import TorchDetector
from dataset_culling.types import Float32Array, ImageArray

KERNELS = (3, 4, 5)
MAX_DIMENSIONS = 2000
"""An embedding is shorter than this: a map is pooled again and again until it is."""

GLOBAL = "global"


@dataclass(frozen=True, slots=True)
class Layer:
    """A feature map and its pooling."""

    layer: str  # the map's number, or "all": every map's global mean, one after the other
    stride_px: int  # of the map; 0 for "all"
    pooling: str  # "global", or "avg K"


def crop_of(image: ImageArray, box_xyxy: Float32Array, side_px: int) -> ImageArray:
    """A box of an image, warped to a square, shape (S, S, 3).

    Its shape is not kept: padding would tell tall from wide, and so persons from cars, whatever the network sees.

    Args:
        image: Shape (H, W, 3), uint8 RGB.
        box_xyxy: In its px, shape (4,); clipped to it, at least one px each way.
        side_px: S.

    Source:
        Girshick et al., Rich feature hierarchies (R-CNN), CVPR 2014, appendix A: warping.
    """
    height, width = image.shape[:2]
    x1, y1 = (int(np.clip(np.floor(box_xyxy[k]), 0, (width, height)[k] - 1)) for k in (0, 1))
    x2, y2 = (int(np.clip(np.ceil(box_xyxy[2 + k]), (x1, y1)[k] + 1, (width, height)[k])) for k in (0, 1))
    how = cv2.INTER_AREA if min(x2 - x1, y2 - y1) > side_px else cv2.INTER_LINEAR
    warped: ImageArray = cv2.resize(image[y1:y2, x1:x2], (side_px, side_px), interpolation=how)
    return warped


def embed_crops(
    detector: TorchDetector, crops: Sequence[ImageArray], *, batch_size: int = 32
) -> list[tuple[Layer, Float32Array]]:
    """Every embedding of the crops that the detector's feature maps give.

    Args:
        detector: Looked through in eval mode.
        crops: At least one, each (S, S, 3) uint8 RGB, S a multiple of 32.
        batch_size: Crops that go through the network at once.

    Returns:
        (layer, (N, D)) for every map under its global mean and each kernel that it is large enough for, and last for
        all maps' global means together, which is what student scoring keeps of a frame.
    """
    parts: dict[Layer, list[Float32Array]] = {}
    height_px, width_px = crops[0].shape[:2]
    side_px, _ = detector.network_size(height_px, width_px, height_px)  # some take no smaller one
    was_training = detector.module.training
    detector.module.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(crops), batch_size):
                batch = np.stack([detector.prepare(crop, side_px).image for crop in crops[start : start + batch_size]])
                stacked = torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous()
                maps = [one.float() for one in detector.feature_maps(stacked.to(detector.device))]
                for layer, values in _pooled(maps, side_px):
                    parts.setdefault(layer, []).append(values.cpu().numpy())
    finally:
        detector.module.train(was_training)
    return [(layer, np.concatenate(found)) for layer, found in parts.items()]


def _pooled(maps: Sequence[Tensor], side_px: int) -> Iterator[tuple[Layer, Tensor]]:
    for number, one in enumerate(maps):
        stride_px = round(side_px / one.shape[-1])
        yield Layer(str(number), stride_px, GLOBAL), one.mean(dim=(2, 3))
        for kernel in KERNELS:
            found = reduced(one, kernel)
            if found is not None:
                yield Layer(str(number), stride_px, f"avg {kernel}"), found.flatten(1)
    yield Layer("all", 0, GLOBAL), torch.cat([one.mean(dim=(2, 3)) for one in maps], dim=1)


def reduced(one: Tensor, kernel: int) -> Tensor | None:
    """A map (N, C, h, w) average-pooled with this kernel and stride, once at least, until C h w < 2000.

    Returns:
        (N, C, h', w'); None where the map is smaller than the kernel before it is short enough, or would be pooled to
        one px, which is the global mean but for its edge.

    Source:
        Hirner, Transfer Learning for Fun and Profit (2017): "reduction to <2000 with avg_pool kernel size [3, 4, 5]";
        pooling more than once where once is not enough is ours.
    """
    while True:
        if min(one.shape[-2:]) < kernel:
            return None
        one = functional.avg_pool2d(one, kernel)
        if one.shape[-1] == one.shape[-2] == 1:
            return None
        if one[0].numel() < MAX_DIMENSIONS:
            return one
