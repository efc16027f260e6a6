"""How far the teacher is to be believed, box by box: does it say the same of the same thing seen another way?

N = frames, M = teacher boxes, V = other views of the same frames (mirrored, at another size, a moment later).

Views are looked at by the caller (these are pure functions); `mirrored` and `rescaled` bring their boxes back. Source
of the idea: consistency under augmentation, Yu et al., CALD, CVPR workshops 2022, here asked of the teacher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from dataset_culling.boxes import candidate_pairs, match_greedy
from dataset_culling.types import BoolArray, Detections, FloatArray, IntArray

Float64Array = npt.NDArray[np.float64]


def mirrored(view: Detections, width_px: IntArray) -> Detections:
    """Boxes found in left-right mirrored frames, brought back.

    Args:
        view: Boxes of N mirrored frames.
        width_px: Width of each frame, shape (N,).
    """
    width = width_px[view.frame_rows()].astype(np.float32)
    boxes = view.boxes_xyxy.copy()
    boxes[:, 0], boxes[:, 2] = width - view.boxes_xyxy[:, 2], width - view.boxes_xyxy[:, 0]
    return replace(view, boxes_xyxy=boxes)


def rescaled(view: Detections, scale: float) -> Detections:
    """Boxes found in frames that were scaled by `scale`, brought back to the original's pixels."""
    return replace(view, boxes_xyxy=(view.boxes_xyxy / np.float32(scale)).astype(np.float32))


def neighbours(labels: Detections, step: int, *, max_gap_s: float) -> Detections:
    """As a view: for each frame the boxes of the frame `step` rows later (earlier when negative).

    Objects move, so compare such a view at a low IoU. Frames without a neighbour within `max_gap_s` seconds are marked
    as not looked at, and `agreement` leaves them out.
    """
    rows = np.arange(len(labels)) + step
    there = (rows >= 0) & (rows < len(labels))
    rows = np.clip(rows, 0, max(len(labels) - 1, 0))
    if len(labels):
        there &= np.abs(labels.time_s[rows] - labels.time_s) <= max_gap_s
    images = [labels.image(int(row)) for row in rows]
    moved = Detections.from_images(
        images, frame_ids=labels.frame_ids, time_s=labels.time_s, class_names=labels.class_names
    )
    return replace(moved, scored=there).keep_boxes(there[moved.frame_rows()])


def agreement(labels: Detections, views: Sequence[Detections], *, iou: float = 0.5) -> Float64Array:
    """How well each of the teacher's boxes is found again in other views of its frame.

    Args:
        labels: The teacher's boxes on N frames.
        views: Its boxes on other views of the same frames, brought back to their pixels; V of them. A view's frame
            that was not looked at does not count.
        iou: Least overlap at which a box counts as found again; one to one, better scores first.

    Returns:
        Mean overlap with its counterpart over the views, 0 where there is none, shape (M,); 1 where no view looked.

    Raises:
        ValueError: If a view is of other frames or classes.
    """
    order = np.lexsort((-labels.scores, _keys(labels)))
    keys, boxes = _keys(labels)[order], labels.boxes_xyxy[order]
    total, looks = np.zeros(len(order)), np.zeros(len(order))
    for view in views:
        if view.class_names != labels.class_names or not np.array_equal(view.frame_ids, labels.frame_ids):
            raise ValueError("every view must be of the labels' frames and classes")
        again = np.argsort(_keys(view), kind="stable")
        plain = np.zeros(len(again), np.bool_)
        pairs = candidate_pairs(keys, boxes, _keys(view)[again], view.boxes_xyxy[again], plain, min_iou=iou)
        match = match_greedy(pairs, num_dets=len(order), truth_ignored=plain, truth_crowd=plain)
        taken = match[pairs.det] == pairs.truth
        total[pairs.det[taken]] += pairs.iou[taken]
        looks += view.scored[labels.frame_rows()[order]]
    trust = np.ones(len(order))
    trust[order] = np.divide(total, looks, out=np.ones(len(order)), where=looks > 0)
    return trust


def mark_doubtful(labels: Detections, trust: FloatArray, *, least: float, by_class: Mapping[str, float]) -> Detections:
    """The same labels with boxes of little trust as ignore regions: neither object nor background.

    Args:
        labels: The teacher's boxes on N frames.
        trust: Of each box, shape (M,).
        least: Boxes with less are doubtful.
        by_class: Class name -> its own threshold.

    Raises:
        ValueError: If shapes differ or `by_class` names a class that is none.
    """
    if trust.shape != labels.scores.shape:
        raise ValueError(f"trust must have shape {labels.scores.shape}, got {trust.shape}")
    if unknown := sorted(set(by_class) - set(labels.class_names)):
        raise ValueError(f"by_class names {unknown[0]}, known classes are {', '.join(labels.class_names)}")
    thresholds = np.array([by_class.get(name, least) for name in labels.class_names])
    return replace(labels, ignore=labels.ignore | (trust < thresholds[labels.class_ids]))


def doubtful_frames(labels: Detections, *, max_share: float) -> BoolArray:
    """Frames in which more than `max_share` of the teacher's boxes are doubtful, shape (N,)."""
    boxes = np.diff(labels.offsets)
    doubtful = np.bincount(labels.frame_rows()[labels.ignore], minlength=len(labels))
    return np.asarray(doubtful > max_share * boxes)


def worst_boxes(labels: Detections, trust: FloatArray, *, most: int) -> IntArray:
    """The boxes a person should look at first: least trust, then highest score; indices into the boxes, (K,)."""
    return np.lexsort((-labels.scores, trust))[:most].astype(np.int64)


def _keys(boxes: Detections) -> IntArray:
    return boxes.frame_rows() * len(boxes.class_names) + boxes.class_ids
