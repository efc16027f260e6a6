"""Score thresholds for serving: for each class the score with the best F-beta on labelled frames.

D = detections of one class, best score first.
"""

from __future__ import annotations

import numpy as np

from dataset_culling.evaluation.coco import match_all
from dataset_culling.types import BoolArray, Detections, FloatArray

IOU = 0.5
"""Least overlap of a hit, as in mAP@50."""

BETA = 1.0
"""Weight of recall relative to precision; 1 is F1."""

MIN_OBJECTS = 10
"""Least labelled objects of a class for a threshold; a single one would put it at its own score."""

DEFAULT_SCORE = 0.5
"""Threshold of a class without a tuned one."""


def best_scores(
    detections: Detections,
    truth: Detections,
    *,
    floor: float = 0.0,
    beta: float = BETA,
    iou: float = IOU,
    min_objects: int = MIN_OBJECTS,
) -> dict[str, float]:
    """Find the score of each class whose boxes from that score on have the best F-beta.

    The threshold lies half-way between the worst accepted box and the best rejected one, so that another runtime's
    rounding moves no box across. Of equally good thresholds the highest wins, which accepts fewer boxes.

    Args:
        detections: Boxes of N frames with scores.
        truth: Boxes of the same N frames, taken as true; ignored ones count neither way.
        floor: Least score of the kept boxes, 0..1.
        beta: Weight of recall.
        iou: Least overlap of a hit.
        min_objects: Least number of true objects of a class.

    Returns:
        Class name -> score, without classes that have too few objects or no hit.

    Raises:
        ValueError: If frames or classes differ.

    Source:
        van Rijsbergen, Information Retrieval, 1979 (F-beta). Matching is COCO's, best score first, so that a higher
        threshold does not change the matches of the boxes it accepts.
    """
    if detections.class_names != truth.class_names or not np.array_equal(detections.frame_ids, truth.frame_ids):
        raise ValueError(
            f"detections and truth must be of the same frames and classes, got {len(detections)} frames of "
            f"{detections.class_names} and {len(truth)} of {truth.class_names}"
        )
    found = match_all(detections, truth, ious=np.array([iou]), areas=("all",))
    best: dict[str, float] = {}
    for class_id, name in enumerate(truth.class_names):
        mine = np.flatnonzero((found.class_ids == class_id) & ~found.ignored[0, 0])
        mine = mine[np.argsort(-found.scores[mine], kind="stable")]
        wanted = int((~truth.ignore[truth.class_ids == class_id]).sum())
        if wanted < min_objects:
            continue
        score = best_score(found.scores[mine], found.hit[0, 0, mine], wanted, floor=floor, beta=beta)
        if score is not None:
            best[name] = score
    return best


def best_score(
    scores: FloatArray, hit: BoolArray, num_wanted: int, *, floor: float = 0.0, beta: float = BETA
) -> float | None:
    """Find the threshold of one class with the best F-beta; None without objects or hits.

    Args:
        scores: Shape (D,), descending.
        hit: Marks the hits, shape (D,).
        num_wanted: Number of true objects.
        floor: Least score of the kept boxes.
        beta: Weight of recall.
    """
    if not num_wanted or not hit.any():
        return None
    right = np.cumsum(hit)
    taken = np.arange(1, len(scores) + 1)
    # F-beta = (1 + b2) TP / ((1 + b2) TP + b2 FN + FP), where TP + FN are the objects and TP + FP the accepted boxes.
    f_beta = (1 + beta**2) * right / (beta**2 * num_wanted + taken)
    ends = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # boxes of one score are accepted together
    last = int(ends[np.argmax(f_beta[ends])])  # the first of equals has the highest score
    below = float(scores[last + 1]) if last + 1 < len(scores) else min(floor, float(scores[last]))
    return (float(scores[last]) + below) / 2
