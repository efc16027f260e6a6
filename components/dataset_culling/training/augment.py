"""Augmentation of a batch that is at the network's size already: mirror, scale, light.

B = images in a batch, K = boxes of one image; h, w = the network's input size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dataset_culling.detectors.torch_base import Target
from dataset_culling.training.data import Prepared
from dataset_culling.training.recipe import Recipe

FILL = 114
"""Grey around a shrunken image: YOLOX's, and near ImageNet's mean, which is what R-CNNs see as zero."""

LEAST_VISIBLE = 0.3
"""A box of which less than this share of its area is left in the picture becomes an ignore region: it is neither the
object that the teacher saw nor background."""


def augment(samples: Sequence[Prepared], recipe: Recipe, rng: np.random.Generator) -> tuple[Tensor, list[Target]]:
    """Mirror, scale and re-light each image on its own.

    What is switched off draws no random number, so that adding a kind of augmentation leaves older recipes' results.

    Returns:
        The batch (B, 3, h, w) uint8, of the samples' own size, and the targets.
    """
    images, targets = [], []
    for sample in samples:
        image, target = sample.image, sample.target
        if recipe.flip and rng.random() < 0.5:
            image, target = mirror(image, target)
        if recipe.scale_jitter:
            factor = math.exp(rng.uniform(-1, 1) * math.log1p(recipe.scale_jitter))
            image, target = rescale(image, target, factor, place=(rng.random(), rng.random()))
        if recipe.photometric:
            gain, lift = rng.uniform(-recipe.photometric, recipe.photometric, 2)
            mean = float(image.float().mean())
            image = ((image.float() - mean) * (1 + gain) + mean * (1 + lift)).clamp_(0, 255).to(torch.uint8)
        images.append(image)
        targets.append(target)
    return torch.stack(images), targets


def mirror(image: Tensor, target: Target) -> tuple[Tensor, Target]:
    """Left becomes right; image (3, h, w)."""
    boxes = target.boxes_xyxy.clone()
    boxes[:, [0, 2]] = image.shape[2] - target.boxes_xyxy[:, [2, 0]]
    return image.flip(2), Target(boxes, target.class_ids, target.weights, target.ignore)


def rescale(image: Tensor, target: Target, factor: float, *, place: tuple[float, float]) -> tuple[Tensor, Target]:
    """Enlarge and crop, or shrink and pad, so that the picture keeps its size.

    Args:
        image: (3, h, w) uint8.
        target: Its boxes, in its px.
        factor: Above 1 enlarges; the sides are rounded to whole px.
        place: Where the crop, or the shrunken image, lies, as shares (y, x) of the room there is, each 0..1.

    Returns:
        The image (3, h, w), and the boxes, cut at its edges. Boxes that are outside are gone; those of which less than
        LEAST_VISIBLE is left are ignore regions.
    """
    _, h, w = image.shape
    new_h, new_w = max(1, round(h * factor)), max(1, round(w * factor))
    if (new_h, new_w) == (h, w):
        return image, target
    resized = F.interpolate(
        image[None].float(), (new_h, new_w), mode="bilinear", antialias=factor < 1, align_corners=False
    )[0]
    resized = resized.round_().clamp_(0, 255).to(torch.uint8)
    # One of the two is zero on each side: what is cut away in front, or what is left free in front.
    cut_y, cut_x = round(place[0] * max(new_h - h, 0)), round(place[1] * max(new_w - w, 0))
    free_y, free_x = round(place[0] * max(h - new_h, 0)), round(place[1] * max(w - new_w, 0))
    seen = resized[:, cut_y : cut_y + h, cut_x : cut_x + w]
    out = torch.full_like(image, FILL)
    out[:, free_y : free_y + seen.shape[1], free_x : free_x + seen.shape[2]] = seen
    scale = torch.tensor([new_w / w, new_h / h] * 2)
    whole = target.boxes_xyxy * scale + torch.tensor([free_x - cut_x, free_y - cut_y] * 2)
    boxes = torch.minimum(whole.clamp(min=0), torch.tensor([w, h] * 2, dtype=whole.dtype))
    share = _areas_px2(boxes) / _areas_px2(whole).clamp(min=1e-6)
    kept = share > 0
    ignore = target.ignore | (share < LEAST_VISIBLE)
    return out, Target(boxes[kept], target.class_ids[kept], target.weights[kept], ignore[kept])


def _areas_px2(boxes_xyxy: Tensor) -> Tensor:
    return (boxes_xyxy[:, 2] - boxes_xyxy[:, 0]) * (boxes_xyxy[:, 3] - boxes_xyxy[:, 1])
