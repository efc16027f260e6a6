"""Agreement of student and teacher, frame by frame: boxes of both, and boxes of one alone.

F = frames, S = student boxes, T = teacher boxes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataset_culling.boxes import candidate_pairs, match_greedy, sort_boxes
from dataset_culling.types import BoolArray, Detections, IntArray

MIN_IOU = 0.5
AGREED, DISPUTED, UNDECIDED = 0, 1, 2
"""State of a box: both detectors have it; only one has it; it is, or matches, a doubtful teacher box."""

States = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Matched boxes of student and teacher on the same frames."""

    student: Detections  # boxes of at least `min_score`, in the order of `boxes.sort_boxes`
    teacher: Detections  # likewise sorted
    student_state: States  # (S,)
    teacher_state: States  # (T,)

    @property
    def found(self) -> IntArray:
        """Teacher boxes that the student found, by frame, shape (F,)."""
        return _count(self.teacher, self.teacher_state == AGREED)

    @property
    def missed(self) -> IntArray:
        """Teacher boxes that the student missed, by frame, shape (F,)."""
        return _count(self.teacher, self.teacher_state == DISPUTED)

    @property
    def false(self) -> IntArray:
        """Student boxes that the teacher does not have, by frame, shape (F,)."""
        return _count(self.student, self.student_state == DISPUTED)

    @property
    def mistakes(self) -> IntArray:
        """Missed and false boxes together, by frame, shape (F,)."""
        return self.missed + self.false


def agree(student: Detections, teacher: Detections, *, min_score: float) -> Agreement:
    """Match the student's boxes with the teacher's, one to one, better scores first, within frame and class.

    Args:
        student: Boxes of F frames or more.
        teacher: Boxes of F frames; those marked `ignore` are doubtful and count neither as found nor as missed.
        min_score: Student boxes that score less are left out.

    Returns:
        The matching on the teacher's F frames, at IoU 0.5.

    Raises:
        ValueError: If the student lacks a frame of the teacher's, or the classes differ.
    """
    if student.class_names != teacher.class_names:
        raise ValueError(f"classes differ: {student.class_names} and {teacher.class_names}")
    rows = student.rows_of(teacher.frame_ids)
    found = student.take(rows)
    found = sort_boxes(found.keep_boxes(found.scores >= min_score))
    wanted = sort_boxes(teacher)
    pairs = candidate_pairs(
        _keys(found), found.boxes_xyxy, _keys(wanted), wanted.boxes_xyxy, wanted.ignore, min_iou=MIN_IOU
    )
    match = match_greedy(pairs, num_dets=len(found.scores), truth_ignored=wanted.ignore, truth_crowd=wanted.ignore)
    student_state = np.full(len(found.scores), DISPUTED, np.int8)
    student_state[match >= 0] = np.where(wanted.ignore[match[match >= 0]], UNDECIDED, AGREED)
    teacher_state = np.where(wanted.ignore, UNDECIDED, DISPUTED).astype(np.int8)
    teacher_state[match[student_state == AGREED]] = AGREED
    return Agreement(found, wanted, student_state, teacher_state)


def _keys(boxes: Detections) -> IntArray:
    return boxes.frame_rows() * len(boxes.class_names) + boxes.class_ids


def _count(boxes: Detections, mask: BoolArray) -> IntArray:
    sums = np.concatenate([[0], np.cumsum(mask)])
    return np.asarray(sums[boxes.offsets[1:]] - sums[boxes.offsets[:-1]], np.int64)
