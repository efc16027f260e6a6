"""Overlap of boxes, COCO's greedy one-to-one matching and average precision, for whole data sets at once.

D = detections, G = truth boxes, P = candidate pairs (a detection and a truth box of one frame and class).

Rules and arithmetic are those of pycocotools' COCOeval (BSD-2-Clause, https://github.com/cocodataset/cocoapi), so that
figures agree to the last bits. Array operations replace its loops over images, boxes and thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dataset_culling.types import BoolArray, Detections, Float32Array, FloatArray, IntArray

Float64Array = npt.NDArray[np.float64]

RECALL_LEVELS: Float64Array = np.linspace(0.0, 1.0, 101)
"""Recalls at which COCO reads precision: 0, 0.01 ... 1."""

MAX_PAIRS = 2_000_000  # candidate pairs held at once: about 200 MB of scratch


def box_areas_px2(boxes_xyxy: FloatArray) -> Float64Array:
    """Compute width times height of each box: (M, 4) px to (M,) px squared."""
    boxes = boxes_xyxy.astype(np.float64)
    areas: Float64Array = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas


def paired_iou(dets_xyxy: FloatArray, truths_xyxy: FloatArray, crowd: BoolArray) -> Float64Array:
    """Compute the overlap of each detection with the truth box in the same row.

    Args:
        dets_xyxy: Shape (P, 4), px.
        truths_xyxy: Shape (P, 4), px.
        crowd: Marks truth boxes that are ignore regions, shape (P,). Their overlap is relative to the detection's
            area alone, as in COCO.

    Returns:
        Intersection over union, shape (P,), 0 where the boxes do not touch.
    """
    a, b = dets_xyxy.astype(np.float64), truths_xyxy.astype(np.float64)
    width = np.minimum(a[:, 2], b[:, 2]) - np.maximum(a[:, 0], b[:, 0])
    height = np.minimum(a[:, 3], b[:, 3]) - np.maximum(a[:, 1], b[:, 1])
    inside = (width > 0) & (height > 0)
    shared = width * height
    area = box_areas_px2(a)
    union = np.where(crowd, area, area + box_areas_px2(b) - shared)
    overlap: Float64Array = np.zeros(len(a))
    np.divide(shared, union, out=overlap, where=inside)
    return overlap


def iou_matrix(a_xyxy: FloatArray, b_xyxy: FloatArray) -> Float64Array:
    """Compute the overlap of every pair of boxes: (A, 4) and (B, 4) px to (A, B)."""
    rows, columns = np.indices((len(a_xyxy), len(b_xyxy))).reshape(2, -1)
    crowd = np.zeros(len(rows), np.bool_)
    return paired_iou(a_xyxy[rows], b_xyxy[columns], crowd).reshape(len(a_xyxy), len(b_xyxy))


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of a detection and a truth box of equal frame and class that overlap enough."""

    det: IntArray  # (P,) ascending
    truth: IntArray  # (P,)
    iou: Float64Array  # (P,)

    def rows(self, mask: BoolArray) -> Pairs:
        """Keep only the pairs that `mask` (P,) marks."""
        return Pairs(self.det[mask], self.truth[mask], self.iou[mask])


def candidate_pairs(
    det_keys: IntArray,
    dets_xyxy: Float32Array,
    truth_keys: IntArray,
    truths_xyxy: Float32Array,
    truth_crowd: BoolArray,
    *,
    min_iou: float,
) -> Pairs:
    """Find all pairs of a detection and a truth box of the same key that overlap by `min_iou` or more.

    Args:
        det_keys: Group of each detection, for instance frame times classes plus class, shape (D,).
        dets_xyxy: Shape (D, 4), px.
        truth_keys: Shape (G,), ascending.
        truths_xyxy: Shape (G, 4), px.
        truth_crowd: Ignore regions, shape (G,).
        min_iou: Least overlap; as in COCO, an overlap equal to it counts.

    Returns:
        The pairs, sorted by detection, then by truth box.
    """
    start = np.searchsorted(truth_keys, det_keys, side="left")
    count = np.searchsorted(truth_keys, det_keys, side="right") - start
    ends = np.cumsum(count)
    floor = min(min_iou, 1 - 1e-10)
    found: list[Pairs] = []
    low = 0
    while low < len(det_keys):
        done = int(ends[low - 1]) if low else 0
        high = max(int(np.searchsorted(ends, done + MAX_PAIRS, side="right")), low + 1)
        det = np.repeat(np.arange(low, high), count[low:high])
        within = np.arange(len(det)) - np.repeat(ends[low:high] - count[low:high] - done, count[low:high])
        truth = start[det] + within
        iou = paired_iou(dets_xyxy[det], truths_xyxy[truth], truth_crowd[truth])
        found.append(Pairs(det, truth, iou).rows(iou >= floor))
        low = high
    if not found:
        return Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    return Pairs(
        np.concatenate([part.det for part in found]).astype(np.int64),
        np.concatenate([part.truth for part in found]).astype(np.int64),
        np.concatenate([part.iou for part in found]),
    )


