"""The paper's precision loss: the student's errors with the teacher's boxes as truth (section 2.1).

See precision/README.md.

N = frames, C = classes, D = student boxes, G = teacher boxes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from dataset_culling.boxes import candidate_pairs, grouped_average_precision, match_greedy, sort_boxes
from dataset_culling.ranking import keep_hardest
from dataset_culling.strategies.base import BoxFilter, CullInput, Float64Array, require_same_frames, selection_of
from dataset_culling.types import BoolArray, Detections, IntArray, Selection

MAX_DETS = 100  # of one class in one image, as in COCO
RATIO_FLOOR = 0.1  # recall-precision: recall and precision below this count as this


class PrecisionConfig(BoxFilter):
    """Comparison of student and teacher."""

    measure: Literal["average-precision", "recall-precision", "localisation-aware"] = Field(
        "average-precision", description="Measure of a frame's difficulty; see the method card."
    )
    iou: float = Field(0.5, gt=0, le=1, description="Least overlap of a match.")
    f1_weight: float = Field(
        0.001,
        ge=0,
        le=1,
        description="Weight of 1 - F1 beside the measure. 0.001 only separates frames of equal AP; 0 is AP alone, "
        "which ignores false boxes that score less than all true ones; 1 counts both alike.",
    )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Student against teacher on N frames by class; all columns have shape (N, C)."""

    ap: Float64Array  # COCO's 101-point average precision; 0 where not present
    present: BoolArray  # a teacher box that is not ignored, or a student box that matches no ignored one
    hits: IntArray  # student boxes matched with a teacher box
    false: IntArray  # student boxes without a match, not even an ignored box
    missed: IntArray  # teacher boxes, ignored ones apart, without a student box
    overlap: Float64Array  # IoU summed over the hits

    def frame_mean(self, values: Float64Array, *, empty: float) -> Float64Array:
        """Average `values` (N, C) over the classes present, shape (N,); `empty` for a frame without any."""
        count = self.present.sum(axis=1)
        total = np.where(self.present, values, 0.0).sum(axis=1)
        return np.where(count > 0, total / np.maximum(count, 1), empty)


def compare(student: Detections, teacher: Detections, *, iou: float = 0.5) -> Comparison:
    """Match boxes within frame and class, one to one in score order, and compute AP per frame and class.

    Args:
        student: Boxes of N frames.
        teacher: Boxes of the same N frames; ignored boxes are neither objects nor background.
        iou: Least overlap of a match.

    Raises:
        ValueError: If frames or classes differ, or a frame was not scored.

    Source:
        pycocotools COCOeval (per class and image, maxDets 100, all areas).
    """
    require_same_frames(student, teacher)
    num_classes = len(teacher.class_names)
    num_groups = len(teacher) * num_classes
    det_keys = student.frame_rows() * num_classes + student.class_ids
    det_order = np.lexsort((-student.scores, det_keys))  # equal scores keep their order
    det_keys = det_keys[det_order]
    best = np.arange(len(det_keys)) - np.searchsorted(det_keys, det_keys, side="left") < MAX_DETS
    det_order, det_keys = det_order[best], det_keys[best]
    truth_keys = teacher.frame_rows() * num_classes + teacher.class_ids
    truth_order = np.argsort(truth_keys, kind="stable")
    truth_keys, ignored = truth_keys[truth_order], teacher.ignore[truth_order]
    pairs = candidate_pairs(
        det_keys, student.boxes_xyxy[det_order], truth_keys, teacher.boxes_xyxy[truth_order], ignored, min_iou=iou
    )
    match = match_greedy(pairs, num_dets=len(det_keys), truth_ignored=ignored, truth_crowd=ignored)
    counted = ~((match >= 0) & ignored[match]) if len(ignored) else np.ones(len(match), np.bool_)
    hit = counted & (match >= 0)
    num_truths = np.bincount(truth_keys[~ignored], minlength=num_groups)
    num_dets = np.bincount(det_keys[counted], minlength=num_groups)
    num_hits = np.bincount(det_keys[hit], minlength=num_groups)
    before = np.cumsum(num_dets) - num_dets
    position = np.cumsum(counted)[hit] - before[det_keys[hit]]
    best_iou = np.zeros(len(det_keys))
    taken = match[pairs.det] == pairs.truth
    best_iou[pairs.det[taken]] = pairs.iou[taken]
    overlap = np.bincount(det_keys[hit], weights=best_iou[hit], minlength=num_groups).astype(np.float64)
    shape = (len(teacher), num_classes)
    return Comparison(
        ap=grouped_average_precision(det_keys[hit], position, num_truths).reshape(shape),
        present=((num_truths > 0) | (num_dets > 0)).reshape(shape),
        hits=num_hits.reshape(shape),
        false=(num_dets - num_hits).reshape(shape),
        missed=(num_truths - num_hits).reshape(shape),
        overlap=overlap.reshape(shape),
    )


