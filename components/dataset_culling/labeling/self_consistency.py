"""Self-consistency of the teacher, box by box: agreement with its own boxes in other views of the frame.

N = frames, M = teacher boxes, V = other views of the same frames (mirrored, at another size, a moment later).

Views are looked at by the caller (these are pure functions); `mirrored` brings boxes of mirrored frames back, those of
`zoomed_out` frames are in the original's pixels already. Source of the idea: consistency under augmentation, Yu et al.,
CALD, CVPR workshops 2022, here asked of the teacher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from dataset_culling.boxes import candidate_pairs, match_greedy
from dataset_culling.types import BoolArray, Detections, FloatArray, ImageArray, IntArray

Float64Array = npt.NDArray[np.float64]
GREY = 114  # what letterboxes are filled with since YOLOv5; any even colour serves


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


def flipped(image: ImageArray) -> ImageArray:
    """An image (H, W, 3) mirrored left to right; `mirrored` brings its boxes back."""
    return np.ascontiguousarray(image[:, ::-1])


def zoomed_out(image: ImageArray, scale: float) -> ImageArray:
    """An image (H, W, 3) in the upper left of a grey canvas, so that its objects are `scale` times their size.

    Unlike another input side, this is another size also to a network whose input is fixed, and boxes found in the
    canvas are in the image's own pixels.

    Raises:
        ValueError: If `scale` does not lie between 0 and 1.
    """
    if not 0 < scale < 1:
        raise ValueError(f"scale must lie between 0 and 1, got {scale}")
    height, width = image.shape[:2]
    canvas = np.full((round(height / scale), round(width / scale), 3), GREY, np.uint8)
    canvas[:height, :width] = image
    return canvas


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


def agreement(
    labels: Detections,
    views: Sequence[Detections],
    *,
    near: Sequence[Detections] = (),
    iou: float = 0.5,
    near_iou: float = 0.1,
) -> Float64Array:
    """Measure how well each of the teacher's boxes is found again in other views of its frame.

    Args:
        labels: The teacher's boxes on N frames.
        views: Its boxes on other views of the same frames, brought back to their pixels; V of them. A view's frame
            that was not looked at does not count.
        near: Its boxes on the frames before and after (`neighbours`). Objects move and come and go, so these count
            together as one view, which says 1 where any of them has a counterpart and 0 where none has.
        iou: Least overlap at which a box counts as found again; one to one, better scores first.
        near_iou: The same for `near`.

    Returns:
        Mean over the views of the overlap with the box's counterpart there, 0 if it has none, shape (M,); 1 where
        no view looked.

    Raises:
        ValueError: If a view is of other frames or classes.
    """
    total, looks = np.zeros(len(labels.scores)), np.zeros(len(labels.scores))
    for view in views:
        overlap, looked = _found_again(labels, view, iou)
        total += overlap
        looks += looked
    if near:
        again = [_found_again(labels, view, near_iou) for view in near]
        total += np.any([overlap > 0 for overlap, _ in again], axis=0)
        looks += np.any([looked for _, looked in again], axis=0)
    return np.divide(total, looks, out=np.ones(len(total)), where=looks > 0)


def _found_again(labels: Detections, view: Detections, iou: float) -> tuple[Float64Array, BoolArray]:
    """Return the overlap of each label with its counterpart (0: none), and whether the view was scored; both (M,)."""
    if view.class_names != labels.class_names or not np.array_equal(view.frame_ids, labels.frame_ids):
        raise ValueError("every view must be of the labels' frames and classes")
    order = np.lexsort((-labels.scores, _keys(labels)))
    again = np.argsort(_keys(view), kind="stable")
    plain = np.zeros(len(again), np.bool_)
    pairs = candidate_pairs(
        _keys(labels)[order], labels.boxes_xyxy[order], _keys(view)[again], view.boxes_xyxy[again], plain, min_iou=iou
    )
    match = match_greedy(pairs, num_dets=len(order), truth_ignored=plain, truth_crowd=plain)
    taken = match[pairs.det] == pairs.truth
    overlap = np.zeros(len(order))
    overlap[order[pairs.det[taken]]] = pairs.iou[taken]
    return overlap, view.scored[labels.frame_rows()]


def frame_trust(labels: Detections, trust: FloatArray, among: BoolArray) -> Float64Array:
    """Mean trust of a frame's boxes.

    Args:
        labels: The teacher's boxes on N frames.
        trust: Of each box, shape (M,).
        among: Boxes that count, shape (M,).

    Returns:
        Shape (N,); 1 for a frame without a box that counts: where the teacher claims nothing, nothing is doubtful.
    """
    rows = labels.frame_rows()[among]
    counted = np.bincount(rows, minlength=len(labels))
    total = np.bincount(rows, weights=np.asarray(trust, np.float64)[among], minlength=len(labels))
    return np.divide(total, counted, out=np.ones(len(labels)), where=counted > 0)


def mark_doubtful(labels: Detections, trust: FloatArray, *, least: float, by_class: Mapping[str, float]) -> Detections:
    """The same labels with boxes of little trust as ignore regions: neither object nor background.

    Args:
        labels: The teacher's boxes on N frames.
        trust: Of each box, shape (M,).
        least: Boxes with less are doubtful.
        by_class: Class name -> its own threshold.

    Raises:
        ValueError: If shapes differ or `by_class` names an unknown class.
    """
    if trust.shape != labels.scores.shape:
        raise ValueError(f"trust must have shape {labels.scores.shape}, got {trust.shape}")
    if unknown := sorted(set(by_class) - set(labels.class_names)):
        raise ValueError(f"by_class names {unknown[0]}, known classes are {', '.join(labels.class_names)}")
    thresholds = np.array([by_class.get(name, least) for name in labels.class_names])
    return replace(labels, ignore=labels.ignore | (trust < thresholds[labels.class_ids]))


def worst_boxes(labels: Detections, trust: FloatArray, among: BoolArray, *, most: int) -> IntArray:
    """The boxes a person should look at first: least trust, then highest score.

    Args:
        labels: The teacher's boxes on N frames.
        trust: Of each box, shape (M,).
        among: Boxes that may be listed, shape (M,).
        most: Most boxes.

    Returns:
        Indices into the boxes, shape (K,) with K <= most.
    """
    order = np.lexsort((-labels.scores, trust)).astype(np.int64)
    return order[among[order]][:most]


def _keys(boxes: Detections) -> IntArray:
    return boxes.frame_rows() * len(boxes.class_names) + boxes.class_ids