def match_greedy(pairs: Pairs, *, num_dets: int, truth_ignored: BoolArray, truth_crowd: BoolArray) -> IntArray:
    """Match detections with truth boxes, best score first, each truth box once.

    A detection takes the free truth box with the largest overlap. Real objects come before ignored ones, and of equal
    overlaps the later box wins. Any number of detections can take an ignore region (crowd).

    Args:
        pairs: Pairs that overlap enough. Among the detections of one key a lower index means a better score.
        num_dets: D.
        truth_ignored: Truth boxes that count neither as found nor as missed, shape (G,).
        truth_crowd: Those of them that can be taken more than once, shape (G,).

    Returns:
        The truth box of each detection or -1, shape (D,).

    Source:
        pycocotools COCOeval.evaluateImg. Deferred acceptance (Gale and Shapley 1962) replaces its loop over detections:
        all propose to their next best box at once, a box keeps its best proposer, the others propose again. All boxes
        prefer the lower index, so the one stable matching is the greedy one.
    """
    match = np.full(num_dets, -1, np.int64)
    if len(pairs.det) == 0:
        return match
    order = np.lexsort((-pairs.truth, -pairs.iou, truth_ignored[pairs.truth], pairs.det))
    det, truth = pairs.det[order], pairs.truth[order]
    first = np.flatnonzero(np.diff(det, prepend=-1))
    cursor = np.full(num_dets, -1, np.int64)  # each detection's place in its own list of boxes
    end = np.zeros(num_dets, np.int64)
    cursor[det[first]] = first
    end[det[first]] = np.concatenate([first[1:], [len(det)]])
    unheld = num_dets
    holder = np.full(len(truth_ignored), unheld, np.int64)
    asking = det[first]
    while asking.size:
        wish = truth[cursor[asking]]
        single = ~truth_crowd[wish]
        match[asking[~single]] = wish[~single]
        asking, wish = asking[single], wish[single]
        before = holder[wish]
        np.minimum.at(holder, wish, asking)
        now = holder[wish]
        match[asking[now == asking]] = wish[now == asking]
        refused = asking[now != asking]
        displaced = np.unique(before[(before != now) & (before != unheld)])
        asking = np.concatenate([refused, displaced])
        match[asking] = -1
        cursor[asking] += 1
        asking = asking[cursor[asking] < end[asking]]
    return match


def recall_levels_reached(hits: IntArray, num_truths: IntArray) -> IntArray:
    """Count COCO's recall levels first reached with the h-th of `num_truths` objects found, shape (K,).

    Args:
        hits: h, from 1, shape (K,).
        num_truths: Number of objects, at least h, shape (K,). Over h = 1..num_truths the counts add up to 101.
    """
    upto = np.searchsorted(RECALL_LEVELS, hits / num_truths, side="right")
    before = np.searchsorted(RECALL_LEVELS, (hits - 1) / num_truths, side="right")
    return np.asarray(upto - np.where(hits > 1, before, 0), np.int64)


def average_precision(position: IntArray, num_truths: int) -> float:
    """Compute COCO's 101-point AP of one ranked list.

    Args:
        position: Places of the hits in the list, best score first, from 1, ascending, shape (K,). The list leaves
            out ignored detections.
        num_truths: Number of objects, at least 1.

    Returns:
        Mean over 101 recalls of the best precision at that recall or above.
    """
    hits = np.arange(1, len(position) + 1)
    precision = hits / (position + np.spacing(1))
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    levels = recall_levels_reached(hits, np.full(len(hits), num_truths))
    return float(best_from_here @ levels) / len(RECALL_LEVELS)


def grouped_average_precision(group: IntArray, position: IntArray, num_truths: IntArray) -> Float64Array:
    """Compute COCO's 101-point AP of many ranked lists at once.

    Args:
        group: The list of each hit, ascending, shape (K,).
        position: Its place in that list, from 1, ascending within a list, shape (K,).
        num_truths: Objects of each list, shape (R,).

    Returns:
        AP of each list, shape (R,); 0 for a list without hits.
    """
    if len(group) == 0:
        return np.zeros(len(num_truths))
    hits = np.arange(len(group)) - np.searchsorted(group, group, side="left") + 1
    precision = hits / (position + np.spacing(1))
    # The running maximum from each list's end, for all lists in one pass. It runs on integer ranks, raised so that an
    # earlier list always lies above a later one.
    values, rank = np.unique(precision, return_inverse=True)
    lifted = (len(num_truths) - group) * len(values) + rank
    best_from_here = values[np.maximum.accumulate(lifted[::-1])[::-1] % len(values)]
    gained = best_from_here * recall_levels_reached(hits, num_truths[group])
    return np.asarray(np.bincount(group, weights=gained, minlength=len(num_truths)) / len(RECALL_LEVELS))


def sort_boxes(detections: Detections) -> Detections:
    """Sort each frame's boxes by class, score (best first), then coordinates.

    Detections that differ only in the order of a frame's boxes become equal. Unsorted, the detector's output order
    would break ties of equal scores.
    """
    boxes, scores = detections.boxes_xyxy, detections.scores
    keys = detections.frame_rows() * len(detections.class_names) + detections.class_ids
    order = np.lexsort((-scores, keys))
    # Few boxes share class and score; only those are compared by coordinates.
    same = (keys[order][1:] == keys[order][:-1]) & (scores[order][1:] == scores[order][:-1])
    tied = np.flatnonzero(np.concatenate([[False], same]) | np.concatenate([same, [False]])) if len(order) else order
    rows = order[tied]
    by = (detections.ignore, boxes[:, 3], boxes[:, 2], boxes[:, 1], boxes[:, 0], -scores, keys)
    order[tied] = rows[np.lexsort([column[rows] for column in by])]
    return replace(
        detections,
        boxes_xyxy=boxes[order],
        scores=scores[order],
        class_ids=detections.class_ids[order],
        ignore=detections.ignore[order],
    )