def per_image_ap(student: Detections, teacher: Detections, *, iou: float = 0.5) -> Float64Array:
    """Compute the average precision of each frame; arguments and errors as for `compare`.

    Returns:
        Shape (N,), 0 to 1: the mean over the classes present in teacher or student. A class that only the student
        detects has AP 0; a frame without any box has AP 1.

    Source:
        Yoshioka et al., Dataset Culling, ICIP 2019 (arXiv:1902.00173), section 2.1; COCO's 101-point AP per image and
        class, as pycocotools gives it for that image alone.
    """
    result = compare(student, teacher, iou=iou)
    return result.frame_mean(result.ap, empty=1.0)


def precision_loss(result: Comparison, *, measure: str = "average-precision", f1_weight: float = 0.001) -> Float64Array:
    """Compute the difficulty of each frame by one of three measures, plus a term for false boxes.

    average-precision: 1 - AP. recall-precision: (1/recall + 1/precision - 2) / 18, with both no less than 0.1.
    localisation-aware: 1 - sum of IoU over hits / (hits + false/2 + missed/2). Each is averaged over the classes
    present. The term is f1_weight * (1 - F1 + 0.001 false / (1 + false)), counted over all classes.

    Returns:
        Shape (N,), at least 0; exactly 0 where student and teacher agree.

    Source:
        average-precision: the paper, section 2.1. recall-precision: the idea of its released code, with a share of
        misses in place of their number and a bound. localisation-aware: panoptic quality, Kirillov et al., CVPR 2019.
    """
    found, wanted = result.hits + result.false, result.hits + result.missed
    if measure == "average-precision":
        loss = 1 - result.ap
    elif measure == "recall-precision":
        recall = np.divide(result.hits, wanted, out=np.ones(wanted.shape), where=wanted > 0)
        precision = np.divide(result.hits, found, out=np.ones(found.shape), where=found > 0)
        inverse = 1 / np.maximum(recall, RATIO_FLOOR) + 1 / np.maximum(precision, RATIO_FLOOR)
        loss = (inverse - 2) / (2 / RATIO_FLOOR - 2)
    elif measure == "localisation-aware":
        half = (found + wanted) / 2
        loss = 1 - np.divide(result.overlap, half, out=np.ones(half.shape), where=half > 0)
    else:
        raise ValueError(f"measure must be average-precision, recall-precision or localisation-aware, got {measure}")
    hits, false, missed = (column.sum(axis=1) for column in (result.hits, result.false, result.missed))
    errors = false + missed
    f1_loss = np.divide(errors, 2 * hits + errors, out=np.zeros(len(hits)), where=errors > 0)
    beside: Float64Array = f1_weight * (f1_loss + 0.001 * false / (1 + false))
    return result.frame_mean(loss, empty=0.0) + beside


def keep_worst(pool: CullInput, *, budget: int, min_gap_s: float, config: PrecisionConfig) -> Selection:
    """Keep the frames with the largest precision loss; the order of a frame's boxes does not matter."""
    teacher = sort_boxes(pool.require_labels())
    student = sort_boxes(pool.detections.keep_boxes(config.mask(pool.detections)))
    result = compare(student, teacher, iou=config.iou)
    loss = precision_loss(result, measure=config.measure, f1_weight=config.f1_weight)
    rows = keep_hardest(loss, pool.time_s, budget=budget, min_gap_s=min_gap_s)
    ap = result.frame_mean(result.ap, empty=1.0)
    hits, missed, false = (column.sum(axis=1) for column in (result.hits, result.missed, result.false))
    reasons = [f"AP {ap[row]:.2f}: {hits[row]} found, {missed[row]} missed, {false[row]} false" for row in rows]
    return selection_of(pool.detections, rows, loss, reasons)
