"""Order the teacher's boxes and frames by doubt, for an annotator to start with the most doubtful.

N = frames, M = teacher boxes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataset_culling.labeling.self_consistency import agreement
from dataset_culling.types import BoolArray, Detections, FloatArray, IntArray

Float64Array = npt.NDArray[np.float64]

HALVED = 0.5
"""Factor on the confidence in a box that is an ignore region, and again in one that the student does not detect."""

DOUBTFUL = 0.5
"""From this doubt on a box is called doubtful."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Doubt of the teacher's labels."""

    of_boxes: Float64Array  # (M,) 0..1
    doubtful: BoolArray  # (M,)
    of_frames: Float64Array  # (N,) about how many boxes an annotator may have to correct there
    missed: IntArray  # (N,) boxes that the student sees and the teacher has not


def doubt_of(
    labels: Detections,
    *,
    trust: FloatArray | None = None,
    student: Detections | None = None,
    min_scores: Mapping[str, float] | None = None,
) -> Doubt:
    """Compute the doubt of each of the teacher's boxes, and of each frame.

    A box is believed by its score, times its trust where the teacher was compared with itself, halved if it is an
    ignore region, halved if the student does not see it; its doubt is what is left to 1. A frame's doubt is the sum
    over its doubtful boxes, and over the scores of what the student sees and the teacher has not. Boxes in no doubt add
    nothing, so that a crowd of sure ones does not outweigh one bad one.

    Args:
        labels: The teacher's boxes on N frames.
        trust: How far each box is believed, shape (M,), 0..1; None: not known.
        student: The student's boxes on the same frames, classes alike; None: not known. Frames that it did not look at
            count neither way.
        min_scores: Class name -> least score of a student's box that counts.

    Raises:
        ValueError: If shapes differ, or `student` is of other frames or classes.

    Source:
        Ours; finding a box again, one to one and class by class at an overlap of 0.5, is `trust.agreement`.
    """
    if trust is not None and trust.shape != labels.scores.shape:
        raise ValueError(f"trust must have shape {labels.scores.shape}, got {trust.shape}")
    belief = labels.scores.astype(np.float64).clip(0, 1) * (1.0 if trust is None else trust.astype(np.float64))
    belief[labels.ignore] *= HALVED
    of_frames, missed = np.zeros(len(labels)), np.zeros(len(labels), np.int64)
    if student is not None:
        least = np.array([(min_scores or {}).get(name, 0.0) for name in student.class_names])
        seen = student.keep_boxes(student.scores >= least[student.class_ids])
        belief[agreement(labels, [seen]) == 0] *= HALVED
        alone = agreement(seen, [labels]) == 0
        rows = seen.frame_rows()[alone]
        of_frames += np.bincount(rows, weights=seen.scores[alone], minlength=len(labels))
        missed += np.bincount(rows, minlength=len(labels))
    doubt = 1.0 - belief
    doubtful = labels.ignore | (doubt >= DOUBTFUL)
    of_frames += np.bincount(labels.frame_rows(), weights=np.where(doubtful, doubt, 0.0), minlength=len(labels))
    return Doubt(doubt, doubtful, of_frames, missed)


def spread_over_time(time_s: FloatArray, prefer: FloatArray, count: int) -> IntArray:
    """Choose at most `count` frames evenly over time: the preferred one of each slice, then again until enough.

    Args:
        time_s: Seconds of each frame, shape (N,), ascending.
        prefer: Preference of each frame, shape (N,); larger first, of equal ones the earlier.
        count: Most frames, and number of slices of equal length between the first frame and the last.

    Returns:
        Rows, ascending, shape (K,) with K = min(count, N).

    Raises:
        ValueError: If shapes differ, or `count` is below 1.
    """
    if time_s.ndim != 1 or time_s.shape != prefer.shape:
        raise ValueError(f"time_s and prefer must both have shape (N,), got {time_s.shape} and {prefer.shape}")
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if len(time_s) <= count:
        return np.arange(len(time_s), dtype=np.int64)
    piece = _slices(time_s, count)[0]
    order = np.lexsort((np.arange(len(time_s)), -prefer, piece))
    first = np.searchsorted(piece[order], piece[order], side="left")
    turn = np.empty(len(order), np.int64)  # how many of its slice go before a frame
    turn[order] = np.arange(len(order)) - first
    chosen = np.zeros(0, np.int64)
    for number in range(int(turn.max()) + 1):
        here = np.flatnonzero(turn == number)
        left = count - len(chosen)
        if len(here) > left:  # slices were empty: the last turn is shared out over time as well
            here = here[((np.arange(left) + 0.5) * len(here) / left).astype(np.int64)]
        chosen = np.concatenate([chosen, here])
    return np.sort(chosen)


def nearness_to_middle(time_s: FloatArray, count: int) -> Float64Array:
    """Score frames by time alone, for `spread_over_time`: 0 in the middle of a frame's slice, less away from it."""
    slices, start, length = _slices(time_s, count)
    middle = start + (slices + 0.5) * length / count
    near: Float64Array = -np.abs(time_s - middle)
    return near


def _slices(time_s: FloatArray, count: int) -> tuple[IntArray, float, float]:
    """Each frame's slice, the start of the first slice in s and the length of all slices in s."""
    start, length = (float(time_s[0]), float(time_s[-1] - time_s[0])) if len(time_s) else (0.0, 0.0)
    if length == 0:
        return np.zeros(len(time_s), np.int64), start, length
    return np.minimum((time_s - start) / length * count, count - 1).astype(np.int64), start, length
