"""From which score on a box is worth acting upon: for each class the score with the best F-beta on labelled frames.

D = detections of one class, best score first.
"""

from __future__ import annotations

import numpy as np

from dataset_culling.evaluation.coco import match_all
from dataset_culling.types import BoolArray, Detections, FloatArray

IOU = 0.5
"""Least overlap of a detection that found something, as in mAP@50."""

BETA = 1.0
"""How many times as much recall counts as precision: 1 is F1, the two alike."""

MIN_OBJECTS = 10
"""Fewer labelled objects of a class tell no threshold: a single one would put it wherever its own score lies."""

DEFAULT_SCORE = 0.5
"""What stands for the score of a class that nothing could be tuned for."""


def best_scores(
    detections: Detections,
    truth: Detections,
    *,
    floor: float = 0.0,
    beta: float = BETA,
    iou: float = IOU,
    min_objects: int = MIN_OBJECTS,
) -> dict[str, float]:
    """The score of each class from which on its boxes, taken together, have the best F-beta.

    It lies half-way between the worst box that is taken and the best one that is not, so that another runtime's
    rounding moves no box across. Of several that are equally good the highest is taken: fewer boxes.

    Args:
        detections: Boxes of N frames with scores.
        truth: Boxes of the same N frames, taken as true; ignored ones count neither way.
        floor: The score below which no boxes were kept; 0..1.
        beta: Weight of recall.
        iou: Least overlap of a hit.
        min_objects: Least number of objects of a class to be found.

    Returns:
        Class name -> score. A class of which too little was to be found, or nothing was found, has none.

    Raises:
        ValueError: If the two are not of the same frames and classes.

    Source:
        van Rijsbergen, Information Retrieval, 1979 (F-beta); matching is COCO's, best score first, so that what a
        higher threshold keeps is matched as if there were no other boxes.
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
    """The score of one class from which on its boxes have the best F-beta; None where nothing was wanted or found.

    Args:
        scores: Shape (D,), descending.
        hit: Which of them found something, shape (D,).
        num_wanted: How many there were to be found.
        floor: The score below which no boxes were kept.
        beta: Weight of recall.
    """
    if not num_wanted or not hit.any():
        return None
    right = np.cumsum(hit)
    taken = np.arange(1, len(scores) + 1)
    # F-beta = (1 + b2) TP / ((1 + b2) TP + b2 FN + FP), where TP + FN are wanted and TP + FP are taken.
    f_beta = (1 + beta**2) * right / (beta**2 * num_wanted + taken)
    ends = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # boxes of one score are taken all or none
    last = int(ends[np.argmax(f_beta[ends])])  # the first of equals has the highest score
    below = float(scores[last + 1]) if last + 1 < len(scores) else min(floor, float(scores[last]))
    return (float(scores[last]) + below) / 2
