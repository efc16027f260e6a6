"""COCO's mean average precision: pycocotools as the reference, and a fast NumPy backend with equal figures.

N = frames, D = detections, G = truth boxes, C = classes, T = 10 IoU thresholds, A = 4 ranges of area.

Tests compare both backends, also on equal scores, ignore regions, classes without truth and more than 100 boxes of a
class; `benchmarks/evaluation.py` times them.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dataset_culling.boxes import average_precision, box_areas_px2, candidate_pairs, match_greedy
from dataset_culling.types import BoolArray, Detections, IntArray

Float64Array = npt.NDArray[np.float64]
Backend = Literal["numpy", "pycocotools"]

IOUS: Float64Array = np.linspace(0.5, 0.95, 10)
AREAS_PX2: Mapping[str, tuple[float, float]] = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
MAX_DETS = 100  # of one class in one frame; the worst beyond are dropped


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures in 0..1; as in COCO, -1 stands for a figure without truth boxes and must stay out of metrics."""

    map_50: float  # IoU 0.5, mean over the classes with truth
    map_50_95: float  # mean over IoU 0.5, 0.55 ... 0.95
    map_75: float
    map_small: float  # as map_50_95, objects below 32 x 32 px
    map_medium: float
    map_large: float  # 96 x 96 px and above
    ap_50_by_class: Mapping[str, float]
    ap_50_95_by_class: Mapping[str, float]
    num_frames: int
    num_truth_boxes: int  # without ignored ones
    num_empty_frames: int  # frames without a truth box, not even an ignored one
    false_positives_per_empty_frame: float  # of at least `false_positive_score`; -1 without empty frames
    false_positive_score: float


def evaluate(
    detections: Detections, truth: Detections, *, backend: Backend = "numpy", false_positive_score: float = 0.5
) -> Evaluation:
    """Compute COCO's figures of detections against truth.

    Args:
        detections: Boxes of N frames with scores.
        truth: Boxes of the same N frames, taken as true. Ignored ones are COCO's crowds: detections in these
            regions count neither as right nor as wrong.
        backend: numpy (fast) or pycocotools (the reference).
        false_positive_score: Least score of a detection that counts as false on a frame without truth boxes.

    Raises:
        ValueError: If frames or classes differ, or a frame was not scored.

    Source:
        Lin et al., Microsoft COCO, ECCV 2014; pycocotools COCOeval, iouType bbox, default parameters.
    """
    _require_comparable(detections, truth)
    table = _ap_table(detections, truth) if backend == "numpy" else _ap_table_pycocotools(detections, truth)
    names = truth.class_names
    truth_counts, found = np.diff(truth.offsets), detections.scores >= np.float32(false_positive_score)
    empty = truth_counts == 0
    false = int(np.bincount(detections.frame_rows()[found], minlength=len(truth))[empty].sum()) if len(truth) else 0
    return Evaluation(
        map_50=_mean(table[:, 0, 0]),
        map_50_95=_mean(table[:, 0]),
        map_75=_mean(table[:, 0, 5]),
        map_small=_mean(table[:, 1]),
        map_medium=_mean(table[:, 2]),
        map_large=_mean(table[:, 3]),
        ap_50_by_class={name: _mean(table[k, 0, 0]) for k, name in enumerate(names)},
        ap_50_95_by_class={name: _mean(table[k, 0]) for k, name in enumerate(names)},
        num_frames=len(truth),
        num_truth_boxes=int((~truth.ignore).sum()),
        num_empty_frames=int(empty.sum()),
        false_positives_per_empty_frame=false / int(empty.sum()) if empty.any() else -1.0,
        false_positive_score=false_positive_score,
    )


def _require_comparable(detections: Detections, truth: Detections) -> None:
    if detections.class_names != truth.class_names:
        raise ValueError(f"detections and truth must have the same classes, got {detections.class_names} and "
                         f"{truth.class_names}")  # fmt: skip
    if len(detections) != len(truth) or np.any(detections.frame_ids != truth.frame_ids):
        odd = np.setxor1d(detections.frame_ids, truth.frame_ids)
        raise ValueError(
            f"detections and truth must be of the same frames, got {len(detections)} and {len(truth)}; frame {odd[0]} "
            f"is only in one of them"
        )
    for boxes in (detections, truth):
        if not boxes.scored.all():
            raise ValueError(f"frame {boxes.frame_ids[~boxes.scored][0]} was not scored")


def _mean(values: Any) -> float:
    """Average the figures that exist; COCO marks others by -1."""
    known = np.asarray(values)[np.asarray(values) > -1]
    return float(known.mean()) if known.size else -1.0


@dataclass(frozen=True, slots=True)
class Matching:
    """Detections matched with truth under every threshold and area range."""

    frame: IntArray  # (D,) row of each detection's frame; detections are by frame, class and score
    class_ids: IntArray  # (D,)
    scores: npt.NDArray[np.float32]  # (D,)
    hit: BoolArray  # (A, T, D)
    ignored: BoolArray  # (A, T, D)
    truth_frame: IntArray  # (G,)
    truth_class_ids: IntArray  # (G,)
    truth_ignored: BoolArray  # (A, G)


