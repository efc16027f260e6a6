"""Labels compared with the truth, and labels spoilt on purpose: for benchmarks on simulated cameras.

N = frames, M = label boxes, G = truth boxes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataset_culling.boxes import Pairs, candidate_pairs, match_greedy
from dataset_culling.evaluation.coco import evaluate
from dataset_culling.types import BoolArray, Detections, IntArray


@dataclass(frozen=True, slots=True)
class LabelQuality:
    """Correctness of labels at IoU 0.5; ignore regions of either side are neither right nor wrong."""

    precision: float  # share of the labels that are a true object of their class; 1 without labels
    recall: float  # share of the true objects that are labelled; those only in an ignore region are left out
    recall_all: float  # the same over all true objects: ignore regions excuse nothing
    map_50: float  # the labels as detections by their scores, 0 without truth
    class_errors: int  # labels on a true object of another class
    num_labels: int


def label_quality(labels: Detections, truth: Detections) -> LabelQuality:
    """Labels against the truth.

    Args:
        labels: Boxes of N frames, doubtful ones marked `ignore`.
        truth: True boxes of the same frames and classes, those not asked for marked `ignore`.
    """
    sure = labels.keep_boxes(~labels.ignore)
    match = matched(sure, truth, by_class=True)
    hit = match >= 0
    right = hit & ~_of(truth.ignore, match)
    judged = ~(hit & _of(truth.ignore, match))
    found = np.zeros(len(truth.scores), np.bool_)
    found[match[hit]] = True
    # An object in an ignore region is not called background: it is left out, as training leaves it out.
    excused = np.zeros(len(truth.scores), np.bool_)
    doubtful = labels.keep_boxes(labels.ignore)
    near = matched(doubtful, truth, by_class=False)
    excused[near[near >= 0]] = True
    true = ~truth.ignore
    asked = true & (found | ~excused)
    anywhere = matched(sure, truth, by_class=False)
    other = (anywhere >= 0) & ~hit
    other[other] = sure.class_ids[other] != truth.class_ids[anywhere[other]]
    return LabelQuality(
        precision=float(right.sum() / judged.sum()) if judged.any() else 1.0,
        recall=float((found & asked).sum() / asked.sum()) if asked.any() else 1.0,
        recall_all=float((found & true).sum() / true.sum()) if true.any() else 1.0,
        map_50=max(evaluate(sure, truth).map_50, 0.0),
        class_errors=int(other.sum()),
        num_labels=len(sure.scores),
    )


def matched(boxes: Detections, truth: Detections, *, by_class: bool, min_iou: float = 0.5) -> IntArray:
    """For each box the true one it is, or -1: one to one, better scores first, real objects before ignored ones.

    Args:
        boxes: Of N frames, M in all.
        truth: Of the same frames; ignored ones are taken as COCO takes crowds.
        by_class: Whether the classes must agree.
        min_iou: Least overlap.

    Returns:
        Indices into the truth's boxes, shape (M,).
    """
    num = len(truth.class_names) if by_class else 1
    keys = boxes.frame_rows() * num + (boxes.class_ids if by_class else 0)
    true_keys = truth.frame_rows() * num + (truth.class_ids if by_class else 0)
    order, true_order = np.lexsort((-boxes.scores, keys)), np.argsort(true_keys, kind="stable")
    ignored = truth.ignore[true_order]
    pairs: Pairs = candidate_pairs(
        keys[order], boxes.boxes_xyxy[order], true_keys[true_order], truth.boxes_xyxy[true_order], ignored,
        min_iou=min_iou,
    )  # fmt: skip
    match = match_greedy(pairs, num_dets=len(order), truth_ignored=ignored, truth_crowd=ignored)
    found = np.full(len(order), -1, np.int64)
    found[order[match >= 0]] = true_order[match[match >= 0]]
    return found


def miss_boxes(labels: Detections, share: float, *, seed: int) -> Detections:
    """The labels of a teacher that misses each box with probability `share`, whatever its score."""
    return labels.keep_boxes(np.random.default_rng(seed).random(len(labels.scores)) >= share)


def miss_objects(labels: Detections, truth: Detections, object_ids: IntArray, share: float, *, seed: int) -> Detections:
    """The labels of a teacher that never sees a share of the objects: the harder kind, as nothing tells of them.

    Args:
        labels: Boxes of N frames.
        truth: True boxes of the same frames.
        object_ids: Which object each true box is of, shape (G,).
        share: Of the objects, drawn at random; boxes without an object go with the same probability.
        seed: Of the random draw.
    """
    rng = np.random.default_rng(seed)
    objects = np.unique(object_ids)
    unseen = objects[rng.random(len(objects)) < share]
    match = matched(labels, truth, by_class=False)
    lost = rng.random(len(labels.scores)) < share
    hit = match >= 0
    lost[hit] = np.isin(object_ids[match[hit]], unseen)
    return labels.keep_boxes(~lost)


def _of(marks: npt.NDArray[np.bool_], match: IntArray) -> BoolArray:
    """The marks of what was matched, False where nothing was."""
    found = np.zeros(len(match), np.bool_)
    found[match >= 0] = marks[match[match >= 0]]
    return found
