"""SimOTA: the assignment of YOLOX's predictions to the objects of one image.

G = objects, A = predictions (one per cell of every level), Q = predictions near an object, P = assigned predictions.

Source:
    Ge et al., YOLOX: Exceeding YOLO Series in 2021 (arXiv:2107.08430), section 2.1, SimOTA; after the released code
    (Megvii YOLOX 0.3, Apache-2.0), without its loops over objects and its (G, Q, classes) cost tensor.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_iou

CENTRE_RADIUS = 1.5
"""Largest distance in strides, along x and y, from a prediction's centre to the centre of its object."""

MOST_PREDICTIONS = 10
"""Most predictions of one object; the actual number is the sum of its ten best overlaps."""

IOU_COST = 3.0
_LOG_FLOOR = -100.0  # as in torch's binary cross entropy, so that a score of 0 or 1 costs much but not infinitely much


class Assignment(NamedTuple):
    """P predictions and their objects."""

    prediction: Tensor  # (P,) int64, rows of the image's A predictions, ascending
    truth: Tensor  # (P,) int64, rows of its G objects
    iou: Tensor  # (P,) float32, overlap of the predicted box with the object


@torch.no_grad()
def assign(
    centres_xy: Tensor,
    strides: Tensor,
    boxes_xyxy: Tensor,
    objectness: Tensor,
    class_logits: Tensor,
    truths_xyxy: Tensor,
    truth_class_ids: Tensor,
) -> Assignment:
    """Assign predictions to objects, each prediction to at most one object.

    The cost of a pair is the binary cross entropy of the prediction's class scores against the object's class, plus
    three times -log of their overlap. An object takes the k cheapest predictions near its centre, where k is the sum of
    its ten best overlaps, at least 1. A prediction taken twice goes to the cheaper object.

    Args:
        centres_xy: Centres of the predictions' cells, shape (A, 2), network px.
        strides: Sizes of the cells, shape (A,), network px.
        boxes_xyxy: Predicted boxes, shape (A, 4), network px, float32.
        objectness: Logits, shape (A,), float32.
        class_logits: Shape (A, C), float32.
        truths_xyxy: The objects' boxes, shape (G, 4), network px, float32.
        truth_class_ids: Shape (G,), int64.
    """
    none = torch.zeros(0, dtype=torch.int64, device=boxes_xyxy.device)
    if len(truths_xyxy) == 0:
        return Assignment(none, none, boxes_xyxy.new_zeros(0))
    middle = (truths_xyxy[:, None, :2] + truths_xyxy[:, None, 2:]) / 2
    near_GA = ((centres_xy - middle).abs() < CENTRE_RADIUS * strides[:, None]).all(2)
    candidate = near_GA.any(0).nonzero().squeeze(1)
    if len(candidate) == 0:  # centres outside the image
        return Assignment(none, none, boxes_xyxy.new_zeros(0))
    near_GQ = near_GA[:, candidate]
    iou_GQ = box_iou(truths_xyxy, boxes_xyxy[candidate])

    score_QC = (class_logits[candidate].sigmoid() * objectness[candidate].sigmoid()[:, None]).sqrt()
    yes_QC = score_QC.log().clamp(min=_LOG_FLOOR)
    no_QC = torch.log1p(-score_QC).clamp(min=_LOG_FLOOR)
    # The sum over classes of the cross entropy with a one-hot target, without a (G, Q, C) tensor.
    class_cost_GQ = (no_QC - yes_QC).T[truth_class_ids] - no_QC.sum(1)
    cost_GQ = class_cost_GQ - IOU_COST * torch.log(iou_GQ + 1e-8)
    cost_GQ = cost_GQ.masked_fill(~near_GQ, torch.inf)

    most = min(MOST_PREDICTIONS, len(candidate))
    wanted_G = iou_GQ.topk(most, dim=1).values.sum(1).int().clamp(min=1)
    cheapest = cost_GQ.topk(most, dim=1, largest=False).indices
    taken_GQ = torch.zeros_like(near_GQ).scatter_(
        1, cheapest, torch.arange(most, device=cheapest.device) < wanted_G[:, None]
    )
    taken_GQ &= near_GQ  # an object near the border may have fewer than it wants
    truth_Q = cost_GQ.masked_fill(~taken_GQ, torch.inf).argmin(0)
    kept = taken_GQ.any(0).nonzero().squeeze(1)
    truth = truth_Q[kept]
    return Assignment(candidate[kept], truth, iou_GQ[truth, kept])