def match_all(
    detections: Detections, truth: Detections, *, ious: Float64Array = IOUS, areas: tuple[str, ...] = tuple(AREAS_PX2)
) -> Matching:
    """Match detections with truth within frame and class, for every IoU threshold and area range.

    Most pairs are alone: their detection overlaps one truth box, which no other detection overlaps. Their match under
    a threshold is obvious; only the others are matched again for each threshold and range.
    """
    num_classes = len(truth.class_names)
    det_keys = detections.frame_rows() * num_classes + detections.class_ids
    order = np.lexsort((-detections.scores, det_keys))
    det_keys = det_keys[order]
    best = np.arange(len(order)) - np.searchsorted(det_keys, det_keys, side="left") < MAX_DETS
    order, det_keys = order[best], det_keys[best]
    truth_keys = truth.frame_rows() * num_classes + truth.class_ids
    truth_order = np.argsort(truth_keys, kind="stable")
    truth_keys, crowd = truth_keys[truth_order], truth.ignore[truth_order]
    dets_xyxy, truths_xyxy = detections.boxes_xyxy[order], truth.boxes_xyxy[truth_order]
    pairs = candidate_pairs(det_keys, dets_xyxy, truth_keys, truths_xyxy, crowd, min_iou=float(ious.min()))
    num_dets, num_truths = len(order), len(truth_order)
    lonely_det = np.bincount(pairs.det, minlength=num_dets) == 1
    lonely_truth = np.bincount(pairs.truth, minlength=num_truths) == 1
    alone = lonely_det[pairs.det] & lonely_truth[pairs.truth]
    single, contested = pairs.rows(alone), pairs.rows(~alone)
    det_areas, truth_areas = box_areas_px2(dets_xyxy), box_areas_px2(truths_xyxy)
    hit = np.zeros((len(areas), len(ious), num_dets), np.bool_)
    ignored = np.zeros_like(hit)
    truth_ignored = np.zeros((len(areas), num_truths), np.bool_)
    for a, (low, high) in enumerate(AREAS_PX2[name] for name in areas):
        truth_ignored[a] = crowd | (truth_areas < low) | (truth_areas > high)
        det_outside = (det_areas < low) | (det_areas > high)
        for t, iou in enumerate(ious):
            floor = min(float(iou), 1 - 1e-10)
            match = match_greedy(
                contested.rows(contested.iou >= floor),
                num_dets=num_dets,
                truth_ignored=truth_ignored[a],
                truth_crowd=crowd,
            )
            near = single.iou >= floor
            match[single.det[near]] = single.truth[near]
            matched = match >= 0
            ignored[a, t] = det_outside
            ignored[a, t, matched] = truth_ignored[a, match[matched]]
            hit[a, t] = matched & ~ignored[a, t]
    return Matching(
        frame=det_keys // max(num_classes, 1),
        class_ids=det_keys % max(num_classes, 1),
        scores=detections.scores[order],
        hit=hit,
        ignored=ignored,
        truth_frame=truth_keys // max(num_classes, 1),
        truth_class_ids=truth_keys % max(num_classes, 1),
        truth_ignored=truth_ignored,
    )


def _ap_table(detections: Detections, truth: Detections) -> Float64Array:
    """Compute AP by class, area range and IoU threshold, shape (C, A, T); -1 without truth."""
    found = match_all(detections, truth)
    num_areas, num_ious, _ = found.hit.shape
    table = np.full((len(truth.class_names), num_areas, num_ious), -1.0)
    for k in range(len(table)):
        mine = np.flatnonzero(found.class_ids == k)
        mine = mine[np.argsort(-found.scores[mine], kind="stable")]  # equal scores: the earlier frame first
        wanted = (~found.truth_ignored[:, found.truth_class_ids == k]).sum(axis=1)
        for a in np.flatnonzero(wanted):
            for t in range(num_ious):
                counted = ~found.ignored[a, t, mine]
                position = np.flatnonzero(found.hit[a, t, mine][counted]) + 1
                table[k, a, t] = average_precision(position, int(wanted[a]))
    return table


def _ap_table_pycocotools(detections: Detections, truth: Detections) -> Float64Array:
    """Compute the same table by pycocotools, and suppress its printing."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        sets = []
        for boxes, crowd in ((truth, truth.ignore), (detections, np.zeros(len(detections.scores), np.bool_))):
            coco = COCO()
            coco.dataset = coco_dict(boxes, crowd)
            coco.createIndex()
            sets.append(coco)
        run = COCOeval(*sets, "bbox")
        run.params.imgIds = [int(frame) for frame in truth.frame_ids]
        run.params.catIds = list(range(1, len(truth.class_names) + 1))
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][:, :, :, :, -1]  # (T, 101, C, A)
    return np.asarray(precision.mean(axis=1).transpose(1, 2, 0))


def coco_dict(boxes: Detections, crowd: BoolArray) -> dict[str, Any]:
    """Build pycocotools' data set; frame ids are image ids, class k is category k + 1."""
    xyxy = boxes.boxes_xyxy.astype(np.float64)
    wide, high = xyxy[:, 2] - xyxy[:, 0], xyxy[:, 3] - xyxy[:, 1]
    columns = zip(
        boxes.frame_ids[boxes.frame_rows()].tolist(),
        (boxes.class_ids + 1).tolist(),
        np.stack([xyxy[:, 0], xyxy[:, 1], wide, high], axis=1).tolist(),
        (wide * high).tolist(),
        crowd.astype(int).tolist(),
        boxes.scores.astype(np.float64).tolist(),
        strict=True,
    )
    return {
        "info": {},
        "images": [{"id": int(frame)} for frame in boxes.frame_ids],
        "annotations": [
            {"id": row + 1, "image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": is_crowd,
             "score": score}
            for row, (image, category, box, area, is_crowd, score) in enumerate(columns)
        ],
        "categories": [{"id": k + 1, "name": name} for k, name in enumerate(boxes.class_names)],
    }  # fmt: skip
